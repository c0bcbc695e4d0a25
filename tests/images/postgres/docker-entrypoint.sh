#!/bin/bash
# Usage: docker-entrypoint.sh [postgres] [ARGUMENT…] | COMMAND…
#
# Makes the database cluster on the first start, then becomes the server. Reads
# POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS (each or its
# _FILE), POSTGRES_INITDB_WALDIR, POSTGRES_HOST_AUTH_METHOD, and /docker-entrypoint-initdb.d.
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

# Prints its arguments so that another shell reads them back unchanged.
quote() { for word in "$@"; do printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done; }

# Name and arguments as in the official image: scripts that are read into this shell may call it.
docker_process_sql() {
    PGHOST='' PGHOSTADDR='' psql --no-psqlrc --no-password -v ON_ERROR_STOP=1 \
        --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"
}

run_init_files() {
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
            *.sql) say "running $init"; docker_process_sql -f "$init" ;;
            *.sql.gz) say "running $init"; gunzip -c "$init" | docker_process_sql ;;
            *.sql.xz) say "running $init"; xzcat "$init" | docker_process_sql ;;
            *.sql.zst) say "running $init"; zstd -dc "$init" | docker_process_sql ;;
            '/docker-entrypoint-initdb.d/*') ;;
            *) say "ignoring $init" ;;
        esac
    done
}

# What a first start that was killed left behind is worth nothing: begin again.
discard_unfinished() {
    rm -rf "$PGDATA/.initdb"
    [ -e "$PGDATA/.init-unfinished" ] || return 0
    if [ -e "$PGDATA/postmaster.opts" ] && ! grep -q docker-entrypoint-init "$PGDATA/postmaster.opts"; then
        die "$PGDATA/.init-unfinished exists, yet a server has run here since: check the data, then delete that file"
    fi
    say "the first start was interrupted: making the cluster anew"
    find "$PGDATA" -mindepth 1 -delete
}

make_cluster() {
    from_file POSTGRES_PASSWORD ''
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS ''
    auth=${POSTGRES_HOST_AUTH_METHOD:-}
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$auth" != trust ]; then
        die "no password for the superuser: set POSTGRES_PASSWORD_FILE or POSTGRES_PASSWORD"
    fi
    ls /docker-entrypoint-initdb.d/ >/dev/null

    # In a folder of its own first: initdb wants an empty one, and a killed one must not look finished.
    eval "set -- $POSTGRES_INITDB_ARGS"
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then set -- --waldir "$POSTGRES_INITDB_WALDIR" "$@"; fi
    if [ -n "$POSTGRES_PASSWORD" ]; then
        printf '%s\n' "$POSTGRES_PASSWORD" | initdb --pgdata="$PGDATA/.initdb" --username="$POSTGRES_USER" --pwfile=/dev/stdin "$@"
    else
        initdb --pgdata="$PGDATA/.initdb" --username="$POSTGRES_USER" "$@"
    fi
    : >"$PGDATA/.init-unfinished"
    mv "$PGDATA"/.initdb/* "$PGDATA/"
    rmdir "$PGDATA/.initdb"
    printf '\nhost all all all %s\n' "${auth:-$(postgres -C password_encryption -D "$PGDATA")}" >>"$PGDATA/pg_hba.conf"
}

fill_cluster() {
    export PGPASSWORD="${PGPASSWORD:-$POSTGRES_PASSWORD}"
    # Only on the socket: who waits for TCP waits until all of this is done.
    PGUSER="$POSTGRES_USER" pg_ctl -D "$PGDATA" -w -t 300 start \
        -o "$(quote "$@") -c listen_addresses='' -p ${PGPORT:-5432} -c cluster_name=docker-entrypoint-init"
    if [ "$POSTGRES_DB" != postgres ]; then
        found=$(docker_process_sql --dbname postgres --tuples-only -v db="$POSTGRES_DB" <<'SQL'
SELECT 1 FROM pg_database WHERE datname = :'db';
SQL
)
        if [ -z "$found" ]; then
            docker_process_sql --dbname postgres -v db="$POSTGRES_DB" <<'SQL'
CREATE DATABASE :"db";
SQL
        fi
    fi
    run_init_files
    PGUSER="$POSTGRES_USER" pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD
    rm "$PGDATA/.init-unfinished"
    say "first start done, the server is next"
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
[ "${1:-}" = postgres ] || exec "$@"
for argument in "$@"; do
    case $argument in -'?' | --help | --describe-config | -V | --version | -C) exec "$@" ;; esac
done

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    find "$PGDATA" ! -user postgres -exec chown postgres {} +
    chown postgres /var/run/postgresql
    chmod 3775 /var/run/postgresql
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        chown -R postgres "$POSTGRES_INITDB_WALDIR"
    fi
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

mkdir -p "$PGDATA"
chmod 700 "$PGDATA" || true
discard_unfinished
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    make_cluster
    shift
    fill_cluster "$@"
    set -- postgres "$@"
else
    say "$PGDATA holds a database already: nothing to make"
fi
exec "$@"
