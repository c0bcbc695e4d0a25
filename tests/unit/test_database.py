"""Kept connections are tested once a second, at once when the server has said something, and after errors."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.db import connection as ours
from django.db.backends.signals import connection_created

from hello_django import database


class Wrapper:
    """Django's side of a connection whose other end the test holds."""

    def __init__(self, end: socket.socket) -> None:
        self.connection = end
        self.errors_occurred = False
        self.tests = 0
        self.answer = True

    def is_usable(self) -> bool:
        self.tests += 1
        return self.answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(database.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    client, server = socket.socketpair()
    yield client, server
    client.close()
    server.close()


@pytest.fixture
def wrapper(ends: tuple[socket.socket, socket.socket], clock: SimpleNamespace) -> Wrapper:
    wrapper = Wrapper(ends[0])
    database.check_once_a_second(wrapper)
    return wrapper


def test_not_again_within_a_second(wrapper: Wrapper, clock: SimpleNamespace) -> None:
    for second, tests in ((100.5, 0), (101.5, 1), (102.4, 1), (102.6, 2), (200.0, 3), (200.9, 3)):
        clock.seconds = second
        assert wrapper.is_usable()
        assert wrapper.tests == tests


def test_at_once_when_the_server_has_gone(wrapper: Wrapper, ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    wrapper.answer = False
    assert not wrapper.is_usable()
    assert wrapper.tests == 1


def test_at_once_when_the_server_has_said_something(
    wrapper: Wrapper, ends: tuple[socket.socket, socket.socket]
) -> None:
    ends[1].send(b"terminating connection due to administrator command")
    assert wrapper.is_usable()
    assert wrapper.tests == 1


def test_at_once_after_an_error(wrapper: Wrapper) -> None:
    wrapper.errors_occurred = True
    wrapper.answer = False
    assert not wrapper.is_usable()


def test_a_test_that_failed_is_not_remembered_as_passed(wrapper: Wrapper, clock: SimpleNamespace) -> None:
    clock.seconds, wrapper.answer = 200.0, False
    assert not wrapper.is_usable()
    assert not wrapper.is_usable()
    assert wrapper.tests == 2


def test_a_connection_that_has_been_closed_or_is_no_socket(
    wrapper: Wrapper, ends: tuple[socket.socket, socket.socket]
) -> None:
    ends[0].close()
    assert wrapper.is_usable()
    wrapper.connection = object()
    assert wrapper.is_usable()
    assert wrapper.tests == 2


def test_connected_again_it_is_not_wrapped_twice(
    wrapper: Wrapper, ends: tuple[socket.socket, socket.socket], clock: SimpleNamespace
) -> None:
    for _ in range(3):
        database.check_once_a_second(wrapper)
    clock.seconds = 200.0
    assert wrapper.is_usable()
    assert wrapper.tests == 1


def test_django_calls_it() -> None:
    assert database.check_once_a_second in connection_created._live_receivers(ours)[0]
