"""The programs in bin/ that need no Docker, each in a copy of the repository."""

import contextlib
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repository import ROOT, clean_environment, files, run

Result = subprocess.CompletedProcess[str]


def copy_of_repository(folder: Path) -> Path:
    """A fresh clone with what is not committed yet."""
    for path in files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return copy_of_repository(tmp_path / "clone")


def one_line(result: Result, *named: str) -> None:
    """Assert that a program refused with one line that says all of this."""
    assert result.returncode not in (0, 127), result.stdout
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for words in named:
        assert words in result.stderr


# --- bin/secrets ---


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets(clone: Path) -> None:
    result = run(["bin/secrets", "dev", "prod", "uwsgi"], cwd=clone)
    assert (result.returncode, result.stderr) == (0, "")
    made = {path: path.read_text() for path in (clone / "secrets").rglob("*") if path.is_file()}
    assert {str(path.relative_to(clone / "secrets")) for path in made} == {
        "dev/db_password",
        *(
            f"{stack}/{name}"
            for stack in ("prod", "uwsgi")
            for name in ("secret_key", "db_password", "db_root_password")
        ),
        "uwsgi/redis_password",
    }
    assert len(set(made.values())) == len(made), "no two are the same"
    for path, secret in made.items():
        assert re.fullmatch("[A-Za-z0-9]{64}" if path.name == "secret_key" else "[A-Za-z0-9]{40}", secret)
        # Containers read them with users of their own; the folder keeps the users of this machine out.
        assert mode(path) == 0o444
        assert secret not in result.stdout
    assert mode(clone / "secrets") == 0o700

    again = run(["bin/secrets", "dev", "prod", "uwsgi"], cwd=clone)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert {path: path.read_text() for path in made} == made


def test_secrets_of_two_clones_differ(tmp_path: Path) -> None:
    keys = set()
    for name in ("one", "two"):
        clone = copy_of_repository(tmp_path / name)
        run(["bin/secrets", "prod"], cwd=clone)
        keys.add((clone / "secrets/prod/secret_key").read_text())
    assert len(keys) == 2


def test_secrets_keep_what_somebody_wrote(clone: Path) -> None:
    (clone / "secrets/prod").mkdir(parents=True, mode=0o755)
    (clone / "secrets").chmod(0o755)
    (clone / "secrets/prod/db_password").write_text("mine")
    (clone / "secrets/prod/secret_key").write_text("")
    (clone / "secrets/prod/db_root_password").mkdir()
    assert run(["bin/secrets", "prod"], cwd=clone).returncode == 0
    assert (clone / "secrets/prod/db_password").read_text() == "mine"
    assert len((clone / "secrets/prod/secret_key").read_text()) == 64, "an empty file is no key"
    assert len((clone / "secrets/prod/db_root_password").read_text()) == 40, "Compose makes a folder of a missing file"
    assert mode(clone / "secrets") == 0o700


def test_secrets_work_from_any_folder_and_under_any_umask(clone: Path) -> None:
    result = run(["sh", "-c", 'umask 0277; exec "$0" dev', clone / "bin/secrets"], cwd=Path("/"))
    assert result.returncode == 0, result.stderr
    assert mode(clone / "secrets/dev/db_password") == 0o444


def test_what_is_mounted_can_be_read_in_a_clone_under_umask_077(clone: Path) -> None:
    run(["chmod", "-R", "go=", "."], cwd=clone)
    run(["bin/secrets", "uwsgi"], cwd=clone)
    assert mode(clone / "compose/redis") & 0o055 == 0o055
    assert mode(clone / "compose/redis/start.sh") & 0o044 == 0o044
    assert mode(clone / "compose/nginx/ssl") & 0o077 == 0


def test_secrets_of_an_unknown_stack(clone: Path) -> None:
    one_line(run(["bin/secrets", "staging"], cwd=clone), "'staging'", "dev, prod or uwsgi")


def test_secrets_do_not_delete_a_folder_with_something_in_it(clone: Path) -> None:
    (clone / "secrets/dev/db_password").mkdir(parents=True)
    (clone / "secrets/dev/db_password/note").write_text("mine")
    one_line(run(["bin/secrets", "dev"], cwd=clone), "secrets/dev/db_password is a folder")
    assert (clone / "secrets/dev/db_password/note").exists()


# --- bin/certs ---


