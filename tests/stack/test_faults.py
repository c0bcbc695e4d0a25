"""What breaks comes back by itself, and nothing that was acknowledged is lost: one fault after another, under load.

Prints, and writes to tests/output/faults.md, what each has cost: the figures of docs/production.md.
"""

import asyncio
import contextlib
import json
import re
import resource
import socket
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from bench import ROOT, Stack, run, wait_for
from lasting import IDLE, lasting_stack, light_load, paths
from load import Load, noise_png

pytestmark = pytest.mark.long

# Normal again: ready, and no request has failed for so many seconds.
QUIET_SECONDS = 3


@pytest.fixture(params=["prod", "uwsgi"])
def site(request: pytest.FixtureRequest, make_stack) -> Stack:
    """Each production stack in turn."""
    return lasting_stack(request.param, make_stack)


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Lines of the table of what each fault has cost; shown at the end."""
    lines: list[str] = []
    yield lines
    text = "| stack | fault | requests | failed | seconds until normal | lost |\n|---|---|---|---|---|---|\n"
    text += "".join(f"{line}\n" for line in sorted(lines))
    output = ROOT / "tests/output"
    output.mkdir(exist_ok=True)
    (output / "faults.md").write_text(text)
    print(f"\n{text}")


@pytest.fixture
def measure(site: Stack, table: list[str]) -> Callable[..., Load]:
    """A function that does something to the site under load, and waits until all is as before."""

    def measure(name: str, fault: Callable[[Load], object], *, within: float, timeout: float = 20) -> Load:
        running = wait_for(lambda: well(site) and names(site), 60, "all services are healthy")
        with light_load(site, timeout=timeout) as load:
            wait_for(lambda: load.total >= 60, 30, "the load runs")
            assert load.failures == []
            began = time.monotonic()
            if isinstance(when := fault(load), float):
                # It began later than it was called.
                began = when

            def normal() -> bool:
                last = max([began, *(when for when, _ in load.problems)])
                return time.monotonic() - last > QUIET_SECONDS and site.answers()

            wait_for(normal, within, f"normal after: {name}; last of {len(load.problems)}: {load.failures[-3:]}")
            # All of it is there again, by itself, and answers its own probe.
            wait_for(lambda: names(site) == running, 60, "all services are back")
        seconds = load.until_normal(began)
        lost = load.lost()
        failed = len(load.problems)
        table.append(f"| {site.kind} | {name} | {load.total + failed} | {failed} | {seconds:.1f} | {len(lost)} |")
        print(table[-1], sorted({problem.split(" ", 1)[1][:70] for problem in load.failures})[:8])
        assert load.counts["upload"]
        assert lost == []
        site.upload().raise_for_status()
        assert (
            site.execute("web", "python", "manage.py", "check_uploads", check=False).returncode == 0
            or name in MAY_LEAVE
        )
        return load

    return measure


# A worker that is killed in the middle of an upload leaves files without a row, which check_uploads lists.
MAY_LEAVE = ("worker killed", "web's first process killed", "database killed", "memory exhausted in a worker")


def names(site: Stack) -> list[tuple[str, str]]:
    """Return the services whose containers run, and how healthy they are."""
    return sorted(
        (each["Config"]["Labels"]["com.docker.compose.service"], each["State"].get("Health", {}).get("Status", ""))
        for each in site.inspect()
    )


def well(site: Stack) -> bool:
    """Say whether each container is as healthy as its probe can tell."""
    return all(health in ("healthy", "") for _, health in names(site))


def helper(*command: str, options: tuple[str, ...] = ()) -> str:
    """Run a command with the host's rights in a container: not every user of an engine is root."""
    image = run("docker", "image", "ls", "--quiet", "nginx").stdout.split()[0]
    return run("docker", "run", "--rm", "--user", "0", "--entrypoint", command[0], *options, image, *command[1:]).stdout


def has(site: Stack, service: str) -> bool:
    """Say whether the stack has this service: only one of them has Redis."""
    return service != "redis" or site.kind == "uwsgi"


