"""The cache while Redis is away: misses at once, one line in the log, and back by itself. Against a real socket."""

import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.test.utils import override_settings

from hello_django import cache as patient


class FakeRedis(socketserver.ThreadingTCPServer):
    """As much of Redis as a cache needs; can be stopped and started again on the same port."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Conversation)
        self.port = self.server_address[1]
        self.stored: dict[bytes, bytes] = {}
        self.open: list[Any] = []
        self.connections = 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for request in self.open:
            self.shutdown_request(request)


class Conversation(socketserver.StreamRequestHandler):
    server: FakeRedis

    def handle(self) -> None:
        self.server.open.append(self.request)
        self.server.connections += 1
        try:
            while line := self.rfile.readline():
                words = [self.word() for _ in range(int(line[1:]))]
                self.wfile.write(self.answer(*words))
        except OSError:
            pass

    def word(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2]

    def answer(self, command: bytes, *words: bytes) -> bytes:
        match command.upper():
            case b"SET":
                self.server.stored[words[0]] = words[1]
                return b"+OK\r\n"
            case b"GET":
                value = self.server.stored.get(words[0])
                return b"_\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
            case b"HELLO":
                return b"%1\r\n+proto\r\n:3\r\n"
            case b"CLIENT" | b"SELECT":
                return b"+OK\r\n"
            case _:
                return b"-ERR unknown command\r\n"


@pytest.fixture
def redis() -> Iterator[FakeRedis]:
    server = FakeRedis()
    backend = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{server.port}/0",
        # As in settings.py.
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 1,
            "SOCKET_TIMEOUT": 1,
            "IGNORE_EXCEPTIONS": True,
            "CONNECTION_POOL_CLASS": "hello_django.cache.PatientConnectionPool",
        },
    }
    with override_settings(CACHES={"default": backend}):
        yield server
    server.stop()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_an_outage(redis: FakeRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level("INFO")
    cache = caches["default"]
    cache.set("name", "value")
    assert cache.get("name") == "value"
    assert lines(caplog) == []

    redis.stop()
    began = time.monotonic()
    for _ in range(200):
        assert cache.get("name", "default") == "default"
        assert not cache.set("name", "lost")
    assert time.monotonic() - began < 1, "each miss must be at once"
    assert len(lines(caplog)) == 1, lines(caplog)
    assert lines(caplog)[0].startswith("ERROR Redis is away, going on without a cache: ")

    caplog.clear()
    again = FakeRedis(redis.port)
    try:
        again.stored = redis.stored
        deadline = time.monotonic() + patient.PAUSE_SECONDS + 3
        while cache.get("name") != "value":
            assert time.monotonic() < deadline, "it has to come back by itself"
            time.sleep(0.02)
        assert [cache.get("name") for _ in range(20)] == ["value"] * 20
        assert lines(caplog) == ["INFO Redis is back"]
    finally:
        again.stop()


def test_while_it_pauses_nothing_is_tried(redis: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient, "PAUSE_SECONDS", 3600.0)
    cache = caches["default"]
    redis.stop()
    assert cache.get("name") is None
    again = FakeRedis(redis.port)
    try:
        assert cache.get("name") is None
        assert again.connections == 0
    finally:
        again.stop()


def test_each_outage_is_logged(redis: FakeRedis, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr(patient, "PAUSE_SECONDS", 0.0)
    caplog.set_level("INFO")
    cache = caches["default"]
    for _ in range(2):
        server = FakeRedis(redis.port) if redis.fileno() == -1 else redis
        cache.set("name", "value")
        assert cache.get("name") == "value"
        server.stop()
        assert cache.get("name") is None
        assert cache.get("name") is None
    away, back = "ERROR Redis is away", "INFO Redis is back"
    assert [line.split(",")[0] for line in lines(caplog)] == [away, back, away]
