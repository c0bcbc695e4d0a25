"""The ASGI entry point, for those who change to an ASGI server; neither stack uses it."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hello_django.settings")

application = get_asgi_application()
