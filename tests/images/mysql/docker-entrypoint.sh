#!/bin/bash
# Usage: docker-entrypoint.sh [mysqld] [ARGUMENT…] | COMMAND…
#
# Makes the data folder on the first start, then becomes the server. Reads
# MYSQL_ROOT_PASSWORD (or MYSQL_RANDOM_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD),
# MYSQL_ROOT_HOST, MYSQL_DATABASE, MYSQL_USER, MYSQL_PASSWORD (each or its _FILE),
# MYSQL_ONETIME_PASSWORD, MYSQL_INITDB_SKIP_TZINFO, and /docker-entrypoint-initdb.d.
# bash, as in the official image: init scripts without the x bit are read into this shell.
set -eu

say() { echo "docker-entrypoint: $*"; }
die() { echo "docker-entrypoint: $*" >&2; exit 1; }

# from_file NAME DEFAULT: exports NAME from itself, from the file that NAME_FILE names, or the default.
from_file() {
    eval "value=\${$1:-} file=\${${1}_FILE:-}"
    if [ -n "$value" ] && [ -n "$file" ]; then die "both $1 and ${1}_FILE are set: keep one"; fi
    if [ -n "$file" ]; then
        [ -r "$file" ] || die "${1}_FILE: $file cannot be read by user $(id -u)"
        value=$(cat "$file")
    fi
    export "$1=${value:-$2}"
    unset "${1}_FILE"
}

# The value that the server would use for one of its settings: in its help they start the line.
setting() {
    name=$1
    shift
    "$@" --verbose --help 2>/dev/null | awk -v name="$name" 'index($0, name " ") == 1 { sub(/^[^ ]+ +/, ""); print; exit }'
}

# Prints a text as an SQL string.
sql_text() { printf "'%s'" "$(printf %s "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/''/g")"; }
# shellcheck disable=SC2016  # MySQL quotes names with these marks
sql_name() { printf '`%s`' "$(printf %s "$1" | sed 's/`/``/g')"; }

# Name as in the official image: scripts that are read into this shell may call it.
# The password comes through a pipe: an argument would show in the process list.
docker_process_sql() {
    mysql --defaults-extra-file=/dev/fd/3 --protocol=socket -uroot -hlocalhost --socket="$socket" \
        --comments "$@" 3<<EOT
[client]
password="$(printf %s "$current_password" | sed 's/\\/\\\\/g; s/"/\\"/g')"
EOT
}

