-- First start. The image has made the app's user, with rights on its own database alone; the tutorial's ALTER USER
-- to mysql_native_password is gone from MySQL 9, and its password in this file was everybody's.
-- Hence only this: nobody logs in without a name.
-- Needs the MySQL image, which runs what is in /docker-entrypoint-initdb.d.
DROP USER IF EXISTS ''@'localhost';
