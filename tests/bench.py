"""What the tests on a real engine share: stacks with names of their own, waiting for a state, and pictures."""

import contextlib
import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
# Everything that a test run makes on the engine or in the temporary folder starts with this and its process id.
PREFIX = "dodtest"
LABEL = "com.docker.compose.project"


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command without standard input; its output is text. With check, AssertionError shows it on failure."""
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 900} | options
    result = subprocess.run(command, **options, check=False)
    if check and result.returncode:
        raise AssertionError(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def wait_for(state: Callable[[], Any], seconds: float = 30, what: str = "") -> Any:
    """Poll until state() is true and return that value; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = state()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or state}")
        time.sleep(0.1)


def free_port() -> int:
    """Return a TCP port that nobody listens on at the moment.

    Below those that the kernel gives to outgoing connections, one of which could take it while a stack is down.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port


def copy_tree(target: Path) -> None:
    """Copy what a clone of the working tree would hold, uncommitted changes included."""
    names = run("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in filter(None, names.split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)


def remove_project(project: str, images: str = "*") -> None:
    """Remove containers, volumes, networks and images of a Compose project, running or not.

    images: the pattern behind the project's name, for a project with a name that others begin with.
    """
    for kind, listing, removal in (
        ("container", ["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
        ("volume", ["volume", "ls", "--quiet"], ["volume", "rm", "--force"]),
        ("network", ["network", "ls", "--quiet"], ["network", "rm"]),
    ):
        found = run("docker", *listing, "--filter", f"label={LABEL}={project}").stdout.split()
        if found:
            run("docker", *removal, *found, check=kind != "network")
    images = run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{project}-{images}").stdout.split()
    if images:
        run("docker", "image", "rm", "--force", *images, check=False)


def remove_leftovers() -> None:
    """Remove what test runs left behind whose process is gone (killed, or the machine was)."""

    def left(*listing: str) -> set[str]:
        named = [name for name in run("docker", *listing).stdout.split() if re.match(rf"{PREFIX}-\d+-", name)]
        return {name for name in named if not Path(f"/proc/{name.split('-')[1]}").exists()}

    project = f'{{{{.Label "{LABEL}"}}}}'
    for listing in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        for name in left(*listing, "--format", project):
            remove_project(name)
    # Of builds alone, or of a run that was killed before it started anything.
    if images := left("image", "ls", "--format", "{{.Repository}}:{{.Tag}}"):
        run("docker", "image", "rm", "--force", *images, check=False)


def picture(format: str = "PNG", size: tuple[int, int] = (64, 48), seed: int = 1) -> bytes:
    """Return a picture of noise in this format: the same bytes for the same arguments."""
    noise = random.Random(seed).randbytes(size[0] * size[1] * 3)
    target = io.BytesIO()
    Image.frombytes("RGB", size, noise).save(target, format)
    return target.getvalue()


class ProcessWatch:
    """While it is entered, collect the command line of every process of this machine, containers' included."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    def __enter__(self) -> "ProcessWatch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()


