# What changes in the files of the stacks when they leave this repository; bin/adopt and docs/existing-project.md use it.
# Needs GNU sed. Each paragraph finds something: a test sees to that.

# The images are built from your project's folder, with the stacks' own part of them in deployment/app.
/^      context: \.\/app$/ {
s//      context: ../
n
s/dockerfile: /&deployment\/app\//
/dockerfile/! i\      dockerfile: deployment/app/Dockerfile
}

s#^\( *\)- \./app:/usr/src/app$#\1- ..:/usr/src/app\n\1- ./app:/opt/deployment:ro#

# In the image that part is in /opt/deployment, and the volumes are outside of your code.
s#"healthcheck\.py"#"/opt/deployment/healthcheck.py"#

s#python healthcheck\.py#python /opt/deployment/healthcheck.py#

s#/home/app/web/RELEASE#/opt/deployment/RELEASE#

s#/home/app/web/#/home/app/#

s#cd mediafiles#cd /home/app/mediafiles#

# Your settings are imported by those of the stacks.
/^DEBUG=[01]$/ a\
# Your settings module. Variables that it reads go into this file too; secret ones into own.env in the stack's secrets/.\
BASE_SETTINGS=mysite.settings

# What they read and nobody else may: a file that git ignores, and that need not be there.
s#^\(  \|    \)env_file: \(\.env\.dev\)$#\1env_file: [\2, {path: secrets/dev/own.env, required: false}]#

s#^  env_file: \(\.env\.\(prod\|uwsgi\)\)$#  env_file: [\1, {path: secrets/\2/own.env, required: false}]#

# What only the upload page has.
/^#UPLOAD_REQUIRES_LOGIN=/d

/^# 1: only signed-in users upload\.$/d

/^#MEDIA_ROOT=\/usr\/src/d

/^# Files of no picture/,/rows and files do not agree/d

# An upload is a POST to / there; nginx.conf can name your own address instead.
s#^\#UPLOAD_RATE=60/m$#UPLOAD_RATE=off#

s/A picture can/A file can/

s/图片最大/文件最大/

# Any file is an upload: what a browser could run is a download.
s/\(Uploads come from strangers: \)pictures only,/\1these are shown,/

/^        location \/media\/ {$/,/^        }$/ c\
        location ~* "^/media/(?<sound_or_video>[^.].*\\.(?:mp3|m4a|ogg|wav|flac|mp4|m4v|webm|mov))$" {\
            location ~ /\\. {\
                return 404;\
            }\
            alias /srv/media/$sound_or_video;\
            add_header X-Content-Type-Options nosniff always;\
            add_header Content-Security-Policy "default-src 'none'; sandbox" always;\
        }\
        # All else is a download: HTML, or a script in an SVG, would run as a part of this site.\
        location /media/ {\
            alias /srv/media/;\
            add_header Content-Disposition attachment always;\
            add_header X-Content-Type-Options nosniff always;\
            add_header Content-Security-Policy "default-src 'none'; sandbox" always;\
        }

# Addresses such as /.well-known/security.txt are yours.
s#^        location ~ /\\\. {$#        location ~ /\\.(?!well-known/) {#

# Targets and hints for what is not copied.
s/the tutorial and of a site's life/a site's life/

/^#: Without Docker$/,/^#:   screenshots /d

s/^\.PHONY: help run test lint lock screenshots$/.PHONY: help/

/^run:$/,/screenshots\.py/d

/^#: Tutorial$/,/bin\/adopt$/d

/^#:   base-images /,/^#:   bench /d

/^base-images: engine$/,/bin\/bench$/d

s/install-docker base-images bench engine/install-docker engine/

s/, \\`make run\\` does without it//

s/\\`make base-images\\`, or set a mirror/set a mirror/

s#\. docs/production\.md has the upgrade\.#.#
