#!/bin/sh
# Run by the image's entrypoint before nginx: links /tmp/nginx/tls to the certificate that TLS asks for, and stays in the
# background to let nginx reload when that changes. Without a certificate from ACME yet, a placeholder serves.
# Needs openssl, and 10-environment.envsh before it.
set -eu

acme=/etc/letsencrypt/live/site
placeholder=/tmp/nginx/placeholder
link=/tmp/nginx/tls

say() { echo "nginx: $*" >&2; }

# The folder that has to be served now.
source_of() {
    if [ "$TLS" != acme ]; then echo /etc/nginx/tls
    elif [ -r $acme/fullchain.pem ] && [ -r $acme/privkey.pem ]; then echo $acme
    else echo $placeholder; fi
}
sum_of() { cat "$1/fullchain.pem" "$1/privkey.pem" 2> /dev/null | cksum; }

watch() {
    served=$1 refused=
    while sleep 5; do
        folder=$(source_of)
        now="$folder $(sum_of "$folder")"
        if [ "$now" = "$served" ]; then continue; fi
        ln -sfn "$folder" $link
        # Half-written files fail the test; the old certificate serves until they are whole.
        if error=$(nginx -t -q -c /tmp/nginx/nginx.conf 2>&1); then
            nginx -c /tmp/nginx/nginx.conf -s reload 2> /dev/null || continue
            served=$now
            say "serves the certificate in $folder, $(openssl x509 -noout -enddate -in $link/fullchain.pem | sed 's/notAfter=/valid until /')"
        elif [ "$now" != "$refused" ]; then
            refused=$now
            say "keeps the old certificate, the new one is not usable: $error"
        fi
    done
}

case ${TLS:-off} in
    off) exit 0 ;;
    acme)
        mkdir -p $placeholder
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=placeholder" \
            -keyout $placeholder/privkey.pem -out $placeholder/fullchain.pem 2> /dev/null
        ;;
    *)
        if [ ! -r /etc/nginx/tls/fullchain.pem ] || [ ! -r /etc/nginx/tls/privkey.pem ]; then
            say "TLS=$TLS, and there is no certificate: start with \`make up-prod\` or \`make up-uwsgi\`, which put it in place"
            exit 1
        fi
        ;;
esac
folder=$(source_of)
ln -sfn "$folder" $link
# A broken volume must not keep the site down.
if [ "$TLS" = acme ] && ! nginx -t -q -c /tmp/nginx/nginx.conf 2> /dev/null; then
    say "the certificate in $folder is not usable; the placeholder serves"
    folder=$placeholder
    ln -sfn "$folder" $link
fi
watch "$folder $(sum_of "$folder")" &
