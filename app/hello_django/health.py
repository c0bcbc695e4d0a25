"""Whether the services that a page needs answer in time.

Needs the setting REDIS_URL, and django-redis where that is set.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from django.conf import settings
from django.core.cache import caches
from django.db import connections

SECONDS = 2.0

logger = logging.getLogger(__name__)


def check_database() -> None:
    """Raise unless the database answers on a connection of its own, so that a hanging one is not waited for."""
    connection = connections["default"].copy()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def check_cache() -> None:
    """Raise unless Redis answers; local memory always does."""
    if settings.REDIS_URL:
        # Past the backend's own methods, which turn an outage into a cache miss.
        caches["default"].client.get_client().ping()


CHECKS: dict[str, Callable[[], None]] = {"database": check_database, "cache": check_cache}

_lock = Lock()
_pool: ThreadPoolExecutor | None = None
_running: dict[str, Future[None]] = {}
_reported: set[str] = set()


def missing() -> list[str]:
    """Return the names of the services that did not answer within 2 s; log each change once."""
    global _pool
    deadline = time.monotonic() + SECONDS
    with _lock:
        # Made at the first request: threads made before the server forks its workers would not be in them.
        _pool = _pool or ThreadPoolExecutor(max_workers=len(CHECKS), thread_name_prefix="health")
        for name, check in CHECKS.items():
            # A check that still hangs is waited for again instead of stacking up another thread behind it.
            if name not in _running or _running[name].done():
                _running[name] = _pool.submit(check)
        running = dict(_running)
    lacking = []
    for name, future in running.items():
        try:
            future.result(timeout=max(0.0, deadline - time.monotonic()))
        except Exception as error:  # Whatever a driver raises, the service did not answer.
            lacking.append(name)
            if name not in _reported:
                logger.error("not ready: %s: %s", name, type(error).__name__)
    for name in _reported.difference(lacking):
        logger.info("ready again: %s", name)
    _reported.clear()
    _reported.update(lacking)
    return lacking
