"""Runs inside a web container: what a page costs without any server, and what parts of an upload cost. Prints JSON.

Usage: python - cores SECONDS, pages SECONDS PATH..., memory NAME, or picture NAME
"""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import AnonymousUser  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from django.urls import resolve  # noqa: E402
from PIL import Image  # noqa: E402

from upload import images  # noqa: E402

# More than the caches that belong to one core hold, and less than those that all share. It is kept: memory that is
# mapped anew would cost the call that comes after. At random: bytes that were never written are all one page of zeros.
CACHES = os.urandom(4 << 20)
COPIED = memoryview(bytearray(CACHES))


def batch(call: Callable[[], object], *, cold: bool = False) -> float:
    """Return the CPU time of one call in microseconds, the mean of 20.

    Where it is to be cold, CACHES is copied before each call, outside of that time: between two requests of a server,
    other processes use its core's caches.
    """
    spent = 0.0
    for _ in range(20):
        if cold:
            COPIED[:] = CACHES
        began = time.process_time()
        call()
        spent += time.process_time() - began
    return spent / 20 * 1e6


def view(path: str) -> Callable[[], object]:
    """Return a call of the view alone, without middleware."""
    factory, match = RequestFactory(SERVER_NAME="localhost"), resolve(path)

    def call() -> None:
        request = factory.get(path)
        request.user = AnonymousUser()
        response = match.func(request, *match.args, **match.kwargs)
        if hasattr(response, "render"):
            response.render()
        assert response.status_code == 200

    return call


def application(path: str) -> Callable[[], object]:
    """Return a call of the whole application, as a server makes it."""
    handler = WSGIHandler()
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "HTTP_X_REQUEST_ID": "0" * 32,
        "wsgi.url_scheme": "http",
    }

    def call() -> None:
        response = handler(environ | {"wsgi.input": io.BytesIO()}, lambda status, headers: None)
        b"".join(response)
        response.close()

    return call


def seconds(call: Callable[[], object], times: int = 5) -> float:
    """Return how long a call takes: the median."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def own_memory() -> int:
    """Return the bytes of this process that are no file's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def memory(name: str) -> dict[str, int]:
    """Return the bytes of a stored picture, and of memory that Pillow needs to decode it."""
    path = Path(settings.MEDIA_ROOT, name)
    before = own_memory()
    with Image.open(path) as image:
        image.load()
        return {"bytes": path.stat().st_size, "pillow_memory": own_memory() - before}


def picture(name: str) -> dict[str, float]:
    """Return memory(), and the seconds of Pillow, of the upload's other work, and of a plain copy, for a stored PNG."""
    path = Path(settings.MEDIA_ROOT, name)
    copy = path.with_name("bench-copy")

    def plain_copy() -> None:
        """As the app stores a picture: it waits for the disk."""
        shutil.copyfile(path, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())

    def pillow() -> None:
        with Image.open(path) as image:
            images._decode(image, "PNG")

    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return memory(name) | {
                "pillow": seconds(pillow),
                "copy": seconds(plain_copy),
                "sha256": seconds(lambda: hashlib.sha256(data).digest()),
                "checksums": seconds(lambda: images._is_whole_png(memoryview(data))),
                "search": seconds(lambda: (images.HOSTILE.search(data), images.HOSTILE_PDF.search(data))),
            }
    finally:
        copy.unlink(missing_ok=True)


def count(seconds: float) -> int:
    """Return how far Python counts in this time."""
    end, counted = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(10_000):
            counted += 1
    return counted


def cost(path: str, seconds: float) -> dict[str, float]:
    """Return what one call costs in microseconds, by kind: the medians of batches, which take turns."""
    alone, whole = view(path), application(path)
    kinds = {
        "view": lambda: batch(alone),
        "app": lambda: batch(whole),
        "cold": lambda: batch(whole, cold=True),
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    # The first of each finds nothing loaded yet.
    for measured in kinds.values():
        measured()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for kind, measured in kinds.items():
            found[kind].append(measured())
    return {kind: statistics.median(batches) for kind, batches in found.items()}


def costs(task: tuple[float, list[str]]) -> list[dict[str, float]]:
    """Return what each path costs, measured for so many seconds in all."""
    return [cost(path, task[0] / len(task[1])) for path in task[1]]


def main(what: str, *arguments: str) -> dict[str, object]:
    if what in ("memory", "picture"):
        return {"memory": memory, "picture": picture}[what](arguments[0])
    # As many as web has workers, at most: more would not fit into its memory.
    cores, seconds = min(os.cpu_count() or 1, 4), float(arguments[0])
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        if what == "cores":
            alone = count(seconds)
            return {"one": alone, "all": sum(pool.map(count, [seconds] * cores, chunksize=1))}
        # On all cores at once, as under load: they share caches, and some are two halves of one.
        each = pool.map(costs, [(seconds, arguments[1:])] * cores, chunksize=1)
    return {
        path: {kind: statistics.median(one[number][kind] for one in each) for kind in each[0][number]}
        for number, path in enumerate(arguments[1:])
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
