"""Uploads: how long they take, and what memory web needs for them."""

import http.client
import statistics
import threading
import time
import uuid

import requests

from load import BOUNDARY, form, noise_png
from stacks import Variant

# Megabytes, and how often each is sent in a quick run.
SIZES = {1: 5, 20: 2, 100: 1}


class Peak:
    """While it is entered, watch the own memory of one service; `bytes` is the most of it."""

    def __init__(self, stack: Variant, service: str) -> None:
        self._containers, self._service = stack.containers(), service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.bytes = max(self.bytes, self._containers.memory()[self._service]["own"])

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()


class Uploader:
    """Sends pictures to one stack as a program does, one after another."""

    def __init__(self, stack: Variant) -> None:
        self._stack = stack
        session = requests.Session()
        session.get(stack.url + "/", timeout=30).raise_for_status()
        self._token = session.cookies["csrftoken"]
        self._address = stack.address()
        self.names: list[str] = []

    def send(self, content: bytes) -> tuple[float, int]:
        """Upload one picture; return the seconds until the answer, and its status."""
        name = f"{uuid.uuid4().hex}.png"
        body = form(content, name)
        headers = {
            "Host": "localhost",
            "Accept": "application/json",
            "Cookie": f"csrftoken={self._token}",
            "X-CSRFToken": self._token,
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        }
        connection = http.client.HTTPConnection(self._address, timeout=120)
        began = time.monotonic()
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except OSError:
            # nginx refuses what is too large before all of it is sent.
            status = 413
        taken = time.monotonic() - began
        connection.close()
        if status == 201:
            self.names.append(name)
        return taken, status


def measure(stacks: list[Variant], times: int) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Upload pictures of 1, 20 and 100 MB to each stack in turn; return the figures by stack and size."""
    found: dict[str, dict[str, dict]] = {stack.name: {} for stack in stacks}
    uploaders = {stack.name: Uploader(stack) for stack in stacks}
    for megabytes, often in SIZES.items():
        content = noise_png(megabytes, seed=megabytes)
        taken: dict[str, list[float]] = {stack.name: [] for stack in stacks}
        peaks: dict[str, int] = {stack.name: 0 for stack in stacks}
        status: dict[str, int] = {}
        for _ in range(often * times):
            for stack in stacks:
                if status.get(stack.name, 201) != 201:
                    continue
                with Peak(stack, "web") as peak:
                    seconds, status[stack.name] = uploaders[stack.name].send(content)
                taken[stack.name].append(seconds)
                peaks[stack.name] = max(peaks[stack.name], peak.bytes)
        for stack in stacks:
            ok = status[stack.name] == 201
            each = sorted(taken[stack.name])
            figures = {
                "status": status[stack.name],
                "bytes": len(content),
                "p50_ms": statistics.median(each) * 1000 if ok else None,
                "p99_ms": each[-1] * 1000 if ok else None,
                "rps": 1 / statistics.median(each) if ok else None,
                "web_memory": peaks[stack.name] if ok else None,
            }
            if ok and not stack.tutorial:
                what = "picture" if megabytes == 20 else "memory"
                figures["parts"] = stack.inprocess(what, uploaders[stack.name].names[-1])
            found[stack.name][f"{megabytes} MB"] = figures
    return found
