# Sourced by the programs of one production stack, with its name as $1: what they share.
# Sets stack, project and file; gives compose, web_ids, nginx_servers and the other functions below.
# Needs the stack's compose file and env file.

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
[ -n "$project" ] || fail "$file cannot be read, see above"

# Containers of web, oldest first: the running ones, or with --all those that stopped or never started too.
web_ids() {
    docker ps "$@" --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter label=com.docker.compose.service=web --filter label=com.docker.compose.oneoff=False | sed -n '1!G;h;$p'
}
nginx_id() { compose ps --quiet nginx; }

# lock NAME: one at a time, two deploys at once would stop each other's containers. The lock is a link to the process id,
# made in one step; it ends with its process. Of one that was killed it says so in $stale, for restore and verify-backup.
lock() {
    mkdir -p .run
    [ -w .run ] || fail "the folder .run cannot be written to"
    stale='' tries=0
    until why=$(ln -s $$ ".run/$project.$1" 2>&1); do
        holder=$(readlink ".run/$project.$1") || {
            # Gone meanwhile, or the disk is full.
            tries=$((tries + 1))
            [ "$tries" -lt 50 ] || fail "no lock can be made in .run: $why"
            continue
        }
        # Process ids are used again: it has to be one of ours. (Not every ps can be asked for one process.)
        under_way=$(tr '\0' ' ' 2> /dev/null < "/proc/$holder/cmdline" |
            sed -nE 's#.*[ /]((up|deploy|rollback|scale|backup|restore|verify-backup) (prod|uwsgi)) *.*#\1#p') || under_way=
        if [ -n "$under_way" ]; then
            case "$program $under_way" in
                # The one of tonight would be missing, and a deploy is soon over.
                "backup deploy "* | "backup rollback "* | "backup up "*)
                    [ -n "${waits:-}" ] || say "$under_way is under way (process $holder): waiting for it"
                    waits=1
                    sleep 1
                    continue
                    ;;
            esac
            fail "$under_way is under way (process $holder): wait for it"
        fi
        # shellcheck disable=SC2034 # see above
        stale=1
        rm -f ".run/$project.$1"
    done
    locks="${locks:-} .run/$project.$1"
}
# A restore that was killed leaves its lock: the data is half exchanged until the next one puts it back.
whole() {
    [ ! -L ".run/$project.restore" ] ||
        fail "a restore was stopped half-way; \`make restore-$stack\` puts back what was there before it"
}
unlock() {
    # shellcheck disable=SC2086 # a list of files
    rm -f ${locks:-}
}

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
    # The workers of before are noted for nginx_settled: the reload is over before the first of them knows of it.
    docker exec "$nginx" sh -c 'grep -as "^nginx: worker" /proc/[0-9]*/cmdline | grep -av "is shutting down" |
        cut -d : -f 1 > /tmp/nginx/workers
        nginx -q -t -c /tmp/nginx/nginx.conf && nginx -c /tmp/nginx/nginx.conf -s reload' 2> "$log" ||
        { cat "$log" >&2; fail "nginx refused its configuration"; }
}

# Wait until the workers of before the reload have gone, 6 s at most: only slow uploads keep them longer, and those
# find the new containers by themselves (@again in nginx.conf).
nginx_settled() {
    docker exec "$nginx" sh -c 'tries=30
        while [ $tries -gt 0 ] && xargs grep -qas "^nginx: worker" < /tmp/nginx/workers; do
            tries=$((tries - 1))
            sleep 0.2
        done'
}

# healthy ID...: wait until each container answers /readyz; on failure show the log of the one that does not.
healthy() {
    end=$(($(date +%s) + ${DEPLOY_TIMEOUT:-60}))
    for id; do
        until docker exec "$id" python healthcheck.py "$health_port" /readyz > "$log" 2>&1; do
            state=$(docker inspect --format '{{.State.Status}} {{.RestartCount}}' "$id" 2> /dev/null || echo gone 0)
            if [ "$(date +%s)" -ge "$end" ] || { [ "$state" != "running 0" ] && [ "$state" != "created 0" ]; }; then
                say "the new version does not get ready ($(tail -n 1 "$log")); its last lines:" >&2
                # Docker may have started it again by now, and uWSGI says thirty lines before it says why it ends.
                docker logs --tail 50 "$id" >&2
                exit 1
            fi
            sleep 0.2
        done
    done
}

