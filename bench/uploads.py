"""Uploads: how long they take, and what memory web needs for them."""

import http.client
import statistics
import threading
import time
import uuid
from typing import Any

import requests

from load import BOUNDARY, form, noise_png
from stacks import Variant

# Megabytes of 1,000,000 bytes, so that 100 MB and its form are below nginx's 100m; how often each is sent in a round.
SIZES = {1: 5, 20: 2, 100: 1}


class Peak:
    """While it is entered, watch the own memory of one service; `bytes` is the most of it."""

    def __init__(self, stack: Variant, service: str) -> None:
        self._containers, self._service = stack.containers(service), service
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
        self.stack = stack
        session = requests.Session()
        session.get(stack.url + "/", timeout=30).raise_for_status()
        self._token = session.cookies["csrftoken"]
        self._address = stack.address()
        self.names: list[str] = []

    def send(self, content: bytes) -> tuple[float, int]:
        """Upload one picture; return the seconds until the answer, and its status, which is 201 or a tutorial's.

        AssertionError where this repository's stacks answer anything else.
        """
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
        except (BrokenPipeError, ConnectionResetError) as error:
            if isinstance(error, http.client.RemoteDisconnected) or not self.stack.tutorial:
                raise
            # nginx refuses what is too large before all of it is sent.
            status = 413
        taken = time.monotonic() - began
        connection.close()
        if status == 201:
            self.names.append(name)
        elif not self.stack.tutorial:
            raise AssertionError(f"{self.stack.name} answers an upload of {len(content):,} bytes with {status}")
        return taken, status


def sent(uploader: Uploader, content: bytes, times: int, parts: str | None) -> dict[str, Any]:
    """Send one picture so many times, and measure at once what that is compared with; return one round's figures.

    parts: what inprocess.py is asked for, if anything.
    """
    found: dict[str, Any] = {"seconds": []}
    for _ in range(times):
        seconds, found["status"] = uploader.send(content)
        found["seconds"].append(seconds)
        if found["status"] != 201:
            return found
    if not uploader.stack.tutorial:
        if parts:
            found["parts"] = uploader.stack.inprocess(parts, uploader.names[-1])
        # In a send of its own: who looks that often takes time from what is sent.
        with Peak(uploader.stack, "web") as peak:
            uploader.send(content)
        found["memory"] = peak.bytes
    return found


def together(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of all rounds of one picture; None for those that a refused one has not."""
    status = rounds[-1]["status"]
    if status != 201:
        return {"status": status} | dict.fromkeys(("p50_ms", "p99_ms", "rps", "web_memory"))
    each = [seconds for one in rounds for seconds in one["seconds"]]
    figures = {
        "status": status,
        "p50_ms": statistics.median(each) * 1000,
        "p99_ms": max(each) * 1000,
        "rps": 1 / statistics.median(each),
        "web_memory": max((one["memory"] for one in rounds if "memory" in one), default=None),
    }
    parts = [one["parts"] for one in rounds if "parts" in one]
    if parts:
        figures["parts"] = {name: statistics.median(one[name] for one in parts) for name in parts[0]}
        middles = [statistics.median(one["seconds"]) * 1000 for one in rounds]
        figures["rounds"] = {"p50_ms": middles, "parts": parts}
    return figures


def measure(stacks: list[Variant], rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Upload pictures of 1, 20 and 100 MB to the stacks in turn; return the figures by stack and size."""
    found: dict[str, dict[str, dict]] = {stack.name: {} for stack in stacks}
    uploaders = [Uploader(stack) for stack in stacks]
    for megabytes, times in SIZES.items():
        content = noise_png(megabytes * 1_000_000 / 2**20, seed=megabytes)
        runs: dict[str, list[dict]] = {stack.name: [] for stack in stacks}
        for turn in range(rounds):
            for uploader in uploaders[turn % len(uploaders) :] + uploaders[: turn % len(uploaders)]:
                before = runs[uploader.stack.name]
                if before and before[-1]["status"] != 201:
                    continue
                # What Pillow decodes is the same in each round, and takes long for the largest.
                parts = "picture" if megabytes == 20 else None if before else "memory"
                before.append(sent(uploader, content, times, parts))
        for name, each in runs.items():
            found[name][f"{megabytes} MB"] = {"bytes": len(content)} | together(each)
    return found
