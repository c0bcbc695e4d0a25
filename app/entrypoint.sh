#!/bin/sh
# Development: wait for the database, apply migrations, then run the command.
# The tutorial also flushes the database here, at every start; that is `make flush` now, and asks first.
# Needs manage.py and the command wait_for_database.
set -eu

if [ -n "${DATABASE:-}" ]; then
    python manage.py wait_for_database
fi
python manage.py migrate --noinput

# exec, so that the server is process 1 and gets the signals.
exec "$@"
