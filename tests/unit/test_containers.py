"""What runs before the servers in their containers: entrypoints, Gunicorn's settings, nginx's environment."""

import json
import os
import re
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hello_django import env
from repository import ROOT, run

Result = subprocess.CompletedProcess[str]
Entrypoint = Callable[..., Result]


# --- app/entrypoint.prod.sh ---


@pytest.fixture
def entrypoint(tmp_path: Path) -> Entrypoint:
    """Run app/entrypoint.prod.sh where the kernel's files are in a folder of the test, on a machine of 3 CPUs."""
    kernel = "/sys/fs/cgroup"
    text = (ROOT / "app/entrypoint.prod.sh").read_text()
    assert kernel in text
    program = tmp_path / "entrypoint.sh"
    program.write_text(text.replace(kernel, str(tmp_path / "cgroup")))
    program.chmod(0o755)
    nproc = tmp_path / "bin/nproc"
    nproc.parent.mkdir()
    nproc.write_text("#!/bin/sh\necho 3\n")
    nproc.chmod(0o755)

    def start(files: dict[str, str] | None = None, *command: str, **variables: str) -> Result:
        for name, content in (files or {}).items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        path = f"{nproc.parent}:/usr/bin:/bin"
        return run([program, *(command or ("env",))], env={"PATH": path, **variables})

    return start


def variables_of(result: Result) -> dict[str, str]:
    assert (result.returncode, result.stderr) == (0, "")
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


V1 = "cpu/cpu.cfs_quota_us"
PERIOD = "cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "workers"),
    [
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "300000 100000\n"}, 3),
        # At least two, so that one can be replaced while the other answers; at most four, for the memory's sake.
        ({"cpu.max": "50000 100000\n"}, 2),
        ({"cpu.max": "1600000 100000\n"}, 4),
        # No limit: what the machine has.
        ({"cpu.max": "max 100000\n"}, 3),
        ({V1: "400000\n", PERIOD: "100000\n"}, 4),
        ({V1: "-1\n", PERIOD: "100000\n"}, 3),
        ({}, 3),
    ],
)
def test_workers_come_from_the_cpu_limit(entrypoint: Entrypoint, files: dict[str, str], workers: int) -> None:
    assert variables_of(entrypoint(files))["WEB_CONCURRENCY"] == str(workers)


def test_workers_can_be_set(entrypoint: Entrypoint) -> None:
    limit = {"cpu.max": "400000 100000\n"}
    assert variables_of(entrypoint(limit, WEB_CONCURRENCY="9"))["WEB_CONCURRENCY"] == "9"
    # `WEB_CONCURRENCY=` in the env file is unset.
    assert variables_of(entrypoint(limit, WEB_CONCURRENCY=""))["WEB_CONCURRENCY"] == "4"


def test_uwsgi_gives_up_after_nginx(entrypoint: Entrypoint) -> None:
    assert variables_of(entrypoint())["HARAKIRI"] == "65"
    assert variables_of(entrypoint(REQUEST_TIMEOUT=""))["HARAKIRI"] == "65"
    assert variables_of(entrypoint(REQUEST_TIMEOUT="20"))["HARAKIRI"] == "25"
    assert variables_of(entrypoint(UWSGI_THREADS=""))["UWSGI_THREADS"] == "2"
    assert variables_of(entrypoint(UWSGI_THREADS="8"))["UWSGI_THREADS"] == "8"


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "UWSGI_THREADS", "REQUEST_TIMEOUT"])
@pytest.mark.parametrize("value", ["many", "1m", "-1", "0", "1.5", "08", "4 4", "99999999999999999999"])
def test_a_wrong_number_is_one_line(entrypoint: Entrypoint, name: str, value: str) -> None:
    refused(entrypoint({}, **{name: value}), f"{name}='{value}'")


def refused(result: Result, *named: str) -> None:
    """Assert that a start was refused with one line that says all of this."""
    assert result.returncode != 0
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for words in named:
        assert words in result.stderr


def test_the_command_is_run_as_it_is(entrypoint: Entrypoint) -> None:
    assert entrypoint({}, "printf", "%s|", "a b", "*", "").stdout == "a b|*||"
    assert entrypoint({}, "sh", "-c", "exit 7").returncode == 7


