"""The WSGI entry point, which Gunicorn and uWSGI import: your own, or Django's where you have none (ASGI projects).

Needs settings.py of this package, which both images name in DJANGO_SETTINGS_MODULE.
"""

from importlib.util import find_spec

from django.conf import settings
from django.core.servers.basehttp import get_internal_wsgi_application
from django.core.wsgi import get_wsgi_application

named = (settings.WSGI_APPLICATION or "").rpartition(".")[0]
# A setting that names a file which was deleted is no reason to have no site.
application = get_internal_wsgi_application() if named and find_spec(named) else get_wsgi_application()
