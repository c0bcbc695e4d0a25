"""`make bench` runs, and what it writes is complete."""

import json
import statistics
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import ROOT, run
from stacks import NAMES

# A busy machine may take longer than the bench promises: whether it is fast is not asked here.
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
PAGES = {"page", "sign-in", "database", "static", "media", "media 200 KB"}


def test_a_quick_run_is_complete(tmp_path: Path) -> None:
    output = run("bin/bench", "--quick", "--results", str(tmp_path), cwd=ROOT, timeout=1400).stdout
    (path,) = tmp_path.glob("*.json")
    results = json.loads(path.read_text())
    assert results["quick"]
    # It ends with an error then; this says so where that is forgotten.
    assert results["failed"] == {}
    assert set(results["machine"]) >= {"cpu", "cores", "memory", "kernel", "engine", "storage", "cgroup"}
    limits = results["limits"]
    assert limits["passed_on"]["cpu_us"]["nginx"] > 0
    assert limits["passed_on_as_pages"]["cpu_us"]["nginx"] > 0
    # wrk pauses: as many requests a second as pages, or fewer where the machine is slow.
    rate = statistics.median(results["stacks"][name]["pages"]["page"]["rps"] for name in ("gunicorn", "uwsgi"))
    assert limits["passed_on_as_pages"]["rps"] < 1.1 * rate < limits["passed_on"]["rps"]
    assert min(limits[kind]["rps"] for kind in ("memory", "memory_logged", "file", "file_logged")) > 0
    assert sum(limits[kind]["errors"] for kind in ("memory", "memory_logged", "file", "file_logged")) == 0
    assert min(limits["cores"]["one"], limits["cores"]["all"]) > 0
    assert set(results["stacks"]) == set(NAMES)
    for name, stack in results["stacks"].items():
        assert set(stack["pages"]) == PAGES
        for page in stack["pages"].values():
            assert page["rps"] > 0
            assert page["errors"] == 0
            assert page["p50_ms"] <= page["p99_ms"]
            assert page["cpu_us"]["nginx"] > 0
            assert 0 <= page["idle"] <= 1
            assert 0 <= page["steal"] <= 1
        assert stack["pages"]["page"]["cpu_us"]["web"] > 0
        assert {"web", "nginx", "db"} <= set(stack["memory"]["idle"]) == set(stack["memory"]["loaded"])
        assert set(stack["uploads"]) == {"1 MB", "20 MB", "100 MB"}
        assert stack["uploads"]["1 MB"]["p50_ms"] > 0
        # 100m are 4.9 MB more than 100 MB; the second tutorial takes 10m.
        assert stack["uploads"]["100 MB"]["status"] == (413 if name == "tutorial-uwsgi" else 201)
        assert stack["ready_seconds"] > 0
        assert stack["visits"]["first"]["requests"] > 1
        assert set(stack["build"]) == {"over_base", "cold", "cold_packages", "after_a_line", "after_a_dependency"}
        if not NAMES[name][1]:
            upload = stack["uploads"]["20 MB"]
            assert upload["parts"]["copy"] > 0
            assert upload["rounds"] == {"p50_ms": [upload["p50_ms"]], "parts": [upload["parts"]]}
            assert stack["uploads"]["100 MB"]["parts"]["pillow_memory"] > 90_000_000
            assert set(stack["concurrency"]) == {"1", "10", "100", "1000"}
            assert "workers" not in stack
            assert set(stack["inprocess_us"]) == {"page", "sign-in", "database"}
            # Which of both is more is a question of time: a quick look at a busy machine may see either.
            assert all(min(cost["view"], cost["app"], cost["cold"]) > 0 for cost in stack["inprocess_us"].values())
            assert stack["build"]["over_base"] > 0
    # What QUICK leaves out is null, and nothing else.
    assert {ratio["name"] for ratio in results["ratios"] if ratio["met"] is None} == {
        "gunicorn: cold build over the tutorial's",
        "uwsgi: cold build over the tutorial's",
        "gunicorn: page, over the tutorial's with a connection for each request",
        "uwsgi: page, over the tutorial's with a connection for each request",
    }
    for ratio in results["ratios"]:
        assert ratio["name"] in output
    assert ElementTree.fromstring(path.with_suffix(".svg").read_text()).tag.endswith("svg")  # noqa: S314
    assert run("docker", "ps", "--all", "--filter", "name=-bench-", "--format", "{{.Names}}").stdout == ""
