"""Every environment variable that is read is documented where it is read, and the other way round."""

import ast
import re
from pathlib import Path

import pytest

from repository import ROOT, files

# What Compose sets by itself.
BUILT_IN = {"COMPOSE_PROJECT_NAME"}
# What Compose itself reads from an env file.
COMPOSE = {"COMPOSE_PROFILES"}
# What each stack runs: its Compose file, and which programs read the variables of its env file.
PRODUCTION = ["app/entrypoint.prod.sh", "nginx/10-environment.envsh", "nginx/30-certificate.sh"]
STACKS = {
    "dev": ("docker-compose.yml", ["app/entrypoint.sh"]),
    "prod": ("docker-compose.prod.yml", PRODUCTION),
    "uwsgi": ("docker-compose.uwsgi.yml", PRODUCTION),
}
# entrypoint.prod.sh reads for uWSGI what Gunicorn reads by itself. Nothing is in front of development.
NOT_HERE = {"prod": {"UWSGI_THREADS"}, "dev": {"TRUSTED_PROXIES"}}
# The entrypoint works it out from the CPU limit; the default in gunicorn.conf.py is for those who run without it.
WORKED_OUT = {"WEB_CONCURRENCY"}
READERS = {"text", "boolean", "integer", "choice", "words", "secret"}

Defaults = dict[str, set[str]]


def documented(stack: str) -> Defaults:
    """Return the variables of an env file with the defaults that its commented lines show."""
    found: Defaults = {}
    for line in (ROOT / f".env.{stack}").read_text().splitlines():
        if match := re.fullmatch(r"(#?)([A-Z][A-Z0-9_]*)=(.*)", line):
            assert match[2] not in found, f".env.{stack} has {match[2]} twice"
            found[match[2]] = {match[3]} if match[1] else set()
    return found


def add(found: Defaults, name: str, default: str | None) -> None:
    found.setdefault(name, set())
    if default is not None:
        found[name].add(default)


def read_by_python(*paths: Path) -> tuple[Defaults, set[str]]:
    """Return the variables that these files read with their constant defaults, and which of them are secrets."""
    found: Defaults = {}
    secrets = set()
    for path in paths:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)) and node.args):
                continue
            first, *others = node.args
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                continue
            called = ast.unparse(node.func)
            if called in ("os.environ.get", "os.getenv"):
                add(found, first.value, None)
            # setting() is certbot/keeper.py's.
            elif called == "setting" or (called.startswith("env.") and called.removeprefix("env.") in READERS):
                given = [*others[:1], *(word.value for word in node.keywords if word.arg == "default")]
                default: str | None = ""
                if given:
                    default = default_of(given[0])
                add(found, first.value, default)
                if called == "env.secret":
                    secrets.add(first.value)
    return found, secrets


def default_of(node: ast.expr) -> str | None:
    """Return a constant as an env file writes it, or None where the code works it out."""
    if not isinstance(node, ast.Constant):
        return None
    return str(int(node.value)) if isinstance(node.value, bool) else str(node.value)


def read_by_shell(path: Path | str, escape: str = "\0") -> Defaults:
    """Return the upper-case variables in ${NAME} or ${NAME:-default} that this file expands."""
    found: Defaults = {}
    lines = [line for line in (ROOT / path).read_text().splitlines() if not line.lstrip().startswith("#")]
    for match in re.finditer(r"(\$?)\$\{([A-Z][A-Z0-9_]*)(?::?-([^}]*))?\}", "\n".join(lines)):
        # $${...} in a Compose file is for the shell of a container.
        if not match[1] and not match[2].startswith("NGX_"):
            add(found, match[2], match[3] or None)
    return found


