# Sourced by the programs that look at TLS settings and certificates, with `stack` set to prod or uwsgi.
# Needs the stack's env file, nginx/check-certificate and the nginx image.

# shellcheck shell=sh
# shellcheck disable=SC2154 # stack is the program's
# value NAME [DEFAULT]: what the stack's env file says, as Compose reads it.
value() {
    found=$(sed -n "s/^$1=//p" ".env.$stack" | tail -n 1 | sed "s/[[:space:]]\{1,\}#.*//; s/^[[:space:]]*//; s/[[:space:]]*\$//; s/^\"\(.*\)\"\$/\1/; s/^'\(.*\)'\$/\1/")
    printf '%s\n' "${found:-${2:-}}"
}

# The names that the certificate has to have: DOMAIN, or else all of DJANGO_ALLOWED_HOSTS.
host_names() {
    names=$(value DOMAIN)
    printf '%s\n' "${names:-$(value DJANGO_ALLOWED_HOSTS 'localhost 127.0.0.1 [::1]')}"
}

# in_nginx_image COMMAND...: run it with openssl, which not every machine has; the tar archive on standard input is
# unpacked into its folder. No network, no right but to compute.
in_nginx_image() {
    image=${NGINX_IMAGE:-$(value NGINX_IMAGE nginx:1.30)}
    # shellcheck disable=SC2016 # $@ is for the shell in there
    docker run --rm --interactive --network none --read-only --tmpfs /tmp \
        --user 101:101 --cap-drop ALL --security-opt no-new-privileges:true --log-driver none \
        --entrypoint sh "$image" -c 'cd /tmp && tar -xf - && exec "$@"' sh "$@"
}

# check_certificate FOLDER NAME...: print until when it is valid, or what is wrong with it and return 1.
check_certificate() {
    folder=$1
    shift
    tar -chf - -C "$folder" fullchain.pem privkey.pem -C "$PWD/nginx" check-certificate |
        in_nginx_image sh check-certificate . "$@"
}

# install_certificate FOLDER: put its two files where the stack's nginx reads them. The folder above keeps other users
# out, so that the files can be readable: nginx reads them with a user of its own.
install_certificate() {
    target=secrets/tls/$stack
    mkdir -p "$target"
    chmod 0755 secrets/tls "$target"
    for part in privkey.pem fullchain.pem; do
        if ! cmp -s "$1/$part" "$target/$part"; then
            cp -L "$1/$part" "$target/$part.new"
            chmod 0444 "$target/$part.new"
            mv "$target/$part.new" "$target/$part"
        fi
    done
}
