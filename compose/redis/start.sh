#!/bin/sh
# Start redis-server with the password from its secret, which as an argument would show in the process list.
# Needs redis.conf, and the secret redis_password.
set -eu

secret=/run/secrets/redis_password
password=$(cat "$secret" 2> /dev/null) || password=
if [ -z "$password" ]; then
    echo "redis: $secret is missing or empty; \`make secrets\` writes it, then \`make up-uwsgi\`" >&2
    exit 1
fi
umask 077
# In quotes, in which a quote or a backslash needs a backslash.
printf 'requirepass "%s"\n' "$(printf %s "$password" | sed 's/[\\"]/\\&/g')" > /tmp/password.conf
exec redis-server /etc/redis/redis.conf
