"""The development stack, the tutorial's single container, the doctor, and everything side by side."""

import contextlib
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from bench import PREFIX, Stack, free_port, run, wait_for


@pytest.fixture
def urls(dev: Stack) -> Iterator[Path]:
    """The project's urls.py in the tree that is mounted; afterwards it is as it was."""
    path = dev.folder / "app/hello_django/urls.py"
    text = path.read_text()
    yield path
    write(path, text, lambda: dev.answers("/live/", 404), "the page without edits")


def write(path: Path, text: str, state: Callable[[], bool], what: str) -> None:
    """Write into a file of the code until it shows: runserver misses a change at the moment when it begins to look."""
    for _ in range(10):
        path.write_text(text)
        with contextlib.suppress(AssertionError):
            wait_for(state, 15)
            return
    raise AssertionError(f"not to be seen: {what}")


def test_picture_goes_up_and_comes_back(dev: Stack) -> None:
    page = dev.upload(b"", "nothing.png")
    assert page.status_code == 400
    name = f"{uuid.uuid4().hex}.png"
    page = dev.upload(name=name)
    assert page.status_code == 200
    assert f"/media/{name}" in page.text
    assert dev.get(f"/media/{name}").status_code == 200
    # In the folder of the clone, as its owner's file.
    path = dev.folder / "app/mediafiles" / name
    assert path.stat().st_uid == dev.folder.stat().st_uid


def test_admin_has_its_static_files(dev: Stack) -> None:
    page = dev.get("/admin/login/").text
    paths = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert paths
    assert {dev.get(path).status_code for path in paths} == {200}


def test_only_this_machine_reaches_it(dev: Stack) -> None:
    """DEBUG shows its settings to whoever asks."""
    ports = dev.container("web")["NetworkSettings"]["Ports"]
    assert {binding["HostIp"] for bindings in ports.values() for binding in bindings or []} == {"127.0.0.1"}
    assert not any(dev.container("db")["NetworkSettings"]["Ports"].values())


def test_an_edit_is_live_without_a_restart(dev: Stack, urls: Path) -> None:
    began = dev.container("web")["State"]["StartedAt"]
    assert dev.get("/live/").status_code == 404
    word = uuid.uuid4().hex
    page = f"urlpatterns += [path('live/', lambda _: HttpResponse('{word}'))]"
    edited = f"{urls.read_text()}\nfrom django.http import HttpResponse\n\n{page}\n"
    write(urls, edited, lambda: dev.answers("/live/") and dev.get("/live/").text == word, "the edited page")
    assert dev.container("web")["State"]["StartedAt"] == began


def test_a_broken_edit_is_shown_and_mended_without_a_restart(dev: Stack, urls: Path) -> None:
    began = dev.container("web")["State"]["StartedAt"]
    good = urls.read_text()
    write(urls, good + "\n(\n", lambda: "SyntaxError" in dev.logs("web"), "the error in the log")
    write(urls, good, lambda: dev.answers("/"), "the page is back")
    assert dev.container("web")["State"]["StartedAt"] == began


def test_data_outlives_restart_and_down(dev: Stack) -> None:
    """The tutorial flushes the database at every start."""
    name = f"{uuid.uuid4().hex}.png"
    dev.upload(name=name)
    dev.make("restart")
    wait_for(dev.answers, 60, "the stack is back")
    assert name in dev.get("/").text
    dev.make("down")
    assert not dev.inspect(every=True)
    assert dev.make("up").stdout.rstrip().endswith(f"dev is up: {dev.url}")
    assert name in dev.get("/").text
    assert dev.get(f"/media/{name}").status_code == 200


def test_up_twice_changes_nothing(dev: Stack) -> None:
    before = [(container["Id"], container["State"]["StartedAt"]) for container in dev.inspect()]
    assert len(before) == 2
    dev.make("up")
    assert [(container["Id"], container["State"]["StartedAt"]) for container in dev.inspect()] == before


def test_django_targets(dev: Stack) -> None:
    assert "No migrations to apply" in dev.make("migrate").stdout
    assert "No changes detected" in dev.make("makemigrations").stdout
    assert "upload_picture" in dev.make("tables").stdout
    assert "no issues" in dev.make("manage", "ARGS=check --database default").stdout
    assert f"{dev.project}_postgres_data" in dev.make("volumes").stdout
    assert "POSTGRES_DB: hello_django_dev" in dev.make("config").stdout
    # The database's own shell reads what it is given.
    command = ["docker", "compose", "--env-file", ".env.dev", "-f", "docker-compose.yml", "exec", "-T", "db", "psql"]
    arguments = ["--username=hello_django", "--dbname=hello_django_dev", "--command", "select 6*7"]
    assert "42" in run(*command, *arguments, cwd=dev.folder, env=dev.environment).stdout
    assert "psql --username=hello_django --dbname=hello_django_dev" in dev.make("dbshell", "--dry-run").stdout


