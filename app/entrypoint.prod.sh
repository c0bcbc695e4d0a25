#!/bin/sh
# Production: find the number of workers, then run the command. Migrations are the init service's job.
# Needs a POSIX shell alone.
set -eu

# The CPU limit of this container in whole CPUs: cgroup v2, cgroup v1, or else what the machine has.
cpus() {
    if read -r quota period 2> /dev/null < /sys/fs/cgroup/cpu.max && [ "$quota" != max ]; then
        :
    elif read -r quota 2> /dev/null < /sys/fs/cgroup/cpu/cpu.cfs_quota_us && [ "$quota" -gt 0 ]; then
        read -r period < /sys/fs/cgroup/cpu/cpu.cfs_period_us
    else
        nproc
        return
    fi
    echo $(((quota + period - 1) / period))
}

# number NAME VALUE MOST: a whole number from 1 to MOST, without zeros in front, which the shell reads as octal.
number() {
    case $2 in
        *[!0-9]* | 0* | ?????*) ;;
        *) [ "$2" -gt "$3" ] || return 0 ;;
    esac
    echo "entrypoint: $1='$2' is not a whole number from 1 to $3" >&2
    exit 1
}

if [ -z "${WEB_CONCURRENCY:-}" ]; then
    WEB_CONCURRENCY=$(cpus)
    # Two, so that one can be replaced while the other answers; four fill the memory limit of 512 MB.
    [ "$WEB_CONCURRENCY" -ge 2 ] || WEB_CONCURRENCY=2
    [ "$WEB_CONCURRENCY" -le 4 ] || WEB_CONCURRENCY=4
    export WEB_CONCURRENCY
fi
number WEB_CONCURRENCY "$WEB_CONCURRENCY" 64
number UWSGI_THREADS "${UWSGI_THREADS:-2}" 64
number REQUEST_TIMEOUT "${REQUEST_TIMEOUT:-60}" 3600

# For uwsgi.ini, which has no defaults of its own.
export UWSGI_THREADS="${UWSGI_THREADS:-2}"
# For deadline.py and uwsgi.ini: 5 s after nginx has given up on a request.
export HARAKIRI=$((${REQUEST_TIMEOUT:-60} + 5))

# exec, so that the server is process 1 and gets the signals.
exec "$@"
