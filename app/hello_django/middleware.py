"""Request ids for the logs, the health addresses, and the Content-Security-Policy header.

Needs health.py, and the setting CONTENT_SECURITY_POLICY for the last one alone.
"""

import logging
import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from hello_django.health import missing

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIDMiddleware:
    """Take over nginx's X-Request-ID, or make one, so that one request's log lines can be found together."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Not request.headers, which reads all that the server says, for one of them.
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        # Only nginx's own form is believed: anything else could forge log lines.
        request_id.set(given if re.fullmatch("[0-9a-f]{32}", given) else uuid.uuid4().hex)
        return self.get_response(request)


class RequestIDFilter(logging.Filter):
    """Add `request_id` to each log record, "-" outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class HealthMiddleware:
    """Answer /healthz (this process answers) and /readyz (so do database and cache) for any Host.

    /readyz is 503 with the names of what is missing, without any detail.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path == "/healthz":
            lacking = []
        elif request.path == "/readyz":
            lacking = missing()
        else:
            return self.get_response(request)
        body = f"missing: {', '.join(lacking)}\n" if lacking else "ok\n"
        response = HttpResponse(body, status=503 if lacking else 200, content_type="text/plain; charset=utf-8")
        response.headers["Cache-Control"] = "no-store"
        return response


class UnavailableMiddleware:
    """Answer 503 instead of 500 while the database is away, with one log line instead of a stack trace.

    Not with DEBUG, where the page that Django shows says more.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Called by Django with what a view raised."""
        if settings.DEBUG or not isinstance(exception, (OperationalError, InterfaceError)):
            return None
        # On a connection that lives it is a deadlock or a missing column, which needs its traceback.
        connection = connections["default"]
        if connection.connection and connection.is_usable():
            return None
        logger.error("the database is away: %s: %s", type(exception).__name__, " ".join(str(exception).split()))
        page = "<!doctype html><title>503</title><h1>The site is not available</h1><p>Please try again in a moment.</p>"
        return HttpResponse(page, status=503, headers={"Retry-After": "5", "Cache-Control": "no-store"})


class NotHealthFilter(logging.Filter):
    """Drop the lines that health requests cause, but tracebacks: a probe every few seconds would bury the others."""

    def filter(self, record: logging.LogRecord) -> bool:
        path = getattr(getattr(record, "request", None), "path", "")
        return bool(record.exc_info) or path not in ("/healthz", "/readyz")


class ContentSecurityPolicyMiddleware:
    """Send settings.CONTENT_SECURITY_POLICY. (Django 6.0 has this built in; 5.2 has not.)"""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        # Django's own debug pages have inline styles and scripts.
        if not (settings.DEBUG and response.status_code in (404, 500)):
            response.headers.setdefault("Content-Security-Policy", settings.CONTENT_SECURITY_POLICY)
        return response
