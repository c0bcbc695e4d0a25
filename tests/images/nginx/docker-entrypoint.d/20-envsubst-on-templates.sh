#!/bin/sh
# Usage: 20-envsubst-on-templates.sh
#
# Turns each NAME.template below NGINX_ENVSUBST_TEMPLATE_DIR into NAME below
# NGINX_ENVSUBST_OUTPUT_DIR. Only variables that are in the environment (and whose
# names match NGINX_ENVSUBST_FILTER) are replaced: nginx's own $host stays.
set -eu

from=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
to=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}

if [ ! -d "$from" ]; then exit 0; fi
if [ ! -w "$to" ]; then
    echo "20-envsubst-on-templates: templates exist, but $to cannot be written" >&2
    exit 0
fi

# awk's ENVIRON has the names alone, however many lines a value has.
# shellcheck disable=SC2016  # envsubst wants the names with their dollar signs
names=$(awk -v filter="${NGINX_ENVSUBST_FILTER:-}" \
    'BEGIN { for (n in ENVIRON) if (n ~ /^[A-Za-z_][A-Za-z0-9_]*$/ && n ~ filter) printf "${%s} ", n }')

find "$from" -follow -type f -name "*$suffix" | while IFS= read -r template; do
    name=${template#"$from"/}
    target=$to/${name%"$suffix"}
    mkdir -p "${target%/*}"
    envsubst "$names" <"$template" >"$target"
done
