"""Pages that the rigged stacks have, so that tests see what Django sees and can keep a worker busy."""

import logging
import os
import time

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

logger = logging.getLogger(__name__)
hoard: list[bytes] = []


def who(request: HttpRequest) -> JsonResponse:
    """Say which process answers, and what it knows of the client."""
    names = ("REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REQUEST_ID", "HTTP_HOST")
    facts = {name: request.META.get(name) for name in names}
    facts |= {name: value for name, value in request.META.items() if "FORWARDED" in name or name == "HTTP_X_REAL_IP"}
    facts |= {"secure": request.is_secure(), "absolute": request.build_absolute_uri()}
    return JsonResponse(facts | {"process": os.getpid()})


def slow(request: HttpRequest, seconds: int) -> HttpResponse:
    """Take so many seconds; the log says when that begins."""
    logger.warning("slow begins: %s", request.get_full_path())
    time.sleep(seconds)
    return HttpResponse(f"slow done in {os.getpid()}")


def grow(request: HttpRequest, megabytes: int) -> JsonResponse:
    """Take so much memory, and keep it."""
    hoard.append(b"x" * (megabytes << 20))
    return JsonResponse({"process": os.getpid()})


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("broken on purpose")


pages = [
    path("pages/who/", who),
    path("pages/slow/<int:seconds>/", slow),
    path("pages/grow/<int:megabytes>/", grow),
    path("pages/broken/", broken),
]
