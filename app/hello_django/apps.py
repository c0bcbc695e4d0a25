"""The project as an app, so that Django finds its management commands.

Needs its place in INSTALLED_APPS.
"""

from django.apps import AppConfig


class HelloDjangoConfig(AppConfig):
    name = "hello_django"
