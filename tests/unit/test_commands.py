"""The management commands that containers start with."""

import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.utils import InterfaceError, OperationalError

from hello_django.management.commands import init, wait_for_database


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[MagicMock]:
    """A database whose cursor() raises or answers as the test says."""
    fake = MagicMock()
    fake.settings_dict = {"USER": "app", "HOST": "db", "PORT": 5432, "NAME": "site", "PASSWORD": "pa55word"}
    monkeypatch.setattr(wait_for_database, "connection", fake)
    return fake


@pytest.mark.parametrize(
    "refusal",
    [
        'connection to server at "db", port 5432 failed: FATAL:  password authentication failed for user "app"',
        'connection to server at "db", port 5432 failed: FATAL:  database "site" does not exist',
        'connection to server at "db", port 5432 failed: FATAL:  role "app" does not exist',
        "connection failed: fe_sendauth: no password supplied",
        "(1045, \"Access denied for user 'app'@'172.18.0.5' (using password: YES)\")",
        "(1049, \"Unknown database 'site'\")",
    ],
)
def test_a_refusal_is_final(database: MagicMock, refusal: str) -> None:
    database.cursor.side_effect = OperationalError(f"{refusal}\nsecond line")
    began = time.monotonic()
    with pytest.raises(CommandError) as raised:
        call_command("wait_for_database", timeout=60)
    assert time.monotonic() - began < 2
    message = str(raised.value)
    assert message.startswith("The database refuses app@db:5432/site: ")
    assert "\n" not in message
    assert "pa55word" not in message


@pytest.mark.parametrize(
    "reason",
    [
        'connection to server at "db" (172.18.0.2), port 5432 failed: Connection refused',
        'could not translate host name "db" to address: Temporary failure in name resolution',
        'connection to server at "db", port 5432 failed: FATAL:  the database system is starting up',
        "(2002, \"Can't connect to server on 'db' (111)\")",
        "(2005, \"Unknown server host 'db' (-3)\")",
    ],
)
def test_it_waits_while_the_database_starts(database: MagicMock, reason: str) -> None:
    database.cursor.side_effect = [OperationalError(reason), InterfaceError(reason), MagicMock()]
    output = StringIO()
    call_command("wait_for_database", timeout=60, stdout=output)
    assert output.getvalue().splitlines() == [
        "Waiting for the database app@db:5432/site ...",
        "The database answers.",
    ]
    assert database.close.call_count == 2, "each try is a new connection"


def test_it_gives_up_in_the_end(database: MagicMock) -> None:
    database.cursor.side_effect = OperationalError("Connection refused")
    began = time.monotonic()
    with pytest.raises(CommandError, match=r"No database at app@db:5432/site after 0 s: Connection refused"):
        call_command("wait_for_database", timeout=0.4)
    assert time.monotonic() - began < 3


def test_it_is_silent_when_nothing_is_wrong(database: MagicMock) -> None:
    output = StringIO()
    call_command("wait_for_database", stdout=output)
    assert output.getvalue() == ""
    database.cursor().__enter__().execute.assert_called_once_with("SELECT 1")


@pytest.mark.parametrize("server", ["postgres", ""])
def test_init_does_each_thing_once_and_in_order(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    calls: list[Any] = []
    monkeypatch.setenv("DATABASE", server)
    monkeypatch.setattr(init, "call_command", lambda name, **options: calls.append((name, options.get("interactive"))))
    call_command("init")
    waits = [("wait_for_database", None)] if server else []
    assert calls == [*waits, ("migrate", False), ("collectstatic", False)]


def test_init_notices_urls_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No migration runs, and no visitor is the first to see it."""
    monkeypatch.setenv("DATABASE", "")
    monkeypatch.setattr(settings, "FILE_UPLOAD_TEMP_DIR", tmp_path / "incoming")
    monkeypatch.setattr(settings, "ROOT_URLCONF", "nothing_like_this")
    with pytest.raises(ModuleNotFoundError, match="nothing_like_this"):
        call_command("init")


def test_init_stops_where_the_database_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuse(name: str, **options: Any) -> None:
        calls.append(name)
        raise CommandError("The database refuses")

    monkeypatch.setenv("DATABASE", "postgres")
    monkeypatch.setattr(init, "call_command", refuse)
    with pytest.raises(CommandError):
        call_command("init")
    assert calls == ["wait_for_database"]
