"""What is measured: four stacks of the same app, nginx answering from memory, and the load generator."""

import json
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import requests

from bench import PREFIX, ROOT, Stack, run, wait_for
from cgroups import Containers

HERE = ROOT / "bench"
# Name, this repository's stack that it is or is built on, and whether it has a tutorial's server settings.
NAMES = {
    "gunicorn": ("prod", False),
    "tutorial-gunicorn": ("prod", True),
    "uwsgi": ("uwsgi", False),
    "tutorial-uwsgi": ("uwsgi", True),
}
# Of a size that the memory limit answers as well.
STATIC = "admin/css/base.css"


def project(purpose: str) -> str:
    """Return a name for this run alone; tests/bench.py removes what a killed run has left by it."""
    return f"{PREFIX}-{os.getpid()}-bench-{purpose}"


class Variant(Stack):
    """One stack under measurement."""

    def __init__(self, name: str, folder: Path) -> None:
        kind, self.tutorial = NAMES[name]
        super().__init__(kind, folder, project(name))
        self.name = name
        self.files = [self.file, *([f"bench/{name}/compose.yml"] if self.tutorial else [])]
        self.paths: dict[str, str] = {}

    def compose(self, *words: str, check: bool = True, **options: Any) -> Any:
        """Run `docker compose` with the tutorial's settings over this repository's, where it is one."""
        files = [word for file in self.files for word in ("-f", file)]
        command = ["docker", "compose", "--ansi", "never", "--env-file", self.env_file, *files, *words]
        return run(*command, check=check, cwd=self.folder, env=self.environment, **options)

    def begin(self) -> float:
        """Start it from empty volumes, with its images built; return the seconds until it answers."""
        began = time.monotonic()
        self.compose("up", "--detach", "--no-build")
        wait_for(lambda: self.answers("/"), 120, f"{self.name} answers")
        return time.monotonic() - began

    def seed(self, pictures: dict[str, bytes]) -> None:
        """Upload these pictures by name, and find out which paths are measured."""
        session = requests.Session()
        session.get(self.url + "/", timeout=30).raise_for_status()
        # Without the Origin that a browser sends: the first tutorial's nginx drops the port, and Django would refuse.
        headers = {"Accept": "application/json", "X-CSRFToken": session.cookies["csrftoken"]}
        facts = {}
        for name, content in pictures.items():
            files = {"image_file": (f"{name}.png", content, "image/png")}
            answer = session.post(self.url + "/", files=files, headers=headers, timeout=30)
            answer.raise_for_status()
            facts[name] = answer.json()
        found = self.python(f"from django.templatetags.static import static; print(static({STATIC!r}))").strip()
        self.paths = {"page": "/", "sign-in": "/admin/login/", "database": facts["picture"]["page_url"]}
        self.paths |= {"static": found, "media": facts["picture"]["url"], "media 200 KB": facts["large"]["url"]}

    def containers(self) -> Containers:
        """Return the accounting of its running containers."""
        found = {c["Config"]["Labels"]["com.docker.compose.service"]: c["State"]["Pid"] for c in self.inspect()}
        return Containers(found)

    def workers(self, count: int) -> None:
        """Run web anew with so many workers."""
        self.set(WEB_CONCURRENCY=str(count))
        self.compose("up", "--detach", "--no-deps", "--no-build", "web")
        # nginx asks for the address each second.
        wait_for(lambda: self.answers("/") and self.healthy(), 60, f"{self.name} with {count} workers")

    def healthy(self) -> bool:
        return self.container("web")["State"]["Health"]["Status"] == "healthy"

    def address(self) -> str:
        """Return where nginx listens, without the published port's own way through the kernel."""
        return self.container("nginx")["NetworkSettings"]["Networks"][f"{self.project}_nginx_network"]["IPAddress"]

    def inprocess(self, *arguments: str) -> dict[str, Any]:
        """Run inprocess.py in web, return what it has found."""
        code = (HERE / "inprocess.py").read_text()
        return json.loads(self.execute("web", "python", "-", *arguments, input=code, stdin=None).stdout)


def logging(config: str) -> str:
    """Return what nginx.conf says about the log: the format, and where to."""
    return re.search(r"(?s)    log_format json.*?;\n.*?    access_log [^;]*;\n", config)[0]


