# Sourced by the programs of one production stack, with its name as $1: what they share.
# Sets stack, project and file; gives compose, web_ids, nginx_servers and the other functions below.

# shellcheck shell=sh
program=$(basename "$0")
stack=${1:-}
case $stack in
    prod) health_port=8000 ;;
    uwsgi) health_port=8001 ;;
    *) echo "$program: no stack '$stack'; use prod or uwsgi" >&2; exit 2 ;;
esac
file=docker-compose.$stack.yml

say() { echo "$program: $*"; }
fail() { echo "$program: $*" >&2; exit 1; }
compose() { docker compose --ansi never --env-file ".env.$stack" -f "$file" "$@"; }
project=$(compose config --format json | sed -n 's/^  "name": "\(.*\)",*$/\1/p')

# All running containers of web, oldest first.
web_ids() {
    docker ps --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter label=com.docker.compose.service=web --filter label=com.docker.compose.oneoff=False | sed -n '1!G;h;$p'
}
nginx_id() { compose ps --quiet nginx; }

# One at a time: two deploys at once would stop each other's containers. The lock ends with its process.
lock() {
    mkdir -p .run
    lock=.run/$project.lock
    until mkdir "$lock" 2> /dev/null; do
        holder=$(cat "$lock/pid" 2> /dev/null || true)
        if [ -z "$holder" ] || kill -0 "$holder" 2> /dev/null; then
            fail "another deploy, rollback or scale of $stack is under way (process ${holder:-unknown}); wait for it, or remove $lock"
        fi
        rm -rf "$lock"
    done
    echo $$ > "$lock/pid"
}
unlock() { rm -rf "${lock:-/nonexistent}"; }

# nginx_servers: let nginx look up the name web again. nginx_servers ID...: send requests to these containers alone.
nginx_servers() {
    nginx=$(nginx_id)
    [ -n "$nginx" ] || fail "nginx does not run; \`make up-$stack\` starts the stack"
    if [ $# = 0 ]; then
        lines='server web:8000 resolve max_fails=3 fail_timeout=5s;'
    else
        lines=$(for id; do
            address=$(docker inspect --format "{{(index .NetworkSettings.Networks \"${project}_nginx_network\").IPAddress}}" "$id")
            [ -n "$address" ] || fail "container $id has no address in nginx_network"
            echo "server $address:8000;"
        done)
    fi
    printf '%s\n' "$lines" | docker exec -i "$nginx" sh -c 'cat > /tmp/nginx/servers.conf'
    docker exec "$nginx" sh -c 'nginx -q -t -c /tmp/nginx/nginx.conf && nginx -c /tmp/nginx/nginx.conf -s reload' 2> "$log" ||
        { cat "$log" >&2; fail "nginx refused its configuration"; }
}

# Wait until the workers of before the reload have gone, 6 s at most: only slow uploads keep them longer, and those
# find the new containers by themselves (@again in nginx.conf).
nginx_settled() {
    tries=30
    while [ "$tries" -gt 0 ] && docker exec "$nginx" sh -c 'cat /proc/[0-9]*/cmdline 2> /dev/null' | tr '\0' ' ' | grep -q 'shutting down'; do
        tries=$((tries - 1))
        sleep 0.2
    done
}

# healthy ID...: wait until each container answers /readyz; on failure show the log of the one that does not.
healthy() {
    end=$(($(date +%s) + ${DEPLOY_TIMEOUT:-60}))
    for id; do
        until docker exec "$id" python healthcheck.py "$health_port" /readyz > "$log" 2>&1; do
            state=$(docker inspect --format '{{.State.Status}} {{.RestartCount}}' "$id" 2> /dev/null || echo gone 0)
            if [ "$(date +%s)" -ge "$end" ] || { [ "$state" != "running 0" ] && [ "$state" != "created 0" ]; }; then
                say "the new version does not get ready ($(tail -n 1 "$log")); its last lines:" >&2
                docker logs --tail 20 "$id" >&2
                exit 1
            fi
            sleep 0.2
        done
    done
}

# retire ID...: stop these containers, which finish the requests that they have, and remove them.
retire() {
    [ $# -gt 0 ] || return 0
    docker stop "$@" > /dev/null
    docker rm --force "$@" > /dev/null
}

# begin: take the lock and note which containers serve. Whatever ends the program before `moved` (a failure, Ctrl-C)
# removes what was started since and runs $undo; the old version serves on.
begin() {
    old=$(web_ids | tr '\n' ' ')
    [ -n "$old" ] || fail "web does not run; \`make up-$stack\` starts the stack"
    lock
    trap give_up EXIT
    trap 'exit 130' INT TERM HUP
}
moved() { trap 'unlock; rm -f "$log"' EXIT; }
give_up() {
    trap - EXIT
    trap '' INT TERM HUP
    # shellcheck disable=SC2046 # a list of ids
    set -- $(started)
    [ $# = 0 ] || docker rm --force "$@" > /dev/null 2>&1 || true
    (nginx_servers) 2> /dev/null || true
    ${undo:-:}
    unlock
    rm -f "$log"
    echo "$program: nothing has changed, the old version of $stack serves on" >&2
    exit 1
}

# The containers of web that were started since `begin`.
started() {
    for id in $(web_ids); do
        case " $old " in *" $id "*) ;; *) echo "$id" ;; esac
    done
}

# start COUNT: start so many containers beside those that run, wait until they are ready. nginx must not know them yet.
start() {
    # shellcheck disable=SC2086 # a list of ids
    set -- "$1" $old
    compose up --detach --no-deps --no-recreate --no-build --scale "web=$(($1 + $# - 1))" web > "$log" 2>&1 ||
        { tail -n 5 "$log" >&2; fail "the new containers do not start"; }
    # shellcheck disable=SC2046
    healthy $(started)
}

# replace: migrate and collect with the new image, then put as many new containers in the place of the old.
# Without a lost request, in this order: nginx keeps to the old containers by address (it would find the new ones by
# their name as soon as they listen, ready or not), the new ones get ready, nginx moves over, the old ones finish.
replace() {
    # shellcheck disable=SC2046,SC2086 # lists of ids
    {
        nginx_servers $old
        say "migrate, collect static files"
        compose run --rm -T --no-deps init || fail "the init service failed, its lines are above"
        nginx_settled
        set -- $old
        say "start $# new beside the old"
        start $#
        say "move nginx over"
        nginx_servers $(started)
        moved
        nginx_settled
        say "stop the old"
        retire $old
    }
    nginx_servers
}

log=$(mktemp)