def test_flush_asks(dev: Stack) -> None:
    name = f"{uuid.uuid4().hex}.png"
    dev.upload(name=name)
    refused = dev.make("flush", check=False)
    assert refused.returncode != 0
    assert "Nothing was done" in refused.stderr
    assert name in dev.get("/").text
    dev.make("flush", YES="1")
    assert name not in dev.get("/").text


def test_stacks_side_by_side_share_nothing(dev: Stack, prod: Stack, uwsgi: Stack) -> None:
    stacks = [dev, prod, uwsgi]
    names = {stack.kind: f"{stack.kind}-{uuid.uuid4().hex}.png" for stack in stacks}
    for stack in stacks:
        assert stack.upload(name=names[stack.kind]).status_code == 200
    for stack in stacks:
        page = stack.get("/").text
        assert [kind for kind, name in names.items() if name in page] == [stack.kind]
        served = {kind: stack.get(f"/media/{name}").status_code for kind, name in names.items()}
        assert {kind for kind, status in served.items() if status == 200} == {stack.kind}
    # No container, volume or network is in two projects.
    used = {}
    for stack in stacks:
        for container in stack.inspect():
            volumes = {mount["Name"] for mount in container["Mounts"] if mount["Type"] == "volume"}
            for thing in volumes | set(container["NetworkSettings"]["Networks"]):
                assert used.setdefault(thing, stack.kind) == stack.kind


# --- The tutorial's single container ---


@pytest.fixture
def standalone(tree: Path) -> Iterator[tuple[Stack, dict[str, str]]]:
    """A stack without compose file, for its address; and the variables that name it."""
    stack = Stack("dev", tree, f"{PREFIX}-standalone")
    name = f"{PREFIX}-standalone-{stack.port}"
    yield stack, {"STANDALONE_NAME": name, "STANDALONE_PORT": str(stack.port)}
    run("docker", "rm", "--force", "--volumes", name)
    run("docker", "image", "rm", "--force", name)


def test_standalone(standalone: tuple[Stack, dict[str, str]]) -> None:
    stack, variables = standalone
    name = variables["STANDALONE_NAME"]
    result = stack.make("standalone", **variables)
    assert result.stdout.rstrip().endswith(f"standalone is up: {stack.url}")
    assert stack.upload(name="alone.png").status_code == 200
    assert stack.get("/media/alone.png").status_code == 200
    # Again: a new container in its place.
    stack.make("standalone", **variables)
    assert stack.answers("/")
    stack.make("standalone-down", **variables)
    assert run("docker", "ps", "--all", "--quiet", "--filter", f"name=^{name}$").stdout == ""


def test_standalone_on_a_port_that_is_taken(standalone: tuple[Stack, dict[str, str]]) -> None:
    stack, variables = standalone
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stack.port))
        taken.listen()
        result = stack.make("standalone", check=False, **variables)
    assert result.returncode != 0
    assert str(stack.port) in result.stderr
    assert "STANDALONE_PORT" in result.stderr
    assert run("docker", "ps", "--all", "--quiet", "--filter", f"name=^{variables['STANDALONE_NAME']}$").stdout == ""


# --- Doctor, and no engine ---


def doctor(stack: Stack, port: int) -> tuple[int, str]:
    result = run("make", "doctor", check=False, cwd=stack.folder, env=stack.environment | {"HTTP_PORT": str(port)})
    return result.returncode, result.stdout


def test_doctor_finds_all_well(prod: Stack) -> None:
    code, report = doctor(prod, free_port())
    assert "WRONG" not in report
    assert code == 0
    for words in ("Docker Engine", "Compose", "Buildx", "of disk free", "postgres:17", "is free", "secrets of prod"):
        assert words in report
    # Its own stack on the port is no fault.
    code, report = doctor(prod, prod.port)
    assert code == 0
    assert f"in use by container {prod.project}-nginx-1" in report


def test_doctor_finds_a_port_that_is_taken(prod: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, report = doctor(prod, port)
    assert code != 0
    assert f"WRONG port {port} of prod is taken" in report
    assert "HTTP_PORT" in report


@pytest.mark.parametrize("target", ["up", "up-prod", "ps-uwsgi", "standalone", "migrate-prod"])
def test_without_an_engine_one_line_says_what_to_do(tree: Path, target: str) -> None:
    stack = Stack("prod", tree, f"{PREFIX}-none")
    result = stack.make(target, check=False, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, result.stderr
    assert "make install-docker" in lines[0]
    assert "make run" in lines[0]


def test_the_debug_page_needs_debug(dev: Stack, prod: Stack) -> None:
    """What the first stack is for, and what the second must never show."""
    path = "/nowhere-to-be-found/"
    assert "hello_django.urls" in requests.get(dev.url + path, timeout=30).text
    assert "hello_django" not in requests.get(prod.url + path, timeout=30).text
