# What changes in the files of app/ when they leave this repository; bin/adopt and docs/existing-project.md use it.
# Needs sed. Each paragraph finds something: a test sees to that.

s/hello_django/on_docker/g

s/HelloDjango/OnDocker/

# Pillow is the upload page's.
/^import PIL\./d
