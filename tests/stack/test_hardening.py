"""Least privilege, looked at in the running containers: what the compose files promise, the kernel has to say."""

import io
import json
import re
import subprocess
import tarfile
from functools import cache
from typing import Any

import pytest

from bench import Stack, run

# What is mounted where, and whether it can be written: anything more would be a hole, anything less a lost file.
WEB_MOUNTS = {
    "/home/app/web/staticfiles": ("static_vol", True),
    "/home/app/web/mediafiles": ("media_vol", True),
    "/run/secrets/secret_key": ("secret", False),
    "/run/secrets/db_password": ("secret", False),
}
DB_SECRETS = {"/run/secrets/db_password": ("secret", False), "/run/secrets/db_root_password": ("secret", False)}
REDIS_SECRET = {"/run/secrets/redis_password": ("secret", False)}
NGINX_MOUNTS = {
    "/srv/static": ("static_vol", False),
    "/srv/media": ("media_vol", False),
    "/var/cache/nginx": ("upload_vol", True),
    "/etc/letsencrypt": ("acme_vol", False),
    "/srv/acme": ("challenge_vol", False),
}
MOUNTS = {
    "prod": {
        "init": WEB_MOUNTS,
        "web": WEB_MOUNTS,
        "nginx": NGINX_MOUNTS | {"/etc/nginx/tls": ("secrets/tls/prod", False)},
        "db": DB_SECRETS
        | {
            "/var/lib/postgresql/data": ("db_vol", True),
            "/docker-entrypoint-initdb.d": ("compose/postgres/init", False),
        },
    },
    "uwsgi": {
        "init": WEB_MOUNTS | REDIS_SECRET,
        "web": WEB_MOUNTS | REDIS_SECRET,
        "nginx": NGINX_MOUNTS
        | {
            "/etc/nginx/tls": ("secrets/tls/uwsgi", False),
            "/etc/nginx/templates/backend.conf.template": ("compose/nginx/backend.conf", False),
        },
        "db": DB_SECRETS
        | {
            "/var/lib/mysql": ("db_vol", True),
            "/docker-entrypoint-initdb.d": ("compose/mysql/init", False),
            "/etc/mysql/conf.d": ("compose/mysql/conf", False),
        },
        "redis": REDIS_SECRET | {"/data": ("redis_vol", True), "/etc/redis": ("compose/redis", False)},
    },
}
NETWORKS = {
    "prod": {
        "init": {"db_network"},
        "web": {"nginx_network", "db_network"},
        "nginx": {"nginx_network"},
        "db": {"db_network"},
    },
    "uwsgi": {
        "init": {"db_network", "redis_network"},
        "web": {"nginx_network", "db_network", "redis_network"},
        "nginx": {"nginx_network"},
        "db": {"db_network"},
        "redis": {"redis_network"},
    },
}
PORTS = {"prod": {"db": 5432}, "uwsgi": {"db": 3306, "redis": 6379}}
# Megabytes (10^6 bytes) that the web image may add to its base.
LARGEST = {"prod": 90, "uwsgi": 100}