# retire ID...: stop these containers, which finish the requests that they have, and remove them.
retire() {
    [ $# -gt 0 ] || return 0
    docker stop "$@" > /dev/null 2>&1 || true
    # Ctrl-C ends docker although this shell ignores it by now, and docker may call that a success; but without --force it
    # removes nothing that still runs.
    for id; do
        for _ in 1 2 3 4 5; do
            if docker rm "$id" > /dev/null 2>&1; then continue 2; fi
            docker stop "$id" > /dev/null 2>&1 || true
        done
        docker rm --force "$id" > /dev/null
    done
}

# begin: take the lock and note which containers serve. Whatever ends the program before `moved` (a failure, Ctrl-C)
# removes what was started since and runs `undo`; the old version serves on. If the program is killed, the next one of
# them reads the note and does that.
begin() {
    lock deploy
    trap 'unlock; rm -f "$log"' EXIT
    # Once is enough: make passes on to its programs a signal that they had already, and a second one would end `give_up`.
    trap 'trap "" INT TERM HUP; exit 130' INT TERM HUP
    # What init does would not suit a backup's dump; scaling starts no init.
    [ "$program" = scale ] || lock dump
    whole
    tidy
    wanted=$(web_ids | wc -l)
    # Not one that ends again and again: it serves nobody, and has no address between two tries.
    old=$(web_ids --filter status=running | tr '\n' ' ')
    [ -n "$old" ] || fail "web does not run; \`make up-$stack\` starts the stack"
    # One of those, or one that somebody has stopped, would be counted, and started, as one of the new.
    started | xargs -r docker rm --force > /dev/null
    note "$old"
    trap give_up EXIT
}
note() {
    # In one step: an empty note would say that nothing served.
    echo "$1" > ".run/$project.serving.new"
    mv ".run/$project.serving.new" ".run/$project.serving"
    case $locks in *.serving*) ;; *) locks="$locks .run/$project.serving" ;; esac
}
undo() { :; }
changed="nothing has changed, the old version of $stack serves on"
# What is to be done as soon as the new containers serve.
served() { :; }
give_up() {
    trap - EXIT
    trap '' INT TERM HUP
    # shellcheck disable=SC2086 # a list of ids
    settle $old
    undo || true
    unlock
    rm -f "$log"
    echo "$program: $changed" >&2
    exit 1
}
# An init container with another image than web's would be replaced by the next `up`, and Compose then replaces all that
# depends on it, web and nginx. Where there is none, it makes one and leaves the others alone.
forget_init() {
    docker ps --all --quiet --filter "label=com.docker.compose.project=$project" \
        --filter label=com.docker.compose.service=init --filter label=com.docker.compose.oneoff=False |
        xargs -r docker rm --force > /dev/null
}
# settle ID...: leave these containers of web and no other, with nginx back on their name.
settle() {
    forget_init || true
    docker rm --force "$project-deploy-init" > /dev/null 2>&1 || true
    kept=" $* " rest=
    for id in $(web_ids --all); do
        case $kept in *" $id "*) ;; *) rest="$rest $id" ;; esac
    done
    # In this order: by the name, nginx would find the others while they leave.
    if [ -n "$rest" ]; then (nginx_servers "$@") 2> /dev/null || true; fi
    # shellcheck disable=SC2086 # a list of ids
    [ -z "$rest" ] || docker rm --force $rest > /dev/null 2>&1 || true
    (nginx_servers) 2> /dev/null || true
}
# tidy: put in order what a killed program has left, by its note of which containers served: any other end removes that.
tidy() {
    [ -f ".run/$project.serving" ] || return 0
    read -r noted < ".run/$project.serving" || noted=
    serving=
    for id in $noted; do
        if docker inspect "$id" > /dev/null 2>&1; then serving="$serving $id"; fi
    done
    if [ -z "$serving" ]; then
        rm -f ".run/$project.serving"
        return
    fi
    say "the last deploy was killed: putting in order what it left"
    # shellcheck disable=SC2086 # a list of ids
    settle $serving
    # shellcheck disable=SC2086
    docker tag "$(image_of $serving)" "$project-web:latest"
    # Last: whatever stops this program too, the next one begins anew.
    rm -f ".run/$project.serving"
}
# The point of no return, from which Ctrl-C does not stop the program any more: moved ID... says who serves now.
moved() {
    trap '' INT TERM HUP
    trap finish EXIT
    note "$*"
}
finish() {
    code=$?
    rm -f "$log"
    # The note stays, for the next program to act on.
    [ "$code" = 0 ] || fail "the new version of $stack serves, but the rest failed: \`make up-$stack\` puts it in order"
    unlock
}

# image_of ID...: the image of the first of these containers.
image_of() { docker inspect --format '{{.Image}}' "$1"; }
# Whether the running version is one that `rollback` has put back.
rolled_back() { [ "$(image_tagged rollback)" = "$(image_tagged latest)" ] && [ -n "$(image_tagged latest)" ]; }
image_tagged() { docker image inspect --format '{{.Id}}' "$project-web:$1" 2> /dev/null || true; }
# The containers of web that were started since `begin`.
started() {
    for id in $(web_ids --all); do
        case " $old " in *" $id "*) ;; *) echo "$id" ;; esac
    done
}

# start COUNT: start so many containers beside those that run, wait until they are ready. nginx must not know them yet.
start() {
    # shellcheck disable=SC2086 # a list of ids
    set -- "$1" $old
    # Not `up --no-deps`: Compose takes a container that was made without its dependencies for one whose settings have
    # changed, and the next `up` would replace it.
    compose create --no-recreate --no-build --scale "web=$(($1 + $# - 1))" web > "$log" 2>&1 ||
        { tail -n 5 "$log" >&2; fail "the new containers cannot be made"; }
    # shellcheck disable=SC2046
    docker start $(started) > "$log" 2>&1 || { tail -n 5 "$log" >&2; fail "the new containers do not start"; }
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
        changed="the old version of $stack serves on; migrations that were applied stay"
        # init keeps the static files of the last releases: whatever else has failed since, of this one as well.
        docker exec "${old%% *}" sh -c 'touch -c "/home/app/web/staticfiles/staticfiles-$(cat /home/app/web/RELEASE).json"' || true
        compose run --rm -T --no-deps --name "$project-deploy-init" init || fail "the init service failed, its lines are above"
        nginx_settled
        say "start $wanted new beside the old"
        start "$wanted"
        say "move nginx over"
        new=$(started)
        # From the reload on the new ones have requests, which giving up now would end.
        trap '' INT TERM HUP
        nginx_servers $new
        moved $new
        served
        nginx_settled
        say "stop the old"
        retire $old
        forget_init
    }
    nginx_servers
}

log=$(mktemp)