def read_by(stack: str) -> tuple[Defaults, set[str]]:
    """Return all that one stack reads, and the secrets among it."""
    python = [path for path in files("*.py") if path.parts[0] == "app" and "tests" not in path.parts]
    if stack != "dev":
        python.append(Path("certbot/keeper.py"))
    if stack != "prod":
        python.remove(Path("app/gunicorn.conf.py"))
    found, secrets = read_by_python(*python)
    compose, programs = STACKS[stack]
    for path in (compose, *programs):
        for name, defaults in read_by_shell(path).items():
            found.setdefault(name, set()).update(defaults)
    if stack == "uwsgi":
        for name in re.findall(r"\$\(([A-Z_]+)\)", (ROOT / "app/uwsgi.ini").read_text()):
            add(found, name, None)
        # entrypoint.prod.sh works it out from REQUEST_TIMEOUT.
        del found["HARAKIRI"]
    given = {f"{name}_FILE" for name in secrets} | {"DJANGO_SETTINGS_MODULE"} | BUILT_IN | NOT_HERE.get(stack, set())
    return {name: defaults for name, defaults in found.items() if name not in given}, secrets


def test_the_readers_are_found() -> None:
    """A change of style must not make the comparisons below compare nothing."""
    found, secrets = read_by("prod")
    assert secrets >= {"SECRET_KEY", "SQL_PASSWORD", "REDIS_PASSWORD"}
    assert found["MAX_UPLOAD_MB"] == {"25"}
    assert found["GUNICORN_THREADS"] == {"2"}
    assert found["UPLOAD_REQUIRES_LOGIN"] == {"0"}
    assert found["HTTP_PORT"] == {"1337"}
    assert found["UPLOAD_RATE"] == {"60/m"}
    assert {"WEB_CONCURRENCY", "UWSGI_THREADS"} <= set(read_by("uwsgi")[0])


@pytest.mark.parametrize("stack", STACKS)
def test_each_variable_that_is_read_is_documented(stack: str) -> None:
    missing = sorted(set(read_by(stack)[0]) - set(documented(stack)))
    assert not missing, f".env.{stack} does not document {missing}"


@pytest.mark.parametrize("stack", STACKS)
def test_each_variable_that_is_documented_is_read(stack: str) -> None:
    unread = sorted(set(documented(stack)) - set(read_by(stack)[0]) - COMPOSE)
    assert not unread, f"nothing in the {stack} stack reads {unread} of .env.{stack}"


@pytest.mark.parametrize("stack", STACKS)
def test_each_file_of_a_secret_is_documented(stack: str) -> None:
    text = (ROOT / f".env.{stack}").read_text()
    for name in read_by(stack)[1]:
        assert f"{name}_FILE" in text
        # Tracked, so without a value, and commented out, so that nobody is led to write one there.
        assert documented(stack)[name] == {""}


@pytest.mark.parametrize("stack", STACKS)
def test_a_commented_line_shows_the_default(stack: str) -> None:
    code = read_by(stack)[0]
    for name, shown in documented(stack).items():
        if shown and name not in WORKED_OUT and code.get(name, set()) - {""}:
            assert shown == code[name] - {""}, f"{name}: .env.{stack} shows {shown}, the code has {code[name]}"


def test_each_reader_has_the_same_default() -> None:
    for stack in STACKS:
        for name, defaults in read_by(stack)[0].items():
            assert len(defaults - {""}) <= 1, f"{name} of {stack} has several defaults: {defaults}"


@pytest.mark.parametrize(("stack", "database"), [("prod", "postgres"), ("uwsgi", "mysql")])
def test_each_variable_of_the_database_is_read(stack: str, database: str) -> None:
    """By the image, whose stand-in reads the same, or by what runs at its first start."""
    readers = [*ROOT.glob(f"compose/{database}/init/*"), ROOT / f"tests/images/{database}/docker-entrypoint.sh"]
    text = "".join(path.read_text() for path in readers)
    for name in documented(f"{stack}.db"):
        assert re.search(rf"\b{name}\b", text), f"nothing reads {name} of .env.{stack}.db"


def test_no_env_file_holds_a_secret() -> None:
    for path in files(".env.*"):
        for line in (ROOT / path).read_text().splitlines():
            assert not re.match(r"\w*(PASSWORD|SECRET|KEY|TOKEN)\w*=.", line), f"{path}: {line}"