run_init_files() {
    database=${MYSQL_DATABASE:+--database=$MYSQL_DATABASE}
    for init in /docker-entrypoint-initdb.d/*; do
        case $init in
            *.sh)
                if [ -x "$init" ]; then
                    say "running $init"
                    "$init"
                else
                    say "reading $init"
                    # shellcheck source=/dev/null
                    . "$init"
                fi
                ;;
            *.sql) say "running $init"; docker_process_sql ${database:+"$database"} <"$init" ;;
            *.sql.gz) say "running $init"; gunzip -c "$init" | docker_process_sql ${database:+"$database"} ;;
            *.sql.bz2) say "running $init"; bunzip2 -c "$init" | docker_process_sql ${database:+"$database"} ;;
            *.sql.xz) say "running $init"; xzcat "$init" | docker_process_sql ${database:+"$database"} ;;
            *.sql.zst) say "running $init"; zstd -dc "$init" | docker_process_sql ${database:+"$database"} ;;
            '/docker-entrypoint-initdb.d/*') ;;
            *) say "ignoring $init" ;;
        esac
    done
}

set_up_users() {
    root=$(sql_text "$MYSQL_ROOT_PASSWORD")
    # None of this is logged to the replicas or to the binary log.
    echo 'SET @@SESSION.SQL_LOG_BIN = 0;'
    if [ -n "$MYSQL_ROOT_HOST" ] && [ "$MYSQL_ROOT_HOST" != localhost ]; then
        host=$(sql_text "$MYSQL_ROOT_HOST")
        echo "CREATE USER 'root'@$host IDENTIFIED BY $root; GRANT ALL ON *.* TO 'root'@$host WITH GRANT OPTION;"
    fi
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $root;"
    if [ -n "$MYSQL_DATABASE" ]; then
        echo "CREATE DATABASE IF NOT EXISTS $(sql_name "$MYSQL_DATABASE");"
    fi
    if [ -n "$MYSQL_USER" ]; then
        user=$(sql_text "$MYSQL_USER")
        echo "CREATE USER $user@'%' IDENTIFIED BY $(sql_text "$MYSQL_PASSWORD");"
        if [ -n "$MYSQL_DATABASE" ]; then
            # An underscore is a wildcard in GRANT.
            echo "GRANT ALL ON $(sql_name "$(printf %s "$MYSQL_DATABASE" | sed 's/_/\\_/g')").* TO $user@'%';"
        fi
    fi
    echo 'FLUSH PRIVILEGES;'
}

make_database() {
    from_file MYSQL_ROOT_PASSWORD ''
    from_file MYSQL_ROOT_HOST %
    from_file MYSQL_DATABASE ''
    from_file MYSQL_USER ''
    from_file MYSQL_PASSWORD ''
    if [ -z "$MYSQL_ROOT_PASSWORD${MYSQL_ALLOW_EMPTY_PASSWORD:-}${MYSQL_RANDOM_ROOT_PASSWORD:-}" ]; then
        die "no password for root: set MYSQL_ROOT_PASSWORD_FILE or MYSQL_ROOT_PASSWORD"
    fi
    if [ "$MYSQL_USER" = root ]; then die "MYSQL_USER=root: root exists already, name another user"; fi
    if [ -n "$MYSQL_USER" ] && [ -z "$MYSQL_PASSWORD" ]; then die "MYSQL_USER is set without MYSQL_PASSWORD"; fi
    if [ -n "${MYSQL_RANDOM_ROOT_PASSWORD:-}" ]; then
        MYSQL_ROOT_PASSWORD=$(openssl rand -base64 24)
        export MYSQL_ROOT_PASSWORD
        say "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
    fi
    ls /docker-entrypoint-initdb.d/ >/dev/null

    say "making the data folder"
    # mysqld takes a folder with nothing but dot files for an empty one.
    : >"$datadir/.init-unfinished"
    "$@" --initialize-insecure --default-time-zone=SYSTEM

    # Only on the socket: who waits for TCP waits until all of this is done.
    "$@" --skip-networking --mysqlx=OFF --default-time-zone=SYSTEM &
    server=$!
    current_password=
    tries=0
    until docker_process_sql --database=mysql -e 'SELECT 1' >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 600 ] || ! kill -0 "$server" 2>/dev/null; then die "the server does not start: its log is above"; fi
        sleep 0.1
    done

    if [ -z "${MYSQL_INITDB_SKIP_TZINFO:-}" ]; then
        # One file of the zone database is a note, not a zone; the loader has to get past it.
        mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null |
            sed 's/Local time zone must be set--see zic manual page/FCTY/' |
            docker_process_sql --database=mysql
    fi
    set_up_users | docker_process_sql --database=mysql
    current_password=$MYSQL_ROOT_PASSWORD
    run_init_files
    if [ -n "${MYSQL_ONETIME_PASSWORD:-}" ]; then
        echo "ALTER USER 'root'@$(sql_text "${MYSQL_ROOT_HOST:-localhost}") PASSWORD EXPIRE;" | docker_process_sql --database=mysql
    fi

    echo SHUTDOWN | docker_process_sql --database=mysql
    wait "$server"
    rm "$datadir/.init-unfinished"
    say "first start done, the server is next"
}

case ${1:-} in -*) set -- mysqld "$@" ;; esac
[ "${1:-}" = mysqld ] || exec "$@"
for argument in "$@"; do
    case $argument in -'?' | --help | --print-defaults | -V | --version) exec "$@" ;; esac
done

datadir=$(setting datadir "$@")
socket=$(setting socket "$@")
if [ -z "$datadir" ]; then
    "$@" --verbose --help >/dev/null || true
    die "mysqld refuses its settings: see above"
fi
datadir=${datadir%/}

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$datadir" "${socket%/*}"
    find "$datadir" "${socket%/*}" ! -user mysql -exec chown mysql {} +
    exec setpriv --reuid=mysql --regid=mysql --init-groups -- "$0" "$@"
fi

# What a first start that was killed left behind is worth nothing: begin again.
if [ -e "$datadir/.init-unfinished" ]; then
    say "the first start was interrupted: making the data folder anew"
    find "$datadir" -mindepth 1 -delete
fi
if [ -d "$datadir/mysql" ]; then
    say "$datadir holds a database already: nothing to make"
else
    make_database "$@"
fi
exec "$@"
