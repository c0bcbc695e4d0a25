"""`make bench`: measure this repository's stacks, the tutorials' settings and this machine's limits, in one run.

Writes bench/results/DATE.json and .svg and prints tables. QUICK=1 takes less than 3 minutes and is for a first look.
"""

import argparse
import json
import operator
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import builds
import report
import uploads
import visits
from bench import PREFIX, ROOT, copy_tree, remove_leftovers, remove_project, run, wait_for
from cgroups import Containers
from load import noise_png
from report import at
from stacks import NAMES, Tools, Variant, project

RESULTS = ROOT / "bench/results"
CONNECTIONS = 32
CONCURRENCY = (1, 10, 100, 1000)
WORKERS = (1, 2, 4)
# In megabytes: as large as the static file that is measured, and the issue of a photo that was made small.
PICTURES = {"picture": 0.0215, "large": 0.195}
# What somebody's own settings could change between the stacks, or break; None: the default.
SETTINGS = {
    "UPLOAD_RATE": "off",  # limits on what one client may do would be all that is measured
    "LOGIN_RATE": "off",
    "MAX_UPLOAD_MB": "128",
    "UPLOAD_REQUIRES_LOGIN": None,
    "TLS": "off",
    "DJANGO_ALLOWED_HOSTS": "localhost 127.0.0.1 [::1]",
    "TRUSTED_PROXIES": None,
    "WEB_CONCURRENCY": None,
    "GUNICORN_THREADS": None,
    "UWSGI_THREADS": None,
}

# The limits of each kind of file, only media is logged: from memory, and from a file by an nginx that does no more.
LIMITS = {
    "static": {"memory": "http://memory/", "file": "http://memory/file"},
    "media": {"memory_logged": "http://memory/logged", "file_logged": "http://memory/logged/file"},
}


class Plan(NamedTuple):
    """How long and how often."""

    quick: bool
    seconds: float
    rounds: int
    # Of the pages and files alone, which most ratios are about.
    page_rounds: int