def test_certs_leave_a_certificate_of_your_own_alone(clone: Path) -> None:
    for stack in ("prod", "uwsgi"):
        (clone / f".env.{stack}").write_text("TLS=files\n")
        own = clone / f"secrets/tls/{stack}/fullchain.pem"
        own.parent.mkdir(parents=True)
        own.write_text("bought")
    result = run(["bin/certs"], cwd=clone)
    assert (result.returncode, result.stderr) == (0, "")
    for stack in ("prod", "uwsgi"):
        assert f"secrets/tls/{stack} stays as it is: .env.{stack} has TLS=files" in result.stdout
        assert (clone / f"secrets/tls/{stack}/fullchain.pem").read_text() == "bought"


# --- bin/ask ---


def ask(answer: str, **variables: str) -> tuple[int, str]:
    """Run bin/ask at a terminal where somebody types this; return exit code and what is on the screen."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(  # noqa: S606  # pty.fork() leaves no other way
            ROOT / "bin/ask", ["ask", "This deletes it."], {**clean_environment(), **variables}
        )
    screen = b""
    # Reading from a terminal whose other side has gone is an error.
    with contextlib.suppress(OSError):
        os.write(terminal, answer.encode())
        while data := os.read(terminal, 1000):
            screen += data
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen.decode()


def test_ask_takes_yes_alone() -> None:
    code, screen = ask("yes\n")
    assert code == 0
    assert "This deletes it." in screen
    for answer in ("no\n", "y\n", "YES\n", "\n", "yes please\n", "\x04"):
        code, screen = ask(answer)
        assert code == 1, repr(answer)


def test_ask_where_nobody_is() -> None:
    one_line(run(["bin/ask", "This deletes it."]), "This deletes it.", "Nothing was done", "YES=1")
    one_line(run(["bin/ask", "This deletes it."], env={"YES": "0"}), "YES=1")
    result = run(["bin/ask", "This deletes it."], env={"YES": "1"})
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


# --- bin/venv: another Python on PATH ---


@pytest.fixture
def fake_python(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Put a python3 on PATH that says it is this version, with these modules; return that environment."""

    def make(version: str, modules: str) -> dict[str, str]:
        folder = tmp_path / "fake"
        folder.mkdir()
        program = folder / "python3"
        major, minor = version.split(".")
        program.write_text(f"""#!/bin/sh
        case $2 in
            *print*) echo {version} ;;
            *exit*) [ {int(major) * 100 + int(minor)} -ge 311 ] ;;
            import*) [ "{modules}" = complete ] || {{ echo "No module named ensurepip" >&2; exit 1; }} ;;
            *) echo "unexpected: $*" >&2; exit 99 ;;
        esac
        """)
        program.chmod(0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin"}

    return make


@pytest.mark.parametrize("version", ["3.9", "3.10", "2.7"])
def test_too_old_a_python(clone: Path, fake_python: Callable[..., dict[str, str]], version: str) -> None:
    one_line(run(["bin/run"], cwd=clone, env=fake_python(version, "complete")), version, "3.11", "PYTHON=")
    assert not (clone / ".venv").exists()


def test_a_python_without_venv(clone: Path, fake_python: Callable[..., dict[str, str]]) -> None:
    one_line(run(["bin/run"], cwd=clone, env=fake_python("3.12", "bare")), "venv", "apt-get install python3.12-venv")
    assert not (clone / ".venv").exists()


def test_no_python(clone: Path) -> None:
    one_line(run(["bin/run"], cwd=clone, env={"PYTHON": "python3.99"}), "'python3.99' was not found", "3.11 or newer")


def test_an_installation_that_failed_is_not_used(clone: Path, tmp_path: Path) -> None:
    """Without the stamp the next run begins anew instead of failing in a puzzling way."""
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh
    case "$*" in
        "-m venv"*)
            mkdir -p "$4/bin"
            printf '#!/bin/sh\\necho "no network" >&2; exit 1\\n' > "$4/bin/pip"
            chmod +x "$4/bin/pip"
            ;;
        *print*) echo 3.13 ;;
    esac
    """)
    python.chmod(0o755)
    for _ in range(2):
        result = run(["bin/venv", ".venv-x", "app/requirements/base.txt"], cwd=clone, env={"PYTHON": str(python)})
        assert result.returncode == 1
        assert result.stdout.startswith("Installing app/requirements/base.txt")
        assert result.stderr == "no network\n"
        assert not (clone / ".venv-x/.stamp").exists()


# --- make run ---


class Server:
    """`make run` in a copy of the repository."""

    def __init__(self, clone: Path, port: int) -> None:
        self.clone, self.port = clone, port
        self.began = time.monotonic()
        self.log = clone.parent / f"{port}.log"
        self.process = subprocess.Popen(
            ["make", "run", f"PORT={port}", f"PYTHON={sys.executable}"],
            cwd=clone,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            # A group of its own, for a Ctrl-C that does not reach the tests.
            start_new_session=True,
        )

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def wait(self, seconds: float) -> "Server":
        deadline = time.monotonic() + seconds
        while self.address not in self.output().splitlines():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)
        self.seconds = time.monotonic() - self.began
        return self

    def output(self) -> str:
        return self.log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.address + path, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(15)

    def group(self) -> list[str]:
        listed = run(["ps", "-eo", "pgid=,stat=,args="]).stdout.splitlines()
        return [line for line in listed if line.split()[0] == str(self.process.pid) and " Z" not in line]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(15)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which `make run` has been run once; what comes first is the first start."""
    return copy_of_repository(tmp_path_factory.mktemp("run") / "clone")