def services(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return `docker inspect` of every container of the stack by service; each has one."""
    found = stack.inspect(every=True)
    by_name = {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in found}
    assert len(found) == len(by_name)
    return by_name


def statuses(stack: Stack, service: str) -> list[dict[str, str]]:
    """Return /proc/PID/status of every process of a running service."""
    text = stack.execute(service, "sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null; true").stdout
    blocks = re.split(r"(?m)^(?=Name:)", text)[1:]
    return [dict(re.findall(r"(?m)^(\w+):\t(.*)$", block)) for block in blocks]


@cache
def image_files(image: str) -> dict[str, tarfile.TarInfo]:
    """Return every entry of an image's file system, by its path without a leading slash."""
    container = run("docker", "create", "--network", "none", image, "true").stdout.strip()
    try:
        with (
            subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            return {entry.name: entry for entry in archive}
    finally:
        run("docker", "rm", "--force", container)


def image_file(image: str, path: str) -> bytes:
    """Return the content of one file of an image."""
    container = run("docker", "create", "--network", "none", image, "true").stdout.strip()
    try:
        packed = subprocess.run(["docker", "cp", f"{container}:{path}", "-"], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            return archive.extractfile(archive.next()).read()
    finally:
        run("docker", "rm", "--force", container)


def base_image(stack: Stack) -> str:
    """Return the name of the base image that the stack's web is built on."""
    config = json.loads(stack.compose("config", "--format", "json").stdout)
    return config["services"]["web"]["build"]["args"]["PYTHON_IMAGE"]


def test_the_services_are_those_listed(stack: Stack) -> None:
    """So that no test below passes over a container that it does not know."""
    assert set(services(stack)) == set(MOUNTS[stack.kind]) == set(NETWORKS[stack.kind])


def test_no_process_is_root_or_could_become_it(stack: Stack) -> None:
    for service, container in services(stack).items():
        assert container["Config"]["User"].split(":")[0] not in ("", "0", "root"), service
        assert not container["HostConfig"]["Privileged"], service
        if service == "init":
            continue
        processes = statuses(stack, service)
        assert processes, service
        for process in processes:
            where = f"{service}: {process['Name']}"
            assert "0" not in process["Uid"].split(), where
            assert "0" not in process["Gid"].split(), where
            assert process["NoNewPrivs"] == "1", where
            for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(process[field], 16) == 0, f"{where}: {field}"


def test_init_is_no_root_either(stack: Stack) -> None:
    """It has ended long ago, so another one is asked."""
    command = ["run", "--rm", "--no-deps", "-T", "init", "cat", "/proc/1/status"]
    status = dict(re.findall(r"(?m)^(\w+):\t(.*)$", stack.compose(*command).stdout))
    assert status["Uid"].split()[0] == "1000"
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_capabilities_and_privileges_as_configured(stack: Stack) -> None:
    for service, container in services(stack).items():
        host = container["HostConfig"]
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert host["ReadonlyRootfs"], service
        assert host["NetworkMode"] != "host", service
        assert not host["PidMode"], service
        assert not host["Devices"], service


def test_nothing_can_be_written_but_volumes_and_tmpfs(stack: Stack) -> None:
    """Tried as root, whom file modes would not stop: only the mount does."""
    for service, container in services(stack).items():
        if service == "init":
            continue
        for folder in ("/", "/etc", "/usr/bin", "/home", "/var"):
            tried = run("docker", "exec", "--user", "0", container["Id"], "touch", f"{folder}/planted", check=False)
            assert "Read-only file system" in tried.stderr, f"{service}: {folder}: {tried.stderr}"
        # The service's own user: find names the places where a volume or tmpfs begins, and nothing else.
        find = "find / -xdev -writable \\( -type f -o -type d \\) 2>/dev/null; true"
        found = set(stack.execute(service, "sh", "-c", find).stdout.split("\n")) - {""}
        volumes = {path for path, (_, writable) in MOUNTS[stack.kind][service].items() if writable}
        # /var/run is a link to /run.
        tmpfs = {path.replace("/var/run/", "/run/") for path in container["HostConfig"]["Tmpfs"]}
        assert found == volumes | tmpfs, service


def test_mounts_are_those_listed(stack: Stack) -> None:
    for service, container in services(stack).items():
        found = {}
        for mount in container["Mounts"]:
            if mount["Type"] == "volume":
                what = mount["Name"].removeprefix(f"{stack.project}_")
            else:
                what = mount["Source"].removeprefix(f"{stack.folder}/")
                if what.startswith(f"secrets/{stack.kind}/"):
                    assert what.rpartition("/")[2] == mount["Destination"].rpartition("/")[2]
                    what = "secret"
            found[mount["Destination"]] = (what, mount["RW"])
        assert found == MOUNTS[stack.kind][service], service


def test_the_code_cannot_be_changed_by_the_app(stack: Stack) -> None:
    """Even without a read-only root: the image's files belong to root."""
    files = image_files(services(stack)["web"]["Image"])
    code = [entry for name, entry in files.items() if name.startswith(("home/app/web", "opt/venv"))]
    assert len(code) > 1000
    volumes = ("home/app/web/staticfiles", "home/app/web/mediafiles")
    for entry in code:
        if entry.name.rstrip("/") in volumes:
            assert entry.uid == 1000, entry.name
        else:
            assert entry.uid == 0, entry.name
            assert entry.issym() or not entry.mode & 0o022, entry.name


def test_limits_logs_and_restarts(stack: Stack) -> None:
    for service, container in services(stack).items():
        host = container["HostConfig"]
        assert 0 < host["Memory"] <= 1 << 30, service
        assert 0 < host["PidsLimit"] <= 200, service
        assert host["LogConfig"]["Type"] == "json-file", service
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, service
        assert host["RestartPolicy"]["Name"] == ("no" if service == "init" else "unless-stopped"), service


def test_the_kernel_enforces_the_memory_limit(stack: Stack) -> None:
    for service, container in services(stack).items():
        if service == "init":
            continue
        files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
        limit = stack.execute(service, "sh", "-c", f"cat {files} 2>/dev/null; true").stdout.split()[0]
        assert int(limit) == container["HostConfig"]["Memory"], service


def test_every_service_has_a_health_check_that_passes(stack: Stack) -> None:
    for service, container in services(stack).items():
        if service == "init":
            assert container["State"]["ExitCode"] == 0
        else:
            assert container["State"]["Health"]["Status"] == "healthy", service


def test_only_nginx_publishes_a_port(stack: Stack) -> None:
    published = {
        service: {port for port, bindings in container["NetworkSettings"]["Ports"].items() if bindings}
        for service, container in services(stack).items()
    }
    assert {service: ports for service, ports in published.items() if ports} == {
        "nginx": {"80/tcp", "443/tcp", "443/udp"}
    }


def test_networks_are_those_listed(stack: Stack) -> None:
    for service, container in services(stack).items():
        joined = {name.removeprefix(f"{stack.project}_") for name in container["NetworkSettings"]["Networks"]}
        assert joined == NETWORKS[stack.kind][service], service
    for network in {name for joined in NETWORKS[stack.kind].values() for name in joined}:
        (facts,) = json.loads(run("docker", "network", "inspect", f"{stack.project}_{network}").stdout)
        assert facts["Internal"] == (network != "nginx_network"), network


def test_internal_services_reach_nothing_outside(stack: Stack) -> None:
    """A container without a default route cannot call home, whatever gets into it."""
    for service in PORTS[stack.kind]:
        routes = stack.execute(service, "cat", "/proc/net/route").stdout.splitlines()[1:]
        assert routes, service
        assert [line for line in routes if line.split()[1] == "00000000"] == [], service
    # The same look finds the route that nginx has.
    routes = stack.execute("nginx", "cat", "/proc/net/route").stdout.splitlines()[1:]
    assert [line for line in routes if line.split()[1] == "00000000"]


def test_nginx_reaches_web_but_neither_database_nor_redis(stack: Stack) -> None:
    containers = services(stack)
    for service, port in PORTS[stack.kind].items():
        ((_, network),) = containers[service]["NetworkSettings"]["Networks"].items()
        address = network["IPAddress"]
        connect = f"import socket; socket.create_connection(({address!r}, {port}), 5)"
        stack.execute("web", "python", "-c", connect)
        curl = ["curl", "--silent", "--connect-timeout", "2", f"http://{address}:{port}/"]
        # 7: no connection, 28: no answer in time. Any other code means that something answered.
        assert stack.execute("nginx", *curl, check=False).returncode in (7, 28), service
        assert stack.execute("nginx", "getent", "hosts", service, check=False).returncode == 2, service
    assert stack.execute("nginx", "getent", "hosts", "web").stdout


def test_web_image_has_only_what_runs(stack: Stack) -> None:
    image = services(stack)["web"]["Image"]
    files = image_files(image)
    base = image_files(base_image(stack))
    added = {name for name in files if name not in base}
    assert "home/app/web/manage.py" in added
    assert "opt/venv/bin/python" in added

    unwanted = {
        "compiler": r"(^|/)(gcc|cc|c\+\+|g\+\+|cpp|clang|ld|make|as|[\w-]*-gcc(-\d+)?)$",
        "header": r"^usr/(local/)?include/.*\.h$",
        "pip": r"(^|/)(pip|pip3|uv)$|site-packages/(pip|uv|setuptools|wheel)(-[^/]*)?/",
        "cache": r"\.cache/|^var/cache/apt/.+\.(deb|bin)$",
        "apt list": r"^var/lib/apt/lists/[^/]+_",
        "repository": r"(^|/)\.git(/|$)",
        "environment file": r"(^|/)\.env(\.[^/]*)?$|/env$",
        "tests of ours": r"^home/app/web/(.*/)?(tests?|conftest\.py)(/|$)",
        "translation source": r"\.po$",
        "Dockerfile": r"(^|/)(Dockerfile[^/]*|\.dockerignore|docker-compose[^/]*)$",
        "database": r"\.sqlite3",
        "secret": r"(^|/)secrets/|\.pem$|\.key$",
    }
    # certifi and the like would be fine; so far nothing of ours brings any.
    for what, pattern in unwanted.items():
        found = [name for name in added if re.search(pattern, name)]
        assert not found, f"{what}: {found[:5]}"
    media = [name for name in files if re.match(r"home/app/web/(mediafiles|staticfiles)/.", name)]
    assert not media


def test_bytecode_is_in_the_image(stack: Stack) -> None:
    """The disk is read-only: what is not compiled now is compiled at each start, in each process."""
    image = services(stack)["web"]["Image"]
    files = image_files(image)
    sources = [name for name in files if re.match(r"(home/app/web|opt/venv/lib)/.*\.py$", name) and files[name].size]
    assert len(sources) > 500
    found = (re.fullmatch(r"(.*)__pycache__/([^/]+)\.cpython-\d+\.pyc", name) for name in files)
    compiled = {f"{match[1]}{match[2]}.py" for match in found if match}
    assert not [source for source in sources if source not in compiled][:5]
    # Unchecked: Python does not even look whether the source has changed.
    (code,) = [name for name in files if re.match(r"home/app/web/hello_django/__pycache__/settings\.", name)]
    assert image_file(image, f"/{code}")[4:8] == b"\x01\0\0\0"


def test_web_image_is_small(stack: Stack) -> None:
    image = services(stack)["web"]["Image"]
    names = (image, base_image(stack))
    (web,), (base,) = (json.loads(run("docker", "image", "inspect", name).stdout) for name in names)
    # Else the difference would be between two images that have nothing in common.
    layers = base["RootFS"]["Layers"]
    assert web["RootFS"]["Layers"][: len(layers)] == layers
    assert (web["Size"] - base["Size"]) / 1e6 <= LARGEST[stack.kind]


def test_each_stack_has_its_own_server_and_driver(stack: Stack) -> None:
    container = services(stack)["web"]
    files = image_files(container["Image"])
    server, driver = {"prod": ("gunicorn", "psycopg2"), "uwsgi": ("uwsgi", "MySQLdb")}[stack.kind]
    other = {"prod": ("uwsgi", "MySQLdb"), "uwsgi": ("gunicorn", "psycopg2")}[stack.kind]
    assert container["Config"]["Cmd"][0] == server
    assert f"opt/venv/bin/{server}" in files
    assert any(name.endswith(f"site-packages/{driver}/__init__.py") for name in files)
    assert f"opt/venv/bin/{other[0]}" not in files
    assert not any(f"site-packages/{other[1]}/" in name for name in files)


def test_init_and_web_are_the_same_image(stack: Stack) -> None:
    containers = services(stack)
    assert containers["init"]["Image"] == containers["web"]["Image"]


PLANTED = [
    ".env",
    ".env.prod",
    ".git/config",
    ".venv/lib/x.py",
    ".idea/workspace.xml",
    "upload/.env",
    "upload/.DS_Store",
    "upload/tests/test_planted.py",
    "tests/test_planted.py",
    "hello_django/tests/test_planted.py",
    "hello_django/planted.pyc",
    "hello_django/__pycache__/planted.cpython-313.pyc",
    "upload/locale/zh_Hans/LC_MESSAGES/planted.po",
    "db.sqlite3",
    "db.sqlite3-wal",
    "mediafiles/planted.png",
    "mediafiles/.incoming/planted",
    "staticfiles/planted.css",
    "venv/bin/planted",
    "env/bin/planted",
    "requirements/planted.in",
    "Dockerfile.planted",
]


@pytest.mark.parametrize("kind", ["dev", "prod"])
def test_what_lies_about_does_not_get_into_the_image(make_stack, kind: str) -> None:
    stack = make_stack(kind, "planted", own_tree=True)
    for name in [*PLANTED, "upload/kept.txt"]:
        path = stack.folder / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("planted")
    stack.make("secrets")
    stack.compose("build", "web")
    root = {"dev": "usr/src/app", "prod": "home/app/web"}[kind]
    inside = {name.removeprefix(f"{root}/") for name in image_files(f"{stack.project}-web")}
    assert "upload/kept.txt" in inside
    assert not inside.intersection(PLANTED)