def kill_first_process(site: Stack, service: str) -> None:
    """Kill a container's first process from outside, as a crash would: `docker kill` would count as a wish."""
    pid = str(site.container(service)["State"]["Pid"])
    helper("sh", "-c", f"kill -9 {pid}", options=("--privileged", "--pid=host"))


def test_a_worker_killed(site: Stack, measure) -> None:
    def kill(load: Load) -> None:
        worker = site.get("/pages/who/").json()["process"]
        assert worker != 1
        site.execute("web", "sh", "-c", f"kill -9 {worker}")

    load = measure("worker killed", kill, within=30)
    assert len(load.problems) <= 20


def test_a_new_worker_gets_its_share(make_stack) -> None:
    """nginx keeps its connections to Gunicorn, and each belongs to one worker: they must not leave a new one idle."""
    site = lasting_stack("prod", make_stack)
    answers: list[int] = []
    stop = threading.Event()
    listed = "for process in /proc/[0-9]*; do grep -qs 'g[u]nicorn' $process/cmdline && echo ${process#/proc/}; done; :"

    def processes() -> set[int]:
        return set(map(int, site.execute("web", "sh", "-c", listed).stdout.split()))

    def ask() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                answers.append(session.get(f"{site.url}/pages/who/", timeout=60).json()["process"])

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(answers) > 500, 60, "500 requests")
        # Also one that has answered nothing so far.
        known = processes()
        site.execute("web", "sh", "-c", f"kill {answers[-1]}")
        wait_for(lambda: processes() - known, 60, "another worker")
        begun = len(answers)
        wait_for(lambda: len(answers) > begun + 3000, 120, "3,000 requests")
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    new = [process for process in answers[begun:] if process not in known]
    assert len(new) > len(answers[begun:]) / 10
    # Each keeps to a core where there are as many; the new one has the one that was left.
    cores = int(site.execute("web", "nproc").stdout)
    status = " ".join(f"/proc/{process}/status" for process in processes())
    allowed = site.execute("web", "sh", "-c", f"grep -h Cpus_allowed_list {status}").stdout.split()[1::2]
    kept = [one for one in allowed if one.isdigit()]
    assert len(kept) == len(set(kept)) == (cores if 2 <= cores <= 4 else 0)


KILLED = {
    "web": "web's first process killed",
    "nginx": "nginx killed",
    "db": "database killed",
    "redis": "Redis killed",
}


@pytest.mark.parametrize("service", KILLED)
def test_a_first_process_killed(site: Stack, measure, service: str) -> None:
    if not has(site, service):
        return
    before = site.container(service)["RestartCount"]
    load = measure(KILLED[service], lambda load: kill_first_process(site, service), within=90)
    assert site.container(service)["RestartCount"] == before + 1
    if service == "redis":
        assert load.failures == []


@pytest.mark.parametrize("service", ["db", "redis"])
def test_a_service_stopped_for_30_seconds(site: Stack, measure, service: str) -> None:
    if not has(site, service):
        return

    def stop(load: Load) -> None:
        site.compose("stop", service)
        end = time.monotonic() + 30
        if service == "db":
            # Nothing but the database's absence is said, and at once.
            answer = site.get("/", timeout=10)
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            assert site.answers("/readyz", 503)
            assert site.answers("/healthz")
        wait_for(lambda: time.monotonic() > end, 40)
        site.compose("start", service)

    load = measure(f"{'database' if service == 'db' else 'Redis'} stopped for 30 s", stop, within=60)
    if service == "redis":
        assert load.failures == []
    # What needs no database goes on.
    assert not [problem for problem in load.failures if " static" in problem or " media" in problem]


@pytest.mark.parametrize("service", ["db", "redis", "nginx"])
def test_a_service_restarted(site: Stack, measure, service: str) -> None:
    if not has(site, service):
        return
    name = {"db": "database restarted", "redis": "Redis restarted", "nginx": "nginx restarted"}
    load = measure(name[service], lambda load: site.compose("restart", service), within=60)
    if service == "redis":
        assert load.failures == []


