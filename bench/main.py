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
import sys
import tempfile
import time
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
from stacks import NAMES, Tools, Variant, project

RESULTS = ROOT / "bench/results"
CONNECTIONS = 32
CONCURRENCY = (1, 10, 100, 1000)
WORKERS = (1, 2, 4)
# In megabytes: as large as the static file that is measured, and the issue of a photo that was made small.
PICTURES = {"picture": 0.0215, "large": 0.195}

# The limit of each kind of file: only media is logged.
MEMORY = {"static": ("memory", "http://memory/"), "media": ("memory_logged", "http://memory/logged")}


class Plan(NamedTuple):
    """How long and how often."""

    quick: bool
    seconds: float
    rounds: int
    # Of the pages and files alone, which most ratios are about.
    page_rounds: int


def say(what: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {what}", flush=True)


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


def under_load(stack: Variant, tools: Tools, path: str, connections: int, seconds: float) -> dict[str, Any]:
    """Load one path of a stack; return what wrk found, and what each container spent on a request."""
    return spent(stack.containers(), tools, f"http://{stack.address()}{path}", connections, seconds)


def spent(
    containers: Containers, tools: Tools, url: str, connections: int, seconds: float, rate: float | None = None
) -> dict[str, Any]:
    """Load an address; return what wrk found, and what each of these containers spent on a request."""
    before = containers.cpu()
    found = tools.load(url, connections, seconds, rate)
    used = {service: seconds - before[service] for service, seconds in containers.cpu().items()}
    return found | {"cpu_us": {name: seconds / max(1, found["requests"]) * 1e6 for name, seconds in used.items()}}


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
    # What is first opened, read or compiled is no part of what a request costs.
    for stack in stacks:
        tools.load(f"http://{stack.address()}/", CONNECTIONS, 1)
    for turn in range(plan.page_rounds):
        say(f"pages and files, round {turn + 1} of {plan.page_rounds}")
        order = stacks[turn % len(stacks) :] + stacks[: turn % len(stacks)]
        for path in stacks[0].paths:
            for stack in order:
                one = under_load(stack, tools, stack.paths[path], CONNECTIONS, plan.seconds)
                found.setdefault((stack.name, path), []).append(one)
            # Right after what is compared with it.
            if path in MEMORY:
                limit, address = MEMORY[path]
                limits.setdefault(limit, []).append(tools.load(address, CONNECTIONS, plan.seconds))
            if path == "page":
                for stack in (stack for stack in order if not stack.tutorial):
                    named = {name: stack.paths[name] for name in ("page", "sign-in", "database")}
                    cost = stack.inprocess("pages", str(plan.seconds), *named.values())
                    inside.setdefault(stack.name, []).append({name: cost[path] for name, path in named.items()})
        passing = (tools.containers, tools, "http://passing/", CONNECTIONS, plan.seconds)
        page = statistics.median(found[stack.name, "page"][-1]["rps"] for stack in stacks if not stack.tutorial)
        limits.setdefault("passed_on", []).append(spent(*passing))
        limits.setdefault("passed_on_as_pages", []).append(spent(*passing, rate=page))
        limits.setdefault("cores", []).append(stacks[0].inprocess("cores", str(plan.seconds)))
    for (name, path), runs in found.items():
        results["stacks"][name].setdefault("pages", {})[path] = middle(runs)
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
        say(f"the page with more connections, round {turn + 1} of {plan.rounds}")
        for stack in measured:
            for connections in CONCURRENCY:
                # With so many each waits for a second: a short run would mostly see how it begins.
                seconds = plan.seconds * (3 if connections >= 100 and not plan.quick else 1)
                settle(stacks)
                one = under_load(stack, tools, "/", connections, seconds)
                found[stack.name].setdefault(str(connections), []).append(one)
    for name, runs in found.items():
        results["stacks"][name]["concurrency"] = {connections: middle(each) for connections, each in runs.items()}


def workers(stacks: list[Variant], tools: Tools, plan: Plan, results: dict[str, Any]) -> None:
    """Load the page with more and more workers; the stacks are left with the last number."""
    for stack in (stack for stack in stacks if not stack.tutorial):
        found = results["stacks"][stack.name]["workers"] = {}
        for count in WORKERS:
            if plan.quick and count > 1:
                continue
            say(f"{stack.name} with {count} workers")
            stack.workers(count)
            tools.load(f"http://{stack.address()}/", CONNECTIONS, 1)
            found[str(count)] = under_load(stack, tools, "/", CONNECTIONS, plan.seconds)


def used(stack: Variant) -> dict[str, int]:
    return {service: amount["used"] for service, amount in stack.containers().memory().items()}


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
        results["stacks"][stack.name] |= {"ready_seconds": ready, "memory": {"idle": used(stack)}}
    size = len(stacks[0].get(stacks[0].paths["static"], headers={"Accept-Encoding": "identity"}).content)
    tools = Tools(folder, stacks, size)
    pages(stacks, tools, plan, results)
    for stack in stacks:
        results["stacks"][stack.name]["memory"]["loaded"] = used(stack)
    if visits.missing():
        say(f"left out, the visits of a browser: {visits.missing()}")
        visited = dict.fromkeys(NAMES)
    else:
        say("a browser's visits")
        visited = visits.measure({stack.name: f"{stack.url}/admin/login/" for stack in stacks})
    concurrency(stacks, tools, plan, results)
    say("uploads")
    sent = uploads.measure(stacks, 1 if plan.quick else 3)
    workers(stacks, tools, plan, results)
    say("images and builds")
    built = builds.measure(stacks, folder, quick=plan.quick)
    for name, found in results["stacks"].items():
        found |= {"visits": visited[name], "uploads": sent[name], "build": built[name]}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for the JSON and the SVG")
    parser.add_argument("--quick", action="store_true", help="what QUICK=1 means")
    parser.add_argument("--draw", type=Path, metavar="JSON", help="print and draw an earlier run anew")
    arguments = parser.parse_args()
    if arguments.draw:
        write(json.loads(arguments.draw.read_text()), arguments.draw.parent, arguments.draw.stem)
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
        for kind in ("prod", "uwsgi"):
            # Limits on what one client may do would be all that is measured; an upload of 100 MB has to be taken.
            limits = {"UPLOAD_RATE": "off", "LOGIN_RATE": "off", "MAX_UPLOAD_MB": "128"}
            next(stack for stack in stacks if stack.kind == kind).set(**limits)
        results = measure(stacks, folder, plan)
    finally:
        for name in (project("tools"), *(stack.project for stack in stacks), project("builds")):
            remove_project(name)
        shutil.rmtree(folder)
    results["took_seconds"] = round(time.monotonic() - began)
    write(results, arguments.results, f"{datetime.now():%Y-%m-%d-%H%M%S}{'-quick' if quick else ''}")


def write(results: dict[str, Any], folder: Path, name: str) -> None:
    """Work out the ratios, write JSON and SVG, print the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    results["ratios"] = report.ratios(results)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    (folder / f"{name}.svg").write_text(report.picture(results))
    print(report.text(results))
    print(f"\nWritten: {folder / name}.json and .svg")


if __name__ == "__main__":
    # `kill` ends like Ctrl-C: what was started is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except (AssertionError, OSError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
