"""Settings from the environment: every wrong value is one line that names the variable, and no secret is printed."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from repository import ROOT, clean_environment, run

APP = ROOT / "app"
SETTINGS = (APP / "hello_django/settings.py").read_text()
KEY = "k3y-of-the-tests-" + "0123456789abcdefghijklmnopqrstuvwxyz"
PASSWORD = "pa55word-of-the-tests"
# What the production stacks set, but for the driver of the database, which the test bench has not got.
PRODUCTION = {"DEBUG": "0", "SECRET_KEY": KEY, "SQL_PASSWORD": PASSWORD, "DJANGO_ALLOWED_HOSTS": "example.com"}

Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Run `manage.py check` in a clean environment with these variables; arguments go to the command."""

    def run_check(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        quiet = {"PYTHONDONTWRITEBYTECODE": "1", "MEDIA_ROOT": str(tmp_path)}
        return run([sys.executable, "manage.py", "check", *arguments], env={**quiet, **variables}, cwd=APP)

    return run_check


def secret_file(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "secret"
    path.write_bytes(content)
    return str(path)


def test_no_environment_is_sqlite_and_debug(tmp_path: Path) -> None:
    shutil.copytree(APP, tmp_path / "app", ignore=shutil.ignore_patterns("db.sqlite3*", "mediafiles", "__pycache__"))
    command = [sys.executable, "manage.py", "migrate", "--noinput"]
    result = subprocess.run(command, env={}, cwd=tmp_path / "app", capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "app/db.sqlite3").read_bytes().startswith(b"SQLite format 3")


def test_production_passes_djangos_deployment_check(check: Check) -> None:
    result = check("--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert result.returncode == 0, result.stderr


def test_production_with_redis_passes_djangos_deployment_check(check: Check) -> None:
    redis = {"REDIS_URL": "redis://redis:6379/0", "REDIS_PASSWORD": PASSWORD}
    result = check("--deploy", "--fail-level", "WARNING", **PRODUCTION, **redis)
    assert result.returncode == 0, result.stderr


def test_deployment_check_is_not_deaf(check: Check) -> None:
    """The silenced checks are named one by one: any other still fails."""
    result = check("--deploy", "--fail-level", "WARNING", **{**PRODUCTION, "DEBUG": "1"})
    assert result.returncode == 1
    assert "security.W018" in result.stderr


def test_behind_a_proxy_the_check_says_what_needs_https(check: Check) -> None:
    """The proxy may have it, and then cookies that are not marked secure are a hole."""
    result = check("--deploy", **PRODUCTION, TRUSTED_PROXIES="10.0.0.0/8")
    assert all(f"security.{code}" in result.stderr for code in ("W004", "W008", "W012", "W016"))


WRONG = [
    # variables, what the line has to name
    ({"DEBUG": "maybe"}, ["DEBUG='maybe'", "true", "0"]),
    ({"DEBUG": "2"}, ["DEBUG='2'"]),
    ({"DEBUG": "0"}, ["SECRET_KEY is missing", "make secrets", "python3 -c"]),
    ({"DEBUG": "0", "SECRET_KEY": ""}, ["SECRET_KEY is missing", "make secrets", "python3 -c"]),
    ({"DEBUG": "0", "SECRET_KEY": "change-me"}, ["SECRET_KEY is too short or a placeholder"]),
    ({"DEBUG": "0", "SECRET_KEY": "x" * 60}, ["SECRET_KEY is too short or a placeholder"]),
    ({"DEBUG": "0", "SECRET_KEY": "django-insecure-" + KEY}, ["SECRET_KEY is too short or a placeholder"]),
    ({"SECRET_KEY": "foo"}, ["SECRET_KEY is too short or a placeholder"]),
    ({"SQL_ENGINE": "django.db.backends.oracle"}, ["SQL_ENGINE='django.db.backends.oracle'", "postgresql"]),
    ({"SQL_ENGINE": "postgres"}, ["SQL_ENGINE='postgres'", "django.db.backends.postgresql"]),
    *(
        ({"SQL_ENGINE": "django.db.backends.postgresql", "SQL_PORT": port}, [f"SQL_PORT={port!r}", "1 to 65535"])
        for port in ("0", "65536", "-1", "5432a", "5432.0", "٣", "9" * 5000)
    ),
    *(
        ({"MAX_UPLOAD_MB": limit}, [f"MAX_UPLOAD_MB={limit!r}", "1 to 1024"])
        for limit in ("0", "1025", "-5", "25M", "2.5", "ten")
    ),
    ({"UPLOAD_REQUIRES_LOGIN": "perhaps"}, ["UPLOAD_REQUIRES_LOGIN='perhaps'", "yes"]),
    ({"CSRF_TRUSTED_ORIGINS": "https://a.example b.example"}, ["CSRF_TRUSTED_ORIGINS", "'b.example'", "https://"]),
    ({"CSRF_TRUSTED_ORIGINS": "ftp://a.example"}, ["CSRF_TRUSTED_ORIGINS", "'ftp://a.example'"]),
    # Django compares whole origins: with a path or a comma they would silently never match.
    ({"CSRF_TRUSTED_ORIGINS": "https://a.example/"}, ["CSRF_TRUSTED_ORIGINS", "'https://a.example/'"]),
    ({"CSRF_TRUSTED_ORIGINS": "https://a.example,https://b.example"}, ["CSRF_TRUSTED_ORIGINS"]),
    ({"CSRF_TRUSTED_ORIGINS": "https://"}, ["CSRF_TRUSTED_ORIGINS"]),
    ({"DJANGO_ALLOWED_HOSTS": "a.example,b.example"}, ["DJANGO_ALLOWED_HOSTS", "'a.example,b.example'", "spaces"]),
    ({"DJANGO_ALLOWED_HOSTS": "https://a.example"}, ["DJANGO_ALLOWED_HOSTS", "'https://a.example'"]),
    (
        {"DJANGO_ALLOWED_HOSTS": "*.example.com"},
        ["DJANGO_ALLOWED_HOSTS", "'*.example.com'", "that name and all below"],
    ),
    ({"DJANGO_ALLOWED_HOSTS": "a.example:1337"}, ["DJANGO_ALLOWED_HOSTS", "'a.example:1337'"]),
    ({"REDIS_URL": "redis:6379"}, ["REDIS_URL", "redis://"]),
    ({"REDIS_URL": f"http://:{PASSWORD}@redis:6379/0"}, ["REDIS_URL", "redis://"]),
]


def load(**variables: str) -> subprocess.CompletedProcess[str]:
    """Read the settings in a clean environment with these variables: what each command and server does first."""
    return run([sys.executable, "-c", "import hello_django.settings"], env=variables, cwd=APP)


@pytest.mark.parametrize(
    ("variables", "named"),
    WRONG,
    ids=[" ".join(f"{name}={value:.30}" for name, value in wrong[0].items()) for wrong in WRONG],
)
def test_wrong_value_is_one_line(variables: dict[str, str], named: list[str]) -> None:
    refused(load(**variables), *named)


@pytest.mark.parametrize(
    "program",
    [
        ["manage.py", "check"],
        ["manage.py", "migrate"],
        ["manage.py", "runserver", "0"],
        ["-c", "import hello_django.wsgi"],
        ["-c", "import hello_django.asgi"],
    ],
    ids=" ".join,
)
def test_no_program_adds_a_stack_trace(program: list[str]) -> None:
    refused(run([sys.executable, *program], env={"DEBUG": "maybe"}, cwd=APP), "DEBUG='maybe'")


@pytest.mark.parametrize("name", ["SECRET_KEY", "SQL_PASSWORD", "REDIS_PASSWORD"])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "cannot be read"),
        ("folder", "cannot be read"),
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (PASSWORD.encode() + b"\xff\xfe\x00", "is not text"),
    ],
    ids=["missing", "folder", "empty", "blank", "binary"],
)
def test_unusable_secret_file_is_one_line(tmp_path: Path, name: str, content: bytes | str | None, named: str) -> None:
    path = str(tmp_path / "missing")
    if isinstance(content, bytes):
        path = secret_file(tmp_path, content)
    elif content == "folder":
        path = str(tmp_path)
    where = {
        "SECRET_KEY": {},
        "SQL_PASSWORD": {"SQL_ENGINE": "django.db.backends.mysql"},
        "REDIS_PASSWORD": {"REDIS_URL": "redis://redis"},
    }
    refused(load(**{f"{name}_FILE": path}, **where[name]), f"{name}_FILE={path!r}", named, "make secrets")


