"""Steady mixed load on one stack, which remembers each failed request and each upload that was acknowledged."""

import hashlib
import http.client
import json
import os
import random
import re
import socket
import struct
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Self

import requests

BOUNDARY = "----picture"


def noise_png(megabytes: float, seed: int | None = None) -> bytes:
    """Return a PNG of about this size whose pixels are noise, made without compression, so quickly."""
    side = int((megabytes * 2**20 / 3) ** 0.5)
    randomness = os.urandom if seed is None else random.Random(seed).randbytes
    rows = b"".join(b"\0" + randomness(side * 3) for _ in range(side))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed = zlib.compress(rows, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def form(content: bytes, name: str) -> bytes:
    """Return a multipart body with this picture in the field image_file."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image_file"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


class Answer:
    """Status of one GET on an open socket, read to its end; the cheapest that Python can do."""

    def __init__(self, connection: socket.socket, request: bytes) -> None:
        """Raises OSError when the connection ends before the answer does."""
        connection.sendall(request)
        head, body = b"", b""
        while b"\r\n\r\n" not in head:
            head += self._more(connection)
        head, _, body = head.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ", 2)[1])
        self.will_close = b"\r\nConnection: close" in head
        length = re.search(rb"\r\n[Cc]ontent-[Ll]ength: (\d+)", head)
        if length:
            missing = int(length[1]) - len(body)
            while missing > 0:
                missing -= len(self._more(connection))
        else:
            while not body.endswith(b"0\r\n\r\n"):
                body = body[-5:] + self._more(connection)

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        chunk = connection.recv(262144)
        if not chunk:
            raise ConnectionResetError("closed in the middle of an answer")
        return chunk


class Load:
    """Requests from several threads between `with Load(url)` and its end; bounded by the seconds given."""

    def __init__(
        self,
        url: str,
        paths: dict[str, tuple[str, float]],
        *,
        seconds: float = 300,
        uploads: float = 2,
        timeout: float = 60,
    ) -> None:
        """paths: a name for the counts, and the path to GET with how often a second: on kept and on fresh connections.

        uploads: pictures of 1 MB a second; 0 for none.
        """
        self.address = url.removeprefix("http://")
        self.url = url
        self.timeout = timeout
        self.problems: list[tuple[float, str]] = []  # time.monotonic() of its end, and what it was
        self.counts: Counter[str] = Counter()
        self.acknowledged: dict[str, str] = {}  # the picture's path: SHA-256 of what was sent
        self.slowest = 0.0  # seconds that one request took
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        session = requests.Session()
        session.get(url + "/", timeout=30).raise_for_status()
        self._token = session.cookies["csrftoken"]
        jobs: list[tuple[Callable, tuple]] = [
            (self._gets, (name, path, rate / 2, keep)) for name, (path, rate) in paths.items() for keep in (True, False)
        ]
        if uploads:
            jobs.append((self._uploads, (noise_png(1, seed=1), uploads)))
        self._threads = [threading.Thread(target=job, args=args, daemon=True) for job, args in jobs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the load; requests under way finish."""
        self._end = 0
        for thread in self._threads:
            thread.join(120)

    @property
    def total(self) -> int:
        """How many requests were answered as they should."""
        return sum(self.counts.values())

    @property
    def failures(self) -> list[str]:
        """What failed, in words."""
        return [problem for _, problem in self.problems]

    def _done(self, name: str, problem: str = "", began: float = 0) -> None:
        now = time.monotonic()
        with self._lock:
            if began:
                self.slowest = max(self.slowest, now - began)
            if problem:
                self.problems.append((now, f"{time.strftime('%H:%M:%S')} {name}: {problem}"))
            else:
                self.counts[name] += 1

    def _beats(self, rate: float) -> Iterator[None]:
        """Come back so many times a second until the end; what is late is not made up for."""
        due = time.monotonic() + random.random() / rate
        while due < self._end:
            time.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() < self._end:
                yield
            due = max(due + 1 / rate, time.monotonic() - 1)

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.address, timeout=self.timeout)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _gets(self, name: str, path: str, rate: float, keep: bool) -> None:
        name += " kept" if keep else " fresh"
        host, port = self.address.split(":")
        end = "" if keep else "Connection: close\r\n"
        request = f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\n{end}\r\n".encode()
        connection = None
        for _ in self._beats(rate):
            began = time.monotonic()
            try:
                connection = connection or socket.create_connection((host, int(port)), self.timeout)
                answer = Answer(connection, request)
                self._done(name, "" if answer.status == 200 else f"status {answer.status}", began)
                # A server may close a kept connection after any answer, if it says so.
                if not keep or answer.will_close:
                    connection.close()
                    connection = None
            except OSError as error:
                self._done(name, repr(error), began)
                connection = None

    def _uploads(self, content: bytes, rate: float) -> None:
        digest = hashlib.sha256(content).hexdigest()
        connection = None
        for _ in self._beats(rate):
            began = time.monotonic()
            try:
                connection = connection or self._connect()
                self._post(connection, form(content, f"{uuid.uuid4().hex}.png"))
                if self._read_post(connection, "upload", digest, began):
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self._done("upload", repr(error), began)
                connection = None

    def _post(self, connection: http.client.HTTPConnection, body: bytes, seconds: float = 0) -> None:
        connection.putrequest("POST", "/")
        for name, value in {
            "Accept": "application/json",
            "Cookie": f"csrftoken={self._token}",
            "X-CSRFToken": self._token,
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(len(body)),
        }.items():
            connection.putheader(name, value)
        connection.endheaders()
        step = len(body) if not seconds else max(1, int(len(body) / seconds / 10))
        for start in range(0, len(body), step):
            connection.send(body[start : start + step])
            if seconds:
                time.sleep(0.1)

    def _read_post(self, connection: http.client.HTTPConnection, name: str, digest: str, began: float = 0) -> bool:
        answer = connection.getresponse()
        text = answer.read()
        if answer.status == 201:
            with self._lock:
                self.acknowledged[json.loads(text)["url"]] = digest
            self._done(name, began=began)
        else:
            self._done(name, f"status {answer.status}: {text[:200]!r}", began)
        return answer.will_close

    def slow_upload(self, megabytes: float, seconds: float) -> threading.Thread:
        """Begin one upload that takes so many seconds to send; join the thread to wait for its answer.

        How it ends is counted, or among the problems, as "slow upload".
        """
        content = noise_png(megabytes)

        def send() -> None:
            try:
                connection = self._connect()
                self._post(connection, form(content, "slow.png"), seconds)
                self._read_post(connection, "slow upload", hashlib.sha256(content).hexdigest())
            except (OSError, http.client.HTTPException) as error:
                self._done("slow upload", repr(error))

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        return thread

    def lost(self) -> list[str]:
        """Fetch each upload that was acknowledged; return what is not there, or differs."""
        bad = []
        session = requests.Session()
        for path, digest in self.acknowledged.items():
            answer = session.get(self.url + path, timeout=30)
            if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != digest:
                bad.append(f"{path}: status {answer.status_code}")
        return bad

    def after(self, moment: float) -> list[str]:
        """Return what failed since a moment of time.monotonic()."""
        return [problem for when, problem in self.problems if when >= moment]

    def until_normal(self, since: float) -> float:
        """Return for how many seconds requests failed, counted from a moment of time.monotonic()."""
        return max((when - since for when, _ in self.problems if when >= since), default=0.0)


def mixed(css: str, picture: str) -> dict[str, tuple[str, float]]:
    """Return the paths of a mixed load of some 500 requests a second: pages, a static file, a picture."""
    return {
        "page": ("/", 40),
        "login": ("/login/", 40),
        "static": (css, 220),
        "media": (picture, 200),
    }