@pytest.mark.parametrize("name", ["entrypoint.sh", "entrypoint.prod.sh"])
def test_the_server_is_process_1(tmp_path: Path, name: str) -> None:
    """It takes the entrypoint's place, so that it gets the signals: the process stays the same."""
    (tmp_path / "python").symlink_to("/bin/true")
    start = f"echo $$; exec app/{name} sh -c 'echo $$'"
    before, after = run(["sh", "-c", start], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).stdout.split()
    assert before == after


# --- app/entrypoint.sh ---


@pytest.mark.parametrize("server", ["postgres", ""])
def test_development_waits_and_migrates_but_never_flushes(tmp_path: Path, server: str) -> None:
    """The tutorial flushes the database at every start."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "python $*"\n')
    python.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    result = run(["app/entrypoint.sh", "echo", "started"], env={"PATH": path, "DATABASE": server})
    waits = ["python manage.py wait_for_database"] if server else []
    assert result.stdout.splitlines() == [*waits, "python manage.py migrate --noinput", "started"]


def test_development_does_not_start_with_half_a_database(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    result = run(["app/entrypoint.sh", "echo", "started"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (result.returncode, result.stdout) == (3, "")


# --- app/gunicorn.conf.py ---


def gunicorn(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    for name in ("WEB_CONCURRENCY", "GUNICORN_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(ROOT / "app/gunicorn.conf.py"))


def test_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = gunicorn(monkeypatch)
    assert (settings["workers"], settings["threads"]) == (2, 2)
    assert settings["worker_class"] == "gthread"
    assert settings["worker_tmp_dir"] == "/dev/shm"
    assert settings["control_socket_disable"] is True
    assert settings["accesslog"] is None
    assert 0 < settings["max_requests_jitter"] < settings["max_requests"]
    settings = gunicorn(monkeypatch, WEB_CONCURRENCY="3", GUNICORN_THREADS="8")
    assert (settings["workers"], settings["threads"]) == (3, 8)


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "GUNICORN_THREADS"])
@pytest.mark.parametrize("value", ["0", "65", "two", "-1", "2.5"])
def test_a_wrong_number_for_gunicorn_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SystemExit) as raised:
        gunicorn(monkeypatch, **{name: value})
    assert str(raised.value.code) == f"settings: {name}={value!r} is not a whole number from 1 to 64"


@pytest.mark.parametrize(
    ("cores", "count", "expected"),
    [({0, 1}, 2, [0, 1, 0]), ({4, 2, 7}, 3, [2, 4, 7, 2]), ({0, 1, 2}, 2, []), ({0}, 2, [])],
)
def test_each_worker_keeps_to_a_core_where_there_are_as_many(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], count: int, expected: list[int]
) -> None:
    settings = gunicorn(monkeypatch, WEB_CONCURRENCY=str(count))
    server, kept = SimpleNamespace(WORKERS={}), []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores)
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, to: kept.extend(to))

    def start(number: int) -> None:
        worker = SimpleNamespace()
        settings["pre_fork"](server, worker)
        settings["post_fork"](server, worker)
        server.WORKERS[number] = worker

    for number in range(count):
        start(number)
    # Another takes the place of the first.
    del server.WORKERS[0]
    start(count)
    assert kept == expected


# --- nginx/10-environment.envsh ---


def nginx(tmp_path: Path, **variables: str) -> Result:
    """Source nginx/10-environment.envsh as the image's entrypoint does, and print what it exports."""
    text = (ROOT / "nginx/10-environment.envsh").read_text()
    program = tmp_path / "environment.envsh"
    program.write_text(text.replace("/tmp/nginx", str(tmp_path / "nginx")))
    probe = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('NGX_')}))"
    return run(["sh", "-ec", f'. "{program}"; exec python3 -c "{probe}"'], env=variables)


def exported(result: Result) -> dict[str, str]:
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_nginx_needs_no_environment(tmp_path: Path) -> None:
    defaults = exported(nginx(tmp_path))
    assert defaults["NGX_MAX_UPLOAD_MB"] == "25"
    assert int(defaults["NGX_MAX_BODY_MB"]) > 25, "a form is a little larger than the file in it"
    assert defaults["NGX_UPLOAD_KEY"] == "$binary_remote_addr"
    assert defaults["NGX_REQUEST_TIMEOUT"] == "60"
    assert (defaults["NGX_TRUSTED"], defaults["NGX_REAL_IP"]) == ("", "")
    read = set(re.findall(r"\$\{?([A-Z_]{4,})\b", (ROOT / "nginx/10-environment.envsh").read_text()))
    names = {name for name in read if not name.startswith("NGX_")}
    assert exported(nginx(tmp_path, **dict.fromkeys(names, ""))) == defaults, "empty counts as unset"