class Stack:
    """One stack of the repository: dev, prod or uwsgi, under a project name and a port of its own."""

    def __init__(self, kind: str, folder: Path, project: str) -> None:
        self.kind = kind
        self.folder = folder
        self.project = project
        self.port = free_port()
        self.https_port = free_port()
        self.suffix = "" if kind == "dev" else f"-{kind}"
        self.file = "docker-compose.yml" if kind == "dev" else f"docker-compose.{kind}.yml"
        self.env_file = f".env.{kind}"
        self.url = f"http://localhost:{self.port}"
        self.https_url = f"https://localhost:{self.https_port}"
        # Whether start() has succeeded; the command lines that were seen meanwhile, where somebody watched.
        self.up = False
        self.seen: set[str] = set()

    @property
    def environment(self) -> dict[str, str]:
        """The environment that gives each command this stack's names, and nothing of the caller's settings."""
        # Nor what `make test` tells a make that it starts, which would speak in another way than one of a user's.
        others = ("DEBUG", "SECRET_KEY", "HTTP_PORT", "YES", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
        kept = {key: value for key, value in os.environ.items() if key not in others}
        # Patient: whether a start is fast enough is not what most tests ask, and the machine may be busy.
        patience = {"UP_TIMEOUT": os.environ.get("UP_TIMEOUT", "500")}
        ports = {"HTTP_PORT": str(self.port), "HTTPS_PORT": str(self.https_port)}
        return kept | patience | ports | {"COMPOSE_PROJECT_NAME": self.project}

    def set(self, **variables: str) -> None:
        """Write variables into the env file of the stack's tree, as its user would; the tree has to be its own."""
        path = self.folder / self.env_file
        text = path.read_text()
        for name, value in variables.items():
            text, count = re.subn(rf"(?m)^#?{name}=.*$", f"{name}={value}", text)
            assert count == 1, f"{self.env_file} has {count} lines for {name}"
        path.write_text(text)

    def make(self, *words: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `make` with these words, as a user would."""
        return run("make", *words, check=check, cwd=self.folder, env=self.environment | variables)

    def start(self) -> None:
        """Run `make up-*`."""
        self.make(f"up{self.suffix}")
        self.up = True

    def compose(self, *words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` for this stack."""
        files = ["--ansi", "never", "--env-file", self.env_file, "-f", self.file]
        return run("docker", "compose", *files, *words, check=check, cwd=self.folder, env=self.environment, **options)

    def execute(self, service: str, *command: str, check: bool = True, **options: Any):
        """Run a command in a service's container."""
        return self.compose("exec", "-T", service, *command, check=check, **options)

    def python(self, code: str) -> str:
        """Run code in `manage.py shell` of web, return what it prints."""
        return self.execute("web", "python", "manage.py", "shell", "--no-imports", "--command", code).stdout

    def logs(self, *services: str) -> str:
        """Return what these services have logged so far."""
        result = self.compose("logs", "--no-color", "--no-log-prefix", *services)
        return (result.stdout + result.stderr).replace("\x1b[2K", "")

    def access_log(self) -> list[dict[str, Any]]:
        """Return nginx's log of requests so far, oldest first."""
        return [json.loads(line) for line in self.logs("nginx").splitlines() if line.startswith('{"time"')]

    def ids(self, service: str = "") -> list[str]:
        """Return the ids of the running containers, of one service or of all."""
        return self.compose("ps", "--quiet", *filter(None, [service])).stdout.split()

    def inspect(self, service: str = "", *, every: bool = False) -> list[dict[str, Any]]:
        """Return `docker inspect` of the containers, of those that have ended too where every is true."""
        words = ["ps", "--quiet", *(["--all"] if every else []), *filter(None, [service])]
        found = self.compose(*words).stdout.split()
        return json.loads(run("docker", "inspect", *found).stdout) if found else []

    def container(self, service: str) -> dict[str, Any]:
        """Return `docker inspect` of the only container of a service."""
        (found,) = self.inspect(service, every=True)
        return found

    def secret(self, name: str) -> str:
        """Return one of the stack's generated secrets."""
        return (self.folder / "secrets" / self.kind / name).read_text()

    @property
    def secrets(self) -> dict[str, str]:
        """All of the stack's generated secrets by name."""
        return {path.name: path.read_text() for path in (self.folder / "secrets" / self.kind).iterdir()}

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a path of the site on a connection of its own."""
        return requests.get(self.url + path, **({"timeout": 30} | options))

    def answers(self, path: str = "/readyz", status: int = 200) -> bool:
        """Say whether the path has this status now."""
        with contextlib.suppress(requests.RequestException):
            return self.get(path, timeout=5).status_code == status
        return False

    def upload(
        self,
        content: bytes | None = None,
        name: str = "picture.png",
        type: str = "image/png",
        session: requests.Session | None = None,
        accept: str = "text/html",
        **options: Any,
    ) -> requests.Response:
        """Fetch the form, then send one file as the form would; return the answer."""
        session = session or requests.Session()
        if "csrftoken" not in session.cookies:
            session.get(self.url + "/", timeout=30).raise_for_status()
        token = session.cookies["csrftoken"]
        headers = {"Accept": accept, "X-CSRFToken": token, "Referer": self.url + "/", "Origin": self.url}
        content = picture() if content is None else content
        files = {"image_file": (name, content, type)}
        return session.post(self.url + "/", files=files, headers=headers, **({"timeout": 120} | options))

    def remove(self) -> None:
        """Remove every trace of the stack from the engine."""
        remove_project(self.project)
