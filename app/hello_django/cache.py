"""A Redis connection pool with which the site goes on working, slower, while Redis is away.

Needs redis and django-redis; settings.py names it in CACHES.
"""

import logging
import time
from typing import Any

from redis import ConnectionPool
from redis.exceptions import ConnectionError, TimeoutError

PAUSE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class PatientConnectionPool(ConnectionPool):
    """After a failed connection, refuse at once for 2 s instead of making each request wait for the time-out.

    The outage is logged once, and so is its end. For django-redis with IGNORE_EXCEPTIONS, which turns what is raised
    here into cache misses.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reported = False
        self._closed_until = 0.0

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection that is open. Raises redis.exceptions.ConnectionError or TimeoutError without Redis."""
        if time.monotonic() < self._closed_until:
            raise ConnectionError("Redis did not answer a moment ago")
        try:
            connection = super().get_connection(*args, **kwargs)
        except (ConnectionError, TimeoutError) as error:
            self._closed_until = time.monotonic() + PAUSE_SECONDS
            if not self._reported:
                self._reported = True
                logger.error("Redis is away, going on without a cache: %s", error)
            raise
        if self._reported:
            self._reported = False
            logger.info("Redis is back")
        return connection
