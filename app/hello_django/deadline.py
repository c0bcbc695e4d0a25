"""A time limit for each request of a worker that has threads; both servers load `application` from here.

Gunicorn's own time-out sees whether a worker lives, not its requests: as many that hang as there are threads, and the
site is gone. uWSGI's harakiri has one clock for a worker, which each request of any thread sets anew: a request that
hangs lives for as long as others come. Here each request has a clock of its own, and the end is harakiri's: the worker
is killed, and its server starts another in its place.
What is loaded by then is kept from the garbage collector, before the servers fork their workers.
Needs env.py, middleware.py, wsgi.py, and HARAKIRI from entrypoint.prod.sh.
"""

import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hello_django import env
from hello_django.middleware import request_id
from hello_django.wsgi import application as django

if "HARAKIRI" not in os.environ:
    env.fail("HARAKIRI is missing: entrypoint.prod.sh sets it; start the server with that, or load wsgi.py instead")
# Some seconds after nginx has answered 504.
SECONDS = int(os.environ["HARAKIRI"])

# It stays for ever. Looking through it would stop a worker for 30 to 40 ms with all its requests, and write into memory
# that the workers share (docs/performance.md).
gc.freeze()

logger = logging.getLogger(__name__)


class Work(NamedTuple):
    """A request under way."""

    begun: float
    environ: dict[str, Any]


_lock = threading.Lock()
_under_way: dict[int, Work] = {}
_watcher: threading.Thread | None = None


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request with Django, watched."""
    global _watcher
    thread = threading.get_ident()
    with _lock:
        # Not before the first request: a thread of the process that forks the workers would not be in them.
        if _watcher is None:
            _watcher = threading.Thread(target=_watch, name="deadline", daemon=True)
            _watcher.start()
        _under_way[thread] = Work(time.monotonic(), environ)
    try:
        return django(environ, start_response)
    finally:
        with _lock:
            del _under_way[thread]


def _watch() -> None:
    while True:
        time.sleep(1)
        with _lock:
            late = time.monotonic() - SECONDS
            for thread, work in _under_way.items():
                if work.begun < late:
                    _end(thread, work.environ)


def _end(thread: int, environ: dict[str, Any]) -> None:
    """Log what the request was and where it hangs, then kill this process: nothing else ends a thread."""
    request_id.set(environ.get("HTTP_X_REQUEST_ID", "-"))
    uri = environ.get("REQUEST_URI") or environ.get("RAW_URI") or environ.get("PATH_INFO", "")
    frame = sys._current_frames().get(thread)
    where = "".join(traceback.format_stack(frame, limit=8)) if frame else ""
    message = "HARAKIRI: no answer after %d s to %s %s: worker %d is replaced; it hangs here:\n%s"
    logger.critical(message, SECONDS, environ.get("REQUEST_METHOD", ""), uri, os.getpid(), where)
    os.kill(os.getpid(), signal.SIGKILL)
