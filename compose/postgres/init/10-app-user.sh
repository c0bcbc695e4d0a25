#!/bin/sh
# First start: a user for the app that owns its own database and nothing else. (The tutorial's app is superuser.)
# Needs POSTGRES_DB, APP_USER, and the secret db_password; the image runs what is in /docker-entrypoint-initdb.d.
set -eu

# psql reads the password itself: as an argument it would show in the process list.
psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 -v app_user="$APP_USER" -v app_db="$POSTGRES_DB" \
    --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set app_password `printf %s "$(cat /run/secrets/db_password)"`
CREATE ROLE :"app_user" LOGIN PASSWORD :'app_password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
ALTER DATABASE :"app_db" OWNER TO :"app_user";
REVOKE ALL ON DATABASE :"app_db" FROM PUBLIC;
\connect :"app_db"
ALTER SCHEMA public OWNER TO :"app_user";
SQL
