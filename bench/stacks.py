"""What is measured: four stacks of the same app, nginx answering from memory, and the load generator."""

import functools
import json
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import requests

from bench import PREFIX, ROOT, Stack, run, wait_for
from cgroups import Containers, shares

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
KILOBYTE = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=1024))


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

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """What Compose reads from its files, the caller's environment and the env file."""
        return json.loads(self.compose("config", "--format", "json").stdout)

    def build_arguments(self) -> dict[str, str]:
        """Return what web's build is given, so that the bench's own builds are given the same."""
        return self.config["services"]["web"]["build"]["args"]

    def base_images(self) -> set[str]:
        """Return the images that are not built here: of services, and those that are built on."""
        found = set()
        for service in self.config["services"].values():
            given = service.get("build", {}).get("args", {})
            found |= {value for name, value in given.items() if name.endswith("_IMAGE")}
            if "build" not in service and not service["image"].startswith(self.project):
                found.add(service["image"])
        return found

    def set(self, **variables: str | None) -> None:
        """Write variables into its env file, as often and wherever its user has them; None: the default."""
        path = self.folder / self.env_file
        kept = re.sub(rf"(?m)^({'|'.join(variables)})=.*\n?", "", path.read_text())
        # First, because COMPOSE_PROFILES reads TLS.
        path.write_text("".join(f"{name}={value}\n" for name, value in variables.items() if value is not None) + kept)

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

    def containers(self, service: str = "") -> Containers:
        """Return the accounting of its running containers, or of one service's."""
        found = {c["Config"]["Labels"]["com.docker.compose.service"]: c["State"]["Pid"] for c in self.inspect(service)}
        return Containers(found)

    def web(self, **variables: str | None) -> None:
        """Run web anew with these variables in its env file; None: the default."""
        self.set(**variables)
        self.compose("up", "--detach", "--no-deps", "--no-build", "--timeout", "3", "web")
        if self.tutorial:
            # Its nginx asks for web's address once.
            self.compose("restart", "--timeout", "3", "nginx")
        self.wait()

    def again(self) -> None:
        """Start web and nginx anew."""
        # The second tutorial's uWSGI does not end when it is asked to.
        self.compose("restart", "--timeout", "3", "web", "nginx")
        self.wait()

    def wait(self) -> None:
        """Wait until it answers; this repository's nginx asks for web's address each second."""
        wait_for(lambda: self.answers("/") and self.healthy(), 60, f"{self.name} answers again")

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


