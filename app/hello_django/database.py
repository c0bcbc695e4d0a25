"""Kept database connections are tested once a second, not before each request.

With CONN_HEALTH_CHECKS Django asks the server before a request's first query, which is a query more for each page.
Needs apps.py, which connects it.
"""

import select
import time

from django.db.backends.base.base import BaseDatabaseWrapper

SECONDS = 1.0


def silent(connection: object) -> bool:
    """Return whether a driver's connection has nothing to read: a server that has ended it has said so."""
    poll = select.poll()
    try:
        poll.register(connection.fileno(), select.POLLIN)
        return not poll.poll(0)
    except Exception:  # Whatever a driver raises, and one without fileno(): the test has to tell.
        return False


def check_once_a_second(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    """Let a new connection be called usable without a test for a second after each one, while it is silent.

    A receiver of connection_created.
    """
    test, tested = type(connection).is_usable, time.monotonic()

    def is_usable() -> bool:
        nonlocal tested
        if connection.errors_occurred or time.monotonic() - tested > SECONDS or not silent(connection.connection):
            if not test(connection):
                return False
            tested = time.monotonic()
        return True

    connection.is_usable = is_usable
