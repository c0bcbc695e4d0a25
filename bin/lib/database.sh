# Sourced after stack.sh: the few things that backup and restore do differently on Postgres and MySQL.
# They run the server's own programs in its container, as its administrator, who needs a password for MySQL alone.
# Needs stack.sh, and the services db and init.

# shellcheck shell=sh disable=SC2154
in_db() { compose exec -T db sh -c "$@"; }

# shellcheck disable=SC2016 # expanded in the container
if [ "$stack" = prod ]; then
    database_of() { in_db 'printf %s "$POSTGRES_DB"'; }
    sql() { in_db 'PGOPTIONS=--client-min-messages=warning psql --no-psqlrc --quiet --tuples-only --no-align -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d postgres'; }
    dump() { in_db 'pg_dump --no-owner --no-privileges -U "${POSTGRES_USER:-postgres}" "$POSTGRES_DB"'; }
    # In one transaction and as the app's user, who then owns everything.
    load() { in_db 'psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 --single-transaction -U "$APP_USER" -d "$1" > /dev/null' load "$1"; }
    # How much of it there is, 0 for nothing. An answer that fails is none, and never 0: what follows deletes.
    amount() { echo "SELECT COUNT(*) FROM pg_database WHERE datname = '$1'" | sql; }
    create() {
        user=$(in_db 'printf %s "$APP_USER"')
        printf 'CREATE DATABASE "%s" OWNER "%s" TEMPLATE template0;\nREVOKE ALL ON DATABASE "%s" FROM PUBLIC;\n\\connect "%s"\nALTER SCHEMA public OWNER TO "%s";\n' \
            "$1" "$user" "$1" "$1" "$user" | sql
    }
    drop() { echo "DROP DATABASE IF EXISTS \"$1\" WITH (FORCE)" | sql; }
    fixed_objects() { :; }
    move() {
        printf "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s';\nALTER DATABASE \"%s\" RENAME TO \"%s\";\n" \
            "$1" "$1" "$2" | sql > /dev/null
    }
else
    database_of() { in_db 'printf %s "$MYSQL_DATABASE"'; }
    mysql_as_root='MYSQL_PWD=$(cat /run/secrets/db_root_password); export MYSQL_PWD;'
    sql() { in_db "$mysql_as_root exec mysql --user=root --batch --skip-column-names"; }
    dump() {
        in_db "$mysql_as_root"'exec mysqldump --user=root --single-transaction --quick --skip-extended-insert --hex-blob \
            --routines --events --no-tablespaces --set-gtid-purged=OFF --default-character-set=utf8mb4 "$MYSQL_DATABASE"'
    }
    load() { in_db "$mysql_as_root"'exec mysql --user=root --default-character-set=utf8mb4 "$1"' load "$1"; }
    # Its tables: MySQL moves those, so a database can be there before they are.
    amount() { echo "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '$1'" | sql; }
    create() { echo "CREATE DATABASE \`$1\`" | sql; }
    drop() { echo "DROP DATABASE IF EXISTS \`$1\`" | sql; }
    # What cannot be moved as tables are.
    fixed_objects() {
        found=$(for kind in view trigger routine event; do
            case $kind in
                view) column=table_schema ;;
                *) column=${kind}_schema ;;
            esac
            echo "SELECT '${kind}s' FROM information_schema.${kind}s WHERE $column = '$1' LIMIT 1;"
        done | sql) || return 1
        echo "$found" | paste -sd' ' -
    }
    # MySQL renames no databases: one statement moves all tables, all or none. Then the empty one goes, and only then:
    # `set -e` does not hold in a function that is asked for its success.
    move() {
        tables=$(echo "SELECT CONCAT('\`$1\`.\`', table_name, '\` TO \`$2\`.\`', table_name, '\`') FROM information_schema.tables
            WHERE table_schema = '$1'" | sql) || return 1
        echo "CREATE DATABASE IF NOT EXISTS \`$2\`" | sql || return 1
        [ -z "$tables" ] || echo "RENAME TABLE $(echo "$tables" | paste -sd, -)" | sql || return 1
        [ "$(amount "$1")" = 0 ] || return 1
        drop "$1"
    }
fi

# Run a shell command with the media volume, as the app's user, in the folder that holds the uploads.
in_media() { compose run --rm -T --no-deps init sh -c "cd mediafiles && $1" 2> "$log"; }
# Run manage.py in a container of its own, so that web need not run.
manage() { compose run --rm -T --no-deps init python manage.py "$@" 2> "$log"; }
trouble() { grep -v '^ *Container ' "$log" | tail -n 3 >&2; }
