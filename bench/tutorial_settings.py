"""The app's settings, and for the database those of both tutorials: Django's own, a new connection for each request."""

from hello_django.settings import *  # noqa: F403
from hello_django.settings import DATABASES

DATABASES["default"] |= {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}
