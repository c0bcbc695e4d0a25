#!/bin/sh
# Usage: /docker-entrypoint.sh COMMAND [ARGUMENT…]
#
# Before nginx starts, runs /docker-entrypoint.d in version order: *.envsh is read
# into this shell, *.sh is executed. NGINX_ENTRYPOINT_QUIET_LOGS=1 silences it.
set -eu

note() { if [ -z "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ]; then echo "docker-entrypoint: $*"; fi; }

case ${1:-} in
    nginx | nginx-debug)
        # A loop over words, not a pipe: what an .envsh exports has to stay in this shell.
        for hook in $(find /docker-entrypoint.d -follow -type f 2>/dev/null | sort -V); do
            if [ ! -x "$hook" ]; then
                note "$hook is not executable: skipped"
                continue
            fi
            case $hook in
                *.envsh)
                    note "reading $hook"
                    # shellcheck source=/dev/null
                    . "$hook"
                    ;;
                *.sh) note "running $hook"; "$hook" ;;
            esac
        done
        ;;
esac

exec "$@"