@pytest.fixture
def serve(site: Path) -> Iterator[Callable[..., Server]]:
    servers = []

    def start(port: int | None = None) -> Server:
        servers.append(Server(site, port or free_port()))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_run_in_a_fresh_clone(serve: Callable[..., Server], site: Path) -> None:
    before = {path.name for path in site.iterdir()}
    assert ".venv" not in before
    server = serve().wait(180)
    # Django's own lines about migrations and its start come before.
    assert server.output().splitlines()[-1] == server.address
    assert server.get("/healthz") == (200, "ok\n")
    status, page = server.get("/")
    assert status == 200, server.output()
    assert 'name="image_file"' in page
    assert server.get("/admin/login/")[0] == 200
    server.interrupt()
    assert server.group() == [], "Ctrl-C leaves no process behind"
    assert "Traceback" not in server.output()
    assert {path.name for path in site.iterdir()} == before | {".venv"}
    assert (site / "app/db.sqlite3").exists()


def test_run_again_installs_nothing_and_keeps_the_data(serve: Callable[..., Server], site: Path) -> None:
    serve().wait(180).close()
    before = (site / "app/db.sqlite3").stat().st_ino
    server = serve().wait(60)
    server.close()
    assert "Installing" not in server.output()
    assert (site / "app/db.sqlite3").stat().st_ino == before


def test_run_restarts_after_an_edit(serve: Callable[..., Server], site: Path) -> None:
    server = serve().wait(180)
    urls = site / "app/hello_django/urls.py"
    before = urls.read_text()
    edit = "\nfrom hello_django import health\nhealth.CHECKS['edited'] = lambda: 1 / 0\n"
    deadline = time.monotonic() + 20
    try:
        while True:
            # Again and again, because Django notes a moment after its start which files there are.
            urls.write_text(before + edit)
            with contextlib.suppress(OSError):
                if server.get("/readyz") == (503, "missing: edited\n"):
                    break
            assert time.monotonic() < deadline, server.output()
            time.sleep(0.2)
    finally:
        urls.write_text(before)


@pytest.fixture
def installed(site: Path) -> Path:
    """The copy with its virtual environment, whichever test is the first to need it."""
    assert (
        run(["bin/venv", ".venv", "app/requirements/base.txt"], cwd=site, env={"PYTHON": sys.executable}).returncode
        == 0
    )
    return site


def test_run_on_a_busy_port(installed: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        result = run(["bin/run"], cwd=installed, env={"PORT": str(port), "PYTHON": sys.executable})
    one_line(result, f"Port {port} is taken", f"make run PORT={port + 1}")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80a", "٨٠", "8000; true", "9" * 5000])
def test_run_on_a_wrong_port(installed: Path, port: str) -> None:
    result = run(["bin/run"], cwd=installed, env={"PORT": port, "PYTHON": sys.executable}, timeout=30)
    one_line(result, f"PORT={port!r}", "1 to 65535")


# --- bin/upload: what needs no site ---


def test_upload_says_what_is_missing(clone: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = {"HTTP_PORT": str(nobody.getsockname()[1])}
        one_line(run(["bin/upload", "prod"], cwd=clone, env=port), "FILE='' is no file", "make upload-prod FILE=")
        one_line(run(["bin/upload", "dev", "x"], cwd=clone, env=port), "FILE='x' is no file", "make upload FILE=")
        one_line(run(["bin/upload", "other", "README.md"], cwd=clone, env=port), "use dev, prod or uwsgi")
        result = run(["bin/upload", "uwsgi", "README.md"], cwd=clone, env=port)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "upload: uwsgi does not answer; `make up-uwsgi` starts it"
    env_file = clone / ".env.prod"
    env_file.write_text(env_file.read_text().replace("TLS=off", "TLS=files"))
    one_line(run(["bin/upload", "prod", "README.md"], cwd=clone), "prod has TLS=files")