@pytest.mark.parametrize("what", ["settings", "database"])
def test_a_change_of_configuration(site: Stack, measure, what: str) -> None:
    """No fault, but what `make up` costs where a deploy does not help."""
    path = site.folder / (site.env_file if what == "settings" else f"{site.env_file}.db")
    kept = path.read_text()
    services = {"settings": ["web", "nginx"], "database": ["db"]}[what]
    before = {service: site.ids(service) for service in services}

    def change(load: Load) -> None:
        path.write_text(f"{kept}\nUPLOAD_BURST=99\n")
        site.make(f"up{site.suffix}")

    try:
        measure(f"new {what} by make up", change, within=60)
        assert not [service for service in services if site.ids(service) == before[service]]
    finally:
        path.write_text(kept)
        site.make(f"up{site.suffix}")


def test_new_settings_by_a_deploy(site: Stack, measure) -> None:
    """The same settings at the price of nginx alone: a deploy gives them to web, and leaves nginx for `make up`."""
    path = site.folder / site.env_file
    kept = path.read_text()

    def change(load: Load) -> float:
        path.write_text(f"{kept}\nUPLOAD_BURST=98\n")
        site.make(f"deploy{site.suffix}")
        assert load.failures == []
        web = site.ids("web")
        began = time.monotonic()
        site.make(f"up{site.suffix}")
        assert site.ids("web") == web
        return began

    try:
        measure("new settings by make deploy, make up", change, within=60)
        for service in ("web", "nginx"):
            assert "UPLOAD_BURST=98" in site.container(service)["Config"]["Env"]
    finally:
        path.write_text(kept)
        site.make(f"up{site.suffix}")


def test_web_recreated_with_another_address(site: Stack, measure) -> None:
    network = f"{site.project}_nginx_network"
    squatters: list[str] = []

    def address(container: str) -> str:
        form = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
        return run("docker", "inspect", "--format", form, container).stdout.strip()

    def squat() -> str:
        """Take the next free address of the network, return it."""
        image = run("docker", "image", "ls", "--quiet", "nginx").stdout.split()[0]
        command = ("--entrypoint", IDLE[0], image, *IDLE[1:])
        squatters.append(run("docker", "run", "--detach", "--network", network, *command).stdout.strip())
        return address(squatters[-1])

    def recreate(load: Load) -> None:
        before = address(site.ids("web")[0])
        site.compose("rm", "--stop", "--force", "web")
        wait_for(lambda: squat() == before, 30, "somebody else has web's address")
        site.compose("up", "--detach", "--no-deps", "--no-build", "web")
        assert address(site.ids("web")[0]) != before

    try:
        load = measure("web recreated with another address", recreate, within=60)
    finally:
        if squatters:
            run("docker", "rm", "--force", *squatters)
    assert not [problem for problem in load.failures if " static" in problem or " media" in problem]


def test_the_network_between_web_and_database_cut_and_healed(site: Stack, measure) -> None:
    network = f"{site.project}_db_network"

    def cut(load: Load) -> None:
        (web,) = site.ids("web")
        run("docker", "network", "disconnect", network, web)
        try:
            wait_for(lambda: site.answers("/readyz", 503), 30, "/readyz says that the database is missing")
        finally:
            run("docker", "network", "connect", network, web)

    measure("network between web and database cut", cut, within=60, timeout=40)


