"""/healthz, /readyz, request ids and security headers, through Django's whole chain of middleware."""

import io
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connections
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import override_settings

from hello_django import health, middleware


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins as a fresh process: nothing reported, nothing running, and no database needed."""
    monkeypatch.setattr(health, "_reported", set())
    monkeypatch.setattr(health, "_running", {})
    monkeypatch.setattr(health, "_pool", None)
    monkeypatch.setattr(health, "CHECKS", {"database": lambda: None, "cache": lambda: None})
    yield
    if health._pool:
        health._pool.shutdown()


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What the process prints as its log."""
    stream = io.StringIO()
    handlers = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    assert len(handlers) == 1, "the console handler of settings.LOGGING"
    before = handlers[0].setStream(stream)
    yield stream
    handlers[0].setStream(before)


def down() -> None:
    raise OSError("secret-host.internal refused user postgres")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["localhost", "10.1.2.3:8000", "unknown.example", "bad_host name"])
def test_any_host_is_answered(output: io.StringIO, path: str, host: str) -> None:
    response = Client().get(path, headers={"host": host})
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert response["Cache-Control"] == "no-store"
    assert output.getvalue() == ""


@pytest.mark.parametrize("secure", [False, True])
def test_health_is_never_redirected(secure: bool) -> None:
    with override_settings(SECURE_SSL_REDIRECT=True):
        assert Client().get("/healthz", secure=secure).status_code == 200


def test_other_paths_need_an_allowed_host(output: io.StringIO) -> None:
    with override_settings(ALLOWED_HOSTS=["example.com"]):
        response = Client(raise_request_exception=False).get("/healthz/", headers={"host": "unknown.example"})
    assert response.status_code == 400
    assert "unknown.example" in output.getvalue()


def test_what_is_missing_is_named_without_detail(monkeypatch: pytest.MonkeyPatch, output: io.StringIO) -> None:
    monkeypatch.setitem(health.CHECKS, "database", down)
    response = Client().get("/readyz")
    assert (response.status_code, response.content) == (503, b"missing: database\n")
    # The process itself is well, so nobody restarts it for the database's sake.
    assert Client().get("/healthz").status_code == 200
    monkeypatch.setitem(health.CHECKS, "cache", down)
    assert Client().get("/readyz").content == b"missing: database, cache\n"
    assert "secret-host" not in output.getvalue()


def test_each_change_is_logged_once(monkeypatch: pytest.MonkeyPatch, output: io.StringIO) -> None:
    def lines() -> list[str]:
        found = [line.split("] ", 1)[1] for line in output.getvalue().splitlines()]
        output.truncate(output.seek(0))
        return found

    client = Client()
    client.get("/readyz")
    assert lines() == []
    monkeypatch.setitem(health.CHECKS, "cache", down)
    for _ in range(5):
        assert client.get("/readyz").status_code == 503
    assert lines() == ["not ready: cache: OSError"]
    monkeypatch.setitem(health.CHECKS, "cache", lambda: None)
    for _ in range(5):
        assert client.get("/readyz").status_code == 200
    assert lines() == ["ready again: cache"]


def test_a_check_that_hangs_is_missing_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    started: list[None] = []

    def hang() -> None:
        started.append(None)
        released.wait(30)

    monkeypatch.setitem(health.CHECKS, "database", hang)
    try:
        for _ in range(2):
            began = time.monotonic()
            response = Client().get("/readyz")
            assert time.monotonic() - began < 2.5
            assert (response.status_code, response.content) == (503, b"missing: database\n")
        assert len(started) == 1, "a hanging check must not stack up another thread behind it"
    finally:
        released.set()
    health._running["database"].result(timeout=10)
    assert Client().get("/readyz").status_code == 200


@pytest.mark.django_db
def test_the_database_check_asks_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    health.check_database()
    monkeypatch.setitem(connections["default"].settings_dict, "NAME", "/nonexistent/db.sqlite3")
    with pytest.raises(Exception, match="unable to open database file"):
        health.check_database()