def test_every_placeholder_of_nginx_is_exported(tmp_path: Path) -> None:
    """What is not would stay in the configuration as it is, and nginx would take it for a variable of its own."""
    templates = [*ROOT.glob("nginx/*.conf"), *ROOT.glob("compose/nginx/*.conf")]
    used = {name for path in templates for name in re.findall(r"\$\{(NGX_\w+)\}", path.read_text())}
    assert used == set(exported(nginx(tmp_path)))


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (3, 3), (4, 4), (16, 4)])
def test_more_cores_bring_no_more_connections(tmp_path: Path, cores: int, workers: int) -> None:
    nproc = tmp_path / "nproc"
    nproc.write_text(f"#!/bin/sh\necho {cores}\n")
    nproc.chmod(0o755)
    found = exported(nginx(tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}"))
    assert int(found["NGX_WORKERS"]) == workers
    assert 8190 <= workers * int(found["NGX_CONNECTIONS"]) <= 8192


@pytest.mark.parametrize(
    ("rate", "limit", "wait"),
    [
        ("60/m", "60r/m", "2"),
        ("30/m", "30r/m", "3"),
        ("7/m", "7r/m", "9"),
        ("5/s", "5r/s", "1"),
        ("1000/s", "1000r/s", "1"),
    ],
)
def test_rates(tmp_path: Path, rate: str, limit: str, wait: str) -> None:
    found = exported(nginx(tmp_path, UPLOAD_RATE=rate, LOGIN_RATE="off"))
    assert (found["NGX_UPLOAD_RATE"], found["NGX_UPLOAD_WAIT"]) == (limit, wait)
    assert found["NGX_UPLOAD_KEY"] == "$binary_remote_addr"
    assert found["NGX_LOGIN_KEY"] == '""', "an empty key is not counted"


def test_trusted_proxies(tmp_path: Path) -> None:
    found = exported(nginx(tmp_path, TRUSTED_PROXIES=" 10.0.0.0/8  fd00::/8 "))
    assert found["NGX_REAL_IP"].split(";") == [" set_real_ip_from 10.0.0.0/8", " set_real_ip_from fd00::/8", ""]
    assert found["NGX_TRUSTED"].split() == ["10.0.0.0/8", "1;", "fd00::/8", "1;"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("MAX_UPLOAD_MB", ["0", "1025", "10000", "25m", "-1", "2.5", "ten", "25;", "$(id)"]),
        ("UPLOAD_RATE", ["60", "60/h", "60r/m", "/m", "0/m", "-1/s", "1/s/s", "3m/m", "s/s", "5/m; deny all", "1.5/s"]),
        ("LOGIN_RATE", ["sometimes", "m/s"]),
        ("UPLOAD_BURST", ["0", "many", "-1", "1.5", "5 nodelay"]),
        ("LOGIN_BURST", ["x"]),
        ("REQUEST_TIMEOUT", ["0", "1m", "-5", "soon", "99999999999"]),
        ("TRUSTED_PROXIES", ["all", "10.0.0.0/8,10.1.0.0/16", "10.0.0.0/8 proxy.example", "1.2.3.4; deny all"]),
    ],
)
def test_a_wrong_value_for_nginx_is_one_line(tmp_path: Path, name: str, values: list[str]) -> None:
    for value in values:
        result = nginx(tmp_path, **{name: value})
        assert result.returncode != 0, f"{name}={value!r} was accepted: {result.stdout}"
        refused(result, name)


@pytest.mark.parametrize("value", ["1", "25", "1024"])
def test_nginx_and_django_accept_the_same_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """One number for both: where one stops and the other does not, the site half works."""
    monkeypatch.setenv("MAX_UPLOAD_MB", value)
    assert exported(nginx(tmp_path, MAX_UPLOAD_MB=value))["NGX_MAX_UPLOAD_MB"] == value
    assert str(env.integer("MAX_UPLOAD_MB", 25, least=1, most=1024)) == value