def test_secret_file_without_permission_is_one_line(tmp_path: Path) -> None:
    path = secret_file(tmp_path, KEY.encode())
    Path(path).chmod(0)
    # Root may read everything, so it becomes somebody else.
    probe = "import os; from hello_django import env; os.geteuid() or os.setuid(65534); env.secret('X')"
    refused(run([sys.executable, "-c", probe], env={"X_FILE": path}, cwd=APP), "X_FILE", "Permission denied")


def refused(result: subprocess.CompletedProcess[str], *named: str) -> None:
    """Assert that a start was refused with one line that says all of this, and nothing that is secret."""
    output = result.stdout + result.stderr
    assert result.returncode == 1, output
    assert len(output.strip().splitlines()) == 1, output
    for words in named:
        assert words in output
    assert KEY not in output
    assert PASSWORD not in output


def test_secret_file_wins_over_the_variable(tmp_path: Path) -> None:
    """Docker mounts the file; a variable that is left over from before must not count."""
    path = secret_file(tmp_path, f"{KEY}\n".encode())
    probe = "from django.conf import settings; print(settings.SECRET_KEY, settings.DEBUG)"
    variables = {"DJANGO_SETTINGS_MODULE": "hello_django.settings", "SECRET_KEY": "x", "SECRET_KEY_FILE": path}
    assert run([sys.executable, "-c", probe], env=variables, cwd=APP).stdout == f"{KEY} False\n"


@pytest.mark.parametrize(
    ("word", "expected"),
    [(word, True) for word in ("1", "true", "Yes", "ON", " 1 ")]
    + [(word, False) for word in ("0", "False", "no", "off")],
)
def test_booleans(word: str, expected: bool) -> None:
    """The tutorial reads DEBUG=0 as true."""
    probe = "from django.conf import settings; print(settings.DEBUG)"
    variables = {"DJANGO_SETTINGS_MODULE": "hello_django.settings", "SECRET_KEY": KEY, "DEBUG": word}
    assert run([sys.executable, "-c", probe], env=variables, cwd=APP).stdout == f"{expected}\n"


def test_empty_variables_count_as_unset(check: Check) -> None:
    names = set(re.findall(r'env\.\w+\(\s*"(\w+)"', SETTINGS))
    names |= {f"{name}_FILE" for name in re.findall(r'env\.secret\("(\w+)"', SETTINGS)}
    assert {"DEBUG", "SECRET_KEY_FILE", "MAX_UPLOAD_MB"} <= names
    result = check(**dict.fromkeys(names, ""))
    assert result.returncode == 0, result.stderr


def test_environment_of_the_tests_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", KEY)
    monkeypatch.setenv("HTTP_PORT", "1")
    assert not {"SECRET_KEY", "HTTP_PORT"} & set(clean_environment())