def memory_config(size: int, logged: str) -> str:
    """Return an nginx configuration that answers every request with so many bytes from memory.

    /logged is logged as those words of nginx.conf say, all else is not.
    """
    noise = random.Random(1)
    line = "".join(noise.choices("abcdefghijklmnopqrstuvwxyz", k=1024))
    body = "${kilobyte}" * (size // 1024) + line[: size % 1024]
    return f"""worker_processes auto;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 8192; }}
http {{
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; uwsgi_temp_path /tmp/uwsgi;
    fastcgi_temp_path /tmp/fastcgi; scgi_temp_path /tmp/scgi;
{logged}
    server {{
        listen 80 backlog=4096;
        # Where a stack's nginx looks for web.
        listen 8000 backlog=4096;
        set $kilobyte "{line}";
        location / {{ default_type text/css; access_log off; return 200 "{body}"; }}
        location /logged {{ default_type text/css; return 200 "{body}"; }}
    }}
}}
"""


class Tools:
    """nginx that answers from memory, beside a stack, and wrk; as containers of their own."""

    def __init__(self, folder: Path, stacks: list[Variant], size: int) -> None:
        self.project = project("tools")
        image = f"{self.project}-wrk"
        label = f"--label=com.docker.compose.project={self.project}"
        self._wrk = f"{self.project}-wrk-1"
        names = ("PYTHON_IMAGE", "DEBIAN_MIRROR")
        given = [word for name in names if os.environ.get(name) for word in ("--build-arg", name)]
        run("docker", "build", "--tag", image, *given, str(folder / "bench/wrk"))
        networks = [f"{stack.project}_nginx_network" for stack in stacks]
        run("docker", "run", "--detach", label, "--name", self._wrk, "--network", networks[0], image)
        for network in networks[1:]:
            run("docker", "network", "connect", network, self._wrk)
        config = folder / "memory.conf"
        config.write_text(memory_config(size, logging((ROOT / "nginx/nginx.conf").read_text())))
        nginx = f"{stacks[0].project}-nginx"

        def start(name: str, *words: str) -> None:
            """Run nginx as a container, and wait until it answers."""
            names = ["--name", f"{self.project}-{name}", "--network-alias", name]
            run("docker", "run", "--detach", label, *names, "--network", self.project, *words)
            probe = ["docker", "exec", f"{self.project}-{name}", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1/"]
            wait_for(lambda: run(*probe, check=False).returncode == 0, 20, f"nginx answers: {name}")

        # A network in which the limit's name is web, and a stack's nginx as it is has nothing but that behind it.
        run("docker", "network", "create", label, self.project)
        run("docker", "network", "connect", self.project, self._wrk)
        mounted = ["--network-alias", "web", "--volume", f"{config}:/etc/bench.conf:ro"]
        start("memory", *mounted, "--entrypoint", "nginx", nginx, "-c", "/etc/bench.conf", "-g", "daemon off;")
        start("passing", nginx)
        state = json.loads(run("docker", "inspect", f"{self.project}-passing").stdout)[0]["State"]
        self.containers = Containers({"nginx": state["Pid"]})

    def load(self, url: str, connections: int, seconds: float, rate: float | None = None) -> dict[str, float]:
        """Load one address; return requests, seconds, requests a second, milliseconds and errors.

        At most at this rate of requests a second, where one is given.
        """
        pause = f"PAUSE_MS={connections / rate * 1000:.0f}" if rate else "PAUSE_MS=0"
        words = ["--script", "/report.lua", "--timeout", "10s", "--header", "Host: localhost"]
        words += ["--threads", str(min(2, connections)), "--connections", str(connections)]
        words += ["--duration", f"{seconds:.0f}s", url]
        found = json.loads(run("docker", "exec", "--env", pause, self._wrk, "wrk", *words).stdout.splitlines()[-1])
        duration = found["duration"] / 1e6
        return {
            "requests": found["requests"],
            "seconds": duration,
            "rps": found["requests"] / duration,
            "p50_ms": found["p50"] / 1000,
            "p99_ms": found["p99"] / 1000,
            "errors": sum(found[kind] for kind in ("connect", "read", "write", "status", "timeout")),
        }