def test_local_memory_is_always_there() -> None:
    with override_settings(REDIS_URL=""):
        health.check_cache()


def test_the_cache_check_asks_redis() -> None:
    # Port 1 refuses; IGNORE_EXCEPTIONS must not hide that here.
    redis = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
        "OPTIONS": {"IGNORE_EXCEPTIONS": True},
    }
    settings = override_settings(REDIS_URL="redis://127.0.0.1:1/0", CACHES={"default": redis})
    with settings, pytest.raises(Exception, match="refused"):
        health.check_cache()


Serve = Callable[..., HttpResponse]


@pytest.fixture
def seen() -> list[str]:
    """The request ids that were current while requests were served."""
    return []


@pytest.fixture
def serve(seen: list[str]) -> Serve:
    """Pass a request through RequestIDMiddleware."""

    def view(request: HttpRequest) -> HttpResponse:
        record = logging.makeLogRecord({})
        assert middleware.RequestIDFilter().filter(record) is True
        seen.append(record.request_id)
        return HttpResponse()

    chain = middleware.RequestIDMiddleware(view)
    return lambda **headers: chain(RequestFactory().get("/", headers=headers))


def test_request_id_of_nginx_is_taken_over(serve: Serve, seen: list[str]) -> None:
    serve(x_request_id="0123456789abcdef" * 2)
    assert seen == ["0123456789abcdef" * 2]


@pytest.mark.parametrize(
    "forged",
    ["", "short", "0123456789ABCDEF" * 2, "0" * 33, "0" * 32 + "\n", "x] ERROR root [" + "0" * 17],
)
def test_request_id_is_made_where_none_is_trustworthy(serve: Serve, seen: list[str], forged: str) -> None:
    serve(x_request_id=forged)
    serve(x_request_id=forged)
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in seen)
    assert len({*seen, forged}) == 3, "each request has an id of its own"


def test_request_id_is_in_the_log_line(output: io.StringIO) -> None:
    with override_settings(ALLOWED_HOSTS=["example.com"]):
        given = "f" * 32
        Client(raise_request_exception=False).get("/", headers={"host": "unknown.example", "x-request-id": given})
    assert f"[{given}]" in output.getvalue()


def test_lines_outside_of_requests_have_a_dash(output: io.StringIO) -> None:
    thread = threading.Thread(target=logging.getLogger("anything").warning, args=["message"])
    thread.start()
    thread.join()
    assert "[-] message" in output.getvalue()


def test_content_security_policy() -> None:
    def respond(status: int, **headers: str) -> HttpResponse:
        chain = middleware.ContentSecurityPolicyMiddleware(lambda _: HttpResponse(status=status, headers=headers))
        return chain(RequestFactory().get("/"))

    header = "Content-Security-Policy"
    for debug in (True, False):
        with override_settings(DEBUG=debug):
            policy = respond(200)[header]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            # A view that has a policy of its own keeps it.
            assert respond(200, **{header: "sandbox"})[header] == "sandbox"
            # Django's own debug pages, and nothing else, have inline scripts.
            assert respond(500).has_header(header) is not debug
            assert respond(404).has_header(header) is not debug
            assert respond(403).has_header(header)


@pytest.mark.parametrize(("debug", "lives", "status"), [(False, False, 503), (False, True, None), (True, False, None)])
def test_what_the_database_raises(
    monkeypatch: pytest.MonkeyPatch, output: io.StringIO, debug: bool, lives: bool, status: int | None
) -> None:
    """A database that is away is a 503; a deadlock on a connection that lives keeps its traceback."""
    connection = SimpleNamespace(connection=object(), is_usable=lambda: lives)
    monkeypatch.setattr(middleware, "connections", {"default": connection})
    chain = middleware.UnavailableMiddleware(lambda request: HttpResponse())
    with override_settings(DEBUG=debug):
        answer = chain.process_exception(RequestFactory().get("/"), OperationalError("server closed\nthe connection"))
    assert (answer and answer.status_code) == status
    assert ("the database is away: OperationalError: server closed the connection" in output.getvalue()) == bool(status)
