# What changes in the files of app/ when they leave this repository; bin/adopt and docs/existing-project.md use it.
# Needs sed. Each paragraph finds something: a test sees to that.

s/hello_django/on_docker/g

s/HelloDjango/OnDocker/

# Pillow is the upload page's.
/^import PIL\./d

# Your own settings may have one of that name.
s/settings\.REDIS_URL/settings.STACK_REDIS_URL/

s/the setting REDIS_URL/the setting STACK_REDIS_URL/