def say(what: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {what}", flush=True)


def attempt(failed: dict[str, str], phase: str, call: Callable[[], Any]) -> Any:
    """Return what a phase returns; None, with a line that says why, where it fails: the others are measured still."""
    say(phase)
    try:
        return call()
    except Exception as error:
        # Of what a program says, the last line tells most.
        lines = [line.strip()[:250] for line in str(error).splitlines() if line.strip()]
        failed[phase] = f"{type(error).__name__}: {' ... '.join(dict.fromkeys(lines[:1] + lines[-1:]))}"
        say(f"FAILED: {phase}: {failed[phase]}")
        return None


def machine() -> dict[str, Any]:
    """Describe the machine and its engine, without any name that is only its own."""
    info = json.loads(run("docker", "info", "--format", "{{json .}}").stdout)
    cpus = Path("/proc/cpuinfo").read_text().split("model name\t: ")
    return {
        "cpu": cpus[1].splitlines()[0] if len(cpus) > 1 else platform.machine(),
        "cores": info["NCPU"],
        "memory": info["MemTotal"],
        "kernel": info["KernelVersion"],
        "system": info["OperatingSystem"],
        "engine": info["ServerVersion"],
        "storage": info["Driver"],
        "cgroup": info["CgroupVersion"],
    }


def used(containers: Containers) -> dict[str, int]:
    return {service: amount["used"] for service, amount in containers.memory().items()}


def most(runs: list[dict[str, int]]) -> dict[str, int]:
    """Return the most of each service over the rounds."""
    return {service: max(one[service] for one in runs) for service in runs[0]}


def under_load(
    stack: Variant, tools: Tools, path: str, connections: int, seconds: float, *, memory: bool = False
) -> dict[str, Any]:
    """Load one path of a stack; return what wrk found, and what each container spent on a request.

    Where memory is asked for, what each uses in the middle of it as well.
    """
    containers, halfway = stack.containers(), {}
    timer = threading.Timer(seconds / 2, lambda: halfway.update(memory=used(containers)))
    if memory:
        timer.start()
    found = spent(containers, tools, f"http://{stack.address()}{path}", connections, seconds)
    if memory:
        timer.join()
    return found | halfway


def spent(
    containers: Containers, tools: Tools, url: str, connections: int, seconds: float, rate: float | None = None
) -> dict[str, Any]:
    """Load an address; return what wrk found, and what each of these containers spent on a request."""
    before = containers.cpu()
    found = tools.load(url, connections, seconds, rate)
    each = {service: seconds - before[service] for service, seconds in containers.cpu().items()}
    # wrk leaves a request behind on each connection, and what serves them is at work on those until they are answered.
    answered = found["requests"] + (0 if rate else connections)
    return found | {"cpu_us": {name: seconds / answered * 1e6 for name, seconds in each.items()}}


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure over the rounds, all errors together, and what the rounds are compared by."""
    together = {}
    for key in runs[0]:
        values = [one[key] for one in runs]
        if key == "cpu_us":
            together[key] = middle(values)
        else:
            together[key] = sum(values) if key == "errors" else statistics.median(values)
    if "rps" in together:
        together["rounds"] = {key: [one[key] for one in runs] for key in ("rps", "p99_ms")}
    return together


def pages(stacks: list[Variant], tools: Tools, plan: Plan, results: dict[str, Any]) -> None:
    """Load each path of each stack, interleaved: a noisy moment meets all of them."""
    found: dict[tuple[str, str], list[dict]] = {}
    limits: dict[str, list[dict]] = {}
    inside: dict[str, list[dict]] = {}
    memory: dict[str, list[dict]] = {}
    for turn in range(plan.page_rounds):
        say(f"  round {turn + 1} of {plan.page_rounds}")
        if turn:
            # One process is faster than another of the same, from its start on: each round has others.
            all_at_once([*stacks, tools], lambda one: one.again())
        # What is first opened, read or compiled is no part of what a request costs.
        for stack in stacks:
            for path in ("page",) if plan.quick else ("page", "sign-in", "database"):
                tools.load(f"http://{stack.address()}{stack.paths[path]}", CONNECTIONS, 1)
        for path in stacks[0].paths:
            measured: list[Variant | str] = [*stacks, *LIMITS.get(path, {})]
            for one in in_turn(measured, turn):
                # A quick look has no time for it.
                if not plan.quick:
                    settle(stacks)
                if isinstance(one, str):
                    address = LIMITS[path][one]
                    limits.setdefault(one, []).append(tools.load(address, CONNECTIONS, plan.seconds))
                    continue
                words = (one, tools, one.paths[path], CONNECTIONS, plan.seconds)
                loaded = under_load(*words, memory=path == "page")
                if path == "page":
                    memory.setdefault(one.name, []).append(loaded.pop("memory"))
                found.setdefault((one.name, path), []).append(loaded)
            if path == "page":
                for stack in (stack for stack in in_turn(stacks, turn) if not stack.tutorial):
                    named = {name: stack.paths[name] for name in ("page", "sign-in", "database")}
                    cost = stack.inprocess("pages", str(plan.seconds), *named.values())
                    inside.setdefault(stack.name, []).append({name: cost[path] for name, path in named.items()})
        passing = (tools.containers, tools, "http://passing/page", CONNECTIONS, plan.seconds)
        page = statistics.median(found[stack.name, "page"][-1]["rps"] for stack in stacks if not stack.tutorial)
        limits.setdefault("passed_on", []).append(spent(*passing))
        limits.setdefault("passed_on_as_pages", []).append(spent(*passing, rate=page))
        limits.setdefault("cores", []).append(stacks[0].inprocess("cores", str(plan.seconds)))
    for (name, path), runs in found.items():
        results["stacks"][name].setdefault("pages", {})[path] = middle(runs)
    for name, runs in memory.items():
        results["stacks"][name]["memory"]["loaded"] = most(runs)
    for name, runs in inside.items():
        results["stacks"][name]["inprocess_us"] = {
            path: {kind: statistics.median(one[path][kind] for one in runs) for kind in costs}
            for path, costs in runs[0].items()
        }
        web = [one["cpu_us"]["web"] for one in found[name, "page"]]
        for kind in ("view", "cold"):
            over = list(map(operator.truediv, web, [one["page"][kind] for one in runs]))
            results["stacks"][name]["pages"]["page"]["rounds"][f"web_over_{kind}"] = over
    results["limits"] = {name: middle(runs) for name, runs in limits.items()}


def in_turn(what: list[Any], turn: int) -> list[Any]:
    """Return them in this round's order, which changes: each second one is that before it, backwards."""
    first = turn // 2 % len(what)
    order = what[first:] + what[:first]
    return order[::-1] if turn % 2 else order


def all_at_once(what: list[Any], call: Callable[[Any], None]) -> None:
    """Call this with each of them, all at the same time, and wait for all."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(call, what))


def settle(stacks: list[Variant]) -> None:
    """Wait until the stacks have nothing left to do: wrk leaves as many requests behind as it had connections."""
    every = [stack.containers() for stack in stacks]

    def idle() -> bool:
        before = sum(sum(containers.cpu().values()) for containers in every)
        time.sleep(0.2)
        return sum(sum(containers.cpu().values()) for containers in every) - before < 0.02

    wait_for(idle, 60, "the stacks are idle")


def concurrency(stacks: list[Variant], tools: Tools, plan: Plan, results: dict[str, Any]) -> None:
    """Load the page with more and more connections, all of them in each round."""
    measured = [stack for stack in stacks if not (plan.quick and stack.tutorial)]
    found: dict[str, dict[str, list[dict]]] = {stack.name: {} for stack in measured}
    for turn in range(plan.rounds):
        say(f"  round {turn + 1} of {plan.rounds}")
        counts = CONCURRENCY[:: -1 if turn % 2 else 1]
        for stack in in_turn(measured, turn):
            for connections in counts:
                # With so many each waits for a second: a short run would mostly see how it begins.
                seconds = plan.seconds * (3 if connections >= 100 and not plan.quick else 1)
                settle(stacks)
                one = under_load(stack, tools, "/", connections, seconds)
                found[stack.name].setdefault(str(connections), []).append(one)
    keep(results, "concurrency", found)


def keep(results: dict[str, Any], what: str, found: dict[str, dict[str, list[dict]]]) -> None:
    """Keep the medians of the rounds by stack and count."""
    for name, runs in found.items():
        results["stacks"][name][what] = {count: middle(each) for count, each in runs.items()}


def workers(stacks: list[Variant], tools: Tools, plan: Plan, results: dict[str, Any]) -> None:
    """Load the page with each number of workers in each round, in an order that changes; the default is left."""
    ours = [stack for stack in stacks if not stack.tutorial]
    found: dict[str, dict[str, list[dict]]] = {stack.name: {str(count): [] for count in WORKERS} for stack in ours}

    try:
        for turn in range(plan.rounds):
            say(f"  round {turn + 1} of {plan.rounds}")
            for count in WORKERS[turn % len(WORKERS) :] + WORKERS[: turn % len(WORKERS)]:
                all_at_once(ours, lambda stack, count=count: stack.web(WEB_CONCURRENCY=str(count)))
                ours.reverse()
                for stack in ours:
                    tools.load(f"http://{stack.address()}/", CONNECTIONS, 1)
                for stack in ours:
                    settle(stacks)
                    found[stack.name][str(count)].append(under_load(stack, tools, "/", CONNECTIONS, plan.seconds))
    finally:
        all_at_once(ours, lambda stack: stack.web(WEB_CONCURRENCY=None))
    keep(results, "workers", found)


def new_connections(stacks: list[Variant], tools: Tools, plan: Plan, results: dict[str, Any]) -> None:
    """Load the page while the tutorials' stacks connect to the database anew for each request, as theirs did."""
    tutorials = [stack for stack in stacks if stack.tutorial]
    found: dict[str, list[dict]] = {stack.name: [] for stack in stacks}
    try:
        all_at_once(tutorials, lambda stack: stack.web(BENCH_SETTINGS="tutorial_settings"))
        for turn in range(plan.rounds):
            say(f"  round {turn + 1} of {plan.rounds}")
            if turn:
                all_at_once(stacks, lambda stack: stack.again())
            for stack in stacks:
                tools.load(f"http://{stack.address()}/", CONNECTIONS, 1)
            for stack in in_turn(stacks, turn):
                settle(stacks)
                found[stack.name].append(under_load(stack, tools, "/", CONNECTIONS, plan.seconds))
    finally:
        all_at_once(tutorials, lambda stack: stack.web(BENCH_SETTINGS=None))
    for name, runs in found.items():
        results["stacks"][name]["new_connections"] = middle(runs)


def measure(stacks: list[Variant], folder: Path, plan: Plan) -> dict[str, Any]:
    """Start everything, measure it, return the results without the ratios."""
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": plan.quick,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "page_rounds": plan.page_rounds,
        "connections": CONNECTIONS,
        "machine": machine(),
        "stacks": {stack.name: {} for stack in stacks},
    }
    pictures = {name: noise_png(size, seed=1) for name, size in PICTURES.items()}
    stacks[0].make("secrets")
    for stack in stacks:
        stack.compose("build")
    for stack in stacks:
        ready = stack.begin()
        say(f"{stack.name} answers {ready:.1f} s after its volumes were empty")
        stack.seed(pictures)
        results["stacks"][stack.name] |= {"ready_seconds": ready, "memory": {"idle": used(stack.containers())}}
    sizes = {
        path: len(stacks[0].get(stacks[0].paths[path], headers={"Accept-Encoding": "identity"}).content)
        for path in ("static", "page")
    }
    results["page_bytes"] = sizes["page"]
    tools = Tools(folder, stacks, sizes["static"], sizes["page"])
    failed = results["failed"] = {}
    attempt(failed, "pages and files", lambda: pages(stacks, tools, plan, results))
    visited = None
    if visits.missing():
        say(f"left out, the visits of a browser: {visits.missing()}")
    else:
        urls = {stack.name: f"{stack.url}/admin/login/" for stack in stacks}
        visited = attempt(failed, "a browser's visits", lambda: visits.measure(urls))
    attempt(failed, "the page with more connections", lambda: concurrency(stacks, tools, plan, results))
    if not plan.quick:
        attempt(failed, "the page with more workers", lambda: workers(stacks, tools, plan, results))
        phase = "the page, the tutorials' with a database connection for each request"
        attempt(failed, phase, lambda: new_connections(stacks, tools, plan, results))
    sent = attempt(failed, "uploads", lambda: uploads.measure(stacks, 1 if plan.quick else 3))
    built = attempt(failed, "images and builds", lambda: builds.measure(stacks, folder, quick=plan.quick))
    for name, found in results["stacks"].items():
        found |= {"visits": at(visited, name), "uploads": at(sent, name), "build": at(built, name)}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for the JSON and the SVG")
    parser.add_argument("--quick", action="store_true", help="what QUICK=1 means")
    parser.add_argument("--draw", type=Path, metavar="JSON", help="print and draw an earlier run anew")
    arguments = parser.parse_args()
    if arguments.draw:
        show(json.loads(arguments.draw.read_text()), arguments.draw)
        return
    quick = arguments.quick or os.environ.get("QUICK") == "1"
    plan = Plan(quick=True, seconds=1, rounds=1, page_rounds=1) if quick else Plan(False, 2, 3, 5)
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
    stacks = []
    began = time.monotonic()
    try:
        copy_tree(folder)
        stacks = [Variant(name, folder) for name in NAMES]
        for stack in stacks:
            stack.set(**SETTINGS)
        builds.pull(set().union(*(stack.base_images() for stack in stacks)))
        results = measure(stacks, folder, plan)
        results["took_seconds"] = round(time.monotonic() - began)
        results["ratios"] = report.ratios(results)
        arguments.results.mkdir(parents=True, exist_ok=True)
        path = arguments.results / f"{datetime.now():%Y-%m-%d-%H%M%S}{'-quick' if quick else ''}.json"
        path.write_text(json.dumps(results, indent=2) + "\n")
    finally:
        # First what is in all networks; the others at once.
        remove_project(project("tools"))
        with ThreadPoolExecutor() as pool:
            list(pool.map(remove_project, [project("builds"), *(stack.project for stack in stacks)]))
        shutil.rmtree(folder)
    show(results, path)
    if results["failed"]:
        sys.exit(f"bench: failed, and so not measured: {', '.join(results['failed'])}")


def show(results: dict[str, Any], path: Path) -> None:
    """Draw the picture beside the JSON, print the tables."""
    picture = path.with_suffix(".svg")
    picture.write_text(report.picture(results))
    print(report.text(results))
    print(f"\nWritten: {path} and {picture.name}")


if __name__ == "__main__":
    # `kill` ends like Ctrl-C: what was started is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
