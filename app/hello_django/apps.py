"""The project as an app, so that Django finds its management commands and calls database.py.

Needs database.py, and its place in INSTALLED_APPS.
"""

from django.apps import AppConfig
from django.db.backends.signals import connection_created

from hello_django.database import check_once_a_second


class HelloDjangoConfig(AppConfig):
    name = "hello_django"

    def ready(self) -> None:
        connection_created.connect(check_once_a_second)
