#!/bin/sh
# Usage: docker-entrypoint.sh [redis-server] [FILE.conf] [--OPTION VALUE…] | COMMAND…
set -eu

case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac
[ "${1:-}" = redis-server ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis {} +
    exec setpriv --reuid=redis --regid=redis --init-groups -- "$0" "$@"
fi

# The data is nobody else's business.
if [ "$(umask)" = 0022 ]; then umask 0077; fi

# Protected mode keeps every other container out; the official image is compiled without it.
given=
case "$*" in *--protected-mode*) given=1 ;; esac
case ${2:-} in
    *.conf) if grep -qi '^[[:space:]]*protected-mode' "$2" 2>/dev/null; then given=1; fi ;;
esac
if [ -z "$given" ]; then set -- "$@" --protected-mode no; fi
exec "$@"