def of_size(size: int) -> str:
    """Return text of so many bytes for nginx.conf, whose strings are at most 4 KB: most of it is $kilobyte."""
    return "${kilobyte}" * (size // 1024) + KILOBYTE[: size % 1024]


def memory_config(size: int, page: int, logged: str) -> str:
    """Return an nginx configuration that answers from memory: /page with so many bytes as page, else size.

    /file and /logged/file are read from a file, as little as nginx can do for one. What begins with /logged is logged
    as those words of nginx.conf say, all else is not.
    """
    return f"""worker_processes {min(os.cpu_count() or 1, 4)};
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 8192; }}
http {{
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; uwsgi_temp_path /tmp/uwsgi;
    fastcgi_temp_path /tmp/fastcgi; scgi_temp_path /tmp/scgi;
{logged}
    # As the stacks read files, and nothing else of theirs.
    sendfile off;
    open_file_cache max=10 inactive=60s;
    open_file_cache_valid 1s;
    server {{
        listen 80 backlog=4096;
        # Where a stack's nginx looks for web.
        listen 8000 backlog=4096;
        set $kilobyte "{KILOBYTE}";
        location / {{ default_type text/css; access_log off; return 200 "{of_size(size)}"; }}
        location /page {{ default_type text/html; access_log off; return 200 "{of_size(page)}"; }}
        location /logged {{ default_type text/css; return 200 "{of_size(size)}"; }}
        location = /file {{ default_type text/css; access_log off; alias /etc/bench.css; }}
        location = /logged/file {{ default_type text/css; alias /etc/bench.css; }}
    }}
}}
"""


def threads(connections: int, cores: int) -> int:
    """Return how many threads wrk needs to use these cores; it gives each the same number of connections."""
    return max(number for number in range(1, min(cores, connections) + 1) if connections % number == 0)


def figures(found: dict[str, int]) -> dict[str, float]:
    """Return what report.lua says as answers, seconds, good answers and answers a second, milliseconds, and errors."""
    duration, good = found["duration"] / 1e6, found["requests"] - found["status"]
    return {
        "requests": found["requests"],
        "good": good,
        "seconds": duration,
        "rps": good / duration,
        "p50_ms": found["p50"] / 1000,
        "p99_ms": found["p99"] / 1000,
        "errors": sum(found[kind] for kind in ("connect", "read", "write", "status", "timeout")),
    }


class Tools:
    """nginx that answers from memory, beside a stack, and wrk; as containers of their own."""

    def __init__(self, folder: Path, stacks: list[Variant], size: int, page: int) -> None:
        """size, page: the bytes that nginx answers with in place of files and of the page."""
        self.project = project("tools")
        image = f"{self.project}-wrk"
        label = f"--label=com.docker.compose.project={self.project}"
        self._wrk = f"{self.project}-wrk-1"
        arguments = stacks[0].build_arguments()
        given = [f"--build-arg={name}={arguments[name]}" for name in ("PYTHON_IMAGE", "DEBIAN_MIRROR")]
        run("docker", "build", "--tag", image, *given, str(folder / "bench/wrk"))
        networks = [f"{stack.project}_nginx_network" for stack in stacks]
        run("docker", "run", "--detach", label, "--name", self._wrk, "--network", networks[0], image)
        for network in networks[1:]:
            run("docker", "network", "connect", network, self._wrk)
        config = folder / "memory.conf"
        (css := folder / "memory.css").write_text((KILOBYTE * (size // 1024 + 1))[:size])
        config.write_text(memory_config(size, page, logging((ROOT / "nginx/nginx.conf").read_text())))
        nginx = f"{stacks[0].project}-nginx"
        # Logging costs what it costs the stacks.
        log = stacks[0].container("nginx")["HostConfig"]["LogConfig"]
        logged = [f"--log-opt={name}={value}" for name, value in (log["Config"] or {}).items()]
        logged.append(f"--log-driver={log['Type']}")

        def start(name: str, *words: str) -> None:
            """Run nginx as a container, and wait until it answers."""
            names = ["--name", f"{self.project}-{name}", "--network-alias", name]
            run("docker", "run", "--detach", label, *logged, *names, "--network", self.project, *words)
            self.wait(name)

        # A network in which the limit's name is web, and a stack's nginx as it is has nothing but that behind it.
        run("docker", "network", "create", label, self.project)
        run("docker", "network", "connect", self.project, self._wrk)
        mounted = ["--network-alias", "web", "--volume", f"{config}:/etc/bench.conf:ro"]
        mounted += ["--volume", f"{css}:/etc/bench.css:ro"]
        start("memory", *mounted, "--entrypoint", "nginx", nginx, "-c", "/etc/bench.conf", "-g", "daemon off;")
        start("passing", nginx)

    @property
    def containers(self) -> Containers:
        """The accounting of nginx as it is in the stack, which passes on what the other answers from memory."""
        state = json.loads(run("docker", "inspect", f"{self.project}-passing").stdout)[0]["State"]
        return Containers({"nginx": state["Pid"]})

    def again(self) -> None:
        """Start each nginx anew."""
        for name in ("memory", "passing"):
            run("docker", "restart", "--time", "3", f"{self.project}-{name}")
            self.wait(name)

    def wait(self, name: str) -> None:
        probe = ["docker", "exec", f"{self.project}-{name}", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1/"]
        wait_for(lambda: run(*probe, check=False).returncode == 0, 20, f"nginx answers: {name}")

    def load(self, url: str, connections: int, seconds: float, rate: float | None = None) -> dict[str, float]:
        """Load one address; return figures(), and the shares of the time that the machine's cores were idle and stolen.

        At most at this rate of requests a second, where one is given.
        """
        pause = f"PAUSE_MS={connections / rate * 1000:.0f}" if rate else "PAUSE_MS=0"
        words = ["--script", "/report.lua", "--timeout", "10s", "--header", "Host: localhost"]
        words += ["--threads", str(threads(connections, os.cpu_count() or 1)), "--connections", str(connections)]
        words += ["--duration", f"{seconds:.0f}s", url]
        # The machine's own figures, read there: starting a command in a container takes a tenth of a second.
        now = "head -n 1 /proc/stat 2> /dev/null || :"
        script = f'set -e; {now}; wrk "$@" > /tmp/found; {now}; tail -n 1 /tmp/found'
        command = ["docker", "exec", "--env", pause, self._wrk, "sh", "-c", script, "sh", *words]
        *moments, found = run(*command).stdout.splitlines()
        return figures(json.loads(found)) | (shares(*moments) if len(moments) == 2 else {})