def run_loop(work: Coroutine[None, None, None]) -> None:
    """Run an event loop in a thread of its own: the main one may have Playwright's, which stays until the last test."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def test_500_slow_clients_take_no_worker(site: Stack, measure) -> None:
    raise_file_limit()

    async def slow_clients() -> None:
        writers = []
        for number in range(500):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
            if number % 2:
                head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
            writer.write(head)
            writers.append(writer)
        for _ in range(20):
            for writer in writers:
                with contextlib.suppress(ConnectionError):
                    writer.write(b"x")
            await asyncio.sleep(0.25)
        for writer in writers:
            writer.close()

    load = measure("500 slow clients", lambda load: run_loop(slow_clients()), within=30)
    assert load.failures == []


def raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))


def test_4000_stalled_downloads_fit_into_memory(site: Stack, measure) -> None:
    raise_file_limit()
    sent = site.upload(noise_png(0.5), accept="application/json").json()
    request = f"GET {sent['url']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    # Its own address: what publishes the port would read in the clients' place.
    address = site.container("nginx")["NetworkSettings"]["Networks"][f"{site.project}_nginx_network"]["IPAddress"]

    def stall(load: Load) -> None:
        with contextlib.ExitStack() as opened:
            clients = [opened.enter_context(socket.socket()) for _ in range(4000)]
            for client in clients:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.settimeout(10)
                client.connect((address, 80))
                client.sendall(request)
            # All have an answer, of which they read no more.
            assert {client.recv(15) for client in clients} == {b"HTTP/1.1 200 OK"}
            counted = load.total
            wait_for(lambda: load.total >= counted + 60, 30, "the site goes on beside them")

    load = measure("4,000 stalled downloads", stall, within=60)
    assert load.failures == []
    assert not site.container("nginx")["State"]["OOMKilled"]


def test_a_burst_of_2000_connections(site: Stack, measure) -> None:
    raise_file_limit()
    answers: list[bytes] = []

    css, _ = paths(site)

    async def visit(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        # Every tenth wants a page: 2,000 of those would take any machine of this size half a minute.
        path = css if number % 10 else "/login/"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer.split(b"\r\n", 1)[0]

    async def burst() -> None:
        answers.extend(await asyncio.gather(*(visit(number) for number in range(2000))))

    load = measure("burst of 2,000 connections", lambda load: run_loop(burst()), within=60, timeout=60)
    assert set(answers) == {b"HTTP/1.1 200 OK"}
    assert load.failures == []


def test_memory_exhausted_in_a_worker(site: Stack, measure) -> None:
    def grow(load: Load) -> None:
        with contextlib.suppress(requests.RequestException):
            answer = site.get("/pages/grow/700/")
            assert answer.status_code >= 500

    limit = site.container("web")["HostConfig"]["Memory"]
    assert limit == 512 << 20
    load = measure("memory exhausted in a worker", grow, within=60)
    assert len(load.problems) <= 60


def test_output_without_end_is_rotated(site: Stack, measure) -> None:
    def write(load: Load) -> None:
        line = "x" * 1000
        site.execute("web", "sh", "-c", f"yes {line} | head -c 2000000000 > /proc/1/fd/1")

    load = measure("2 GB of output", write, within=120)
    assert load.failures == []
    log = Path(site.container("web")["LogPath"]).parent
    sizes = helper("sh", "-c", "cat /logs/*-json.log* | wc -c", options=("-v", f"{log}:/logs:ro"))
    assert 10_000_000 < int(sizes) < 33_000_000


def test_one_request_is_found_in_all_logs(site: Stack) -> None:
    mark = uuid.uuid4().hex
    site.get(f"/pages/broken/?{mark}")
    site.get(f"/pages/who/?{mark}")
    lines = wait_for(lambda: [line for line in site.access_log() if mark in line["uri"]][1:] and site.access_log())
    (entry,) = [line for line in lines if line["uri"] == f"/pages/broken/?{mark}"]
    shown = site.make(f"logs{site.suffix}", REQUEST=entry["request_id"]).stdout
    lines = shown.splitlines()
    assert any("nginx" in line and json.dumps(entry["request_id"]) in line for line in lines), shown
    assert any(f"[{entry['request_id']}]" in line and "/pages/broken/" in line for line in lines), shown
    # The traceback's lines carry no id themselves.
    assert "RuntimeError: broken on purpose" in shown
    assert "/pages/who/" not in shown
    if site.kind == "uwsgi":
        assert re.search(rf"uwsgi \[{entry['request_id']}\] 500 GET \S+ in \d+ ms, [1-9]\d+ MB", shown), shown
    result = site.make(f"logs{site.suffix}", check=False, REQUEST="no-such-id")
    assert result.returncode
    assert "no line of a request no-such-id" in result.stderr
