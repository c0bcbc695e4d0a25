"""The pure parts of `make bench`: the kernel's accounting, ratios, tables and the picture."""

import copy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import cgroups
import report
import stacks
from repository import ROOT, run

V1 = "12:memory:/docker/abc\n11:cpuset:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"
V2 = "0::/system.slice/docker-abc.scope\n"
NOTHING = {"rps": None, "p50_ms": None, "p99_ms": None, "status": 413}


def served(rps: float, **more: Any) -> dict[str, Any]:
    rounds = {"rps": [rps, rps / 2, rps * 2], "p99_ms": [9.0, 18.0, 6.0]}
    return {"rps": rps, "p50_ms": 5.0, "p99_ms": 9.0, "errors": 0, "rounds": rounds, **more}


def stack(speed: float, *, tutorial: bool) -> dict[str, Any]:
    """Return what a run finds out about one stack: a complete one that meets each target."""
    page = served(1000 * speed, cpu_us={"web": 500.0, "nginx": 50.0, "db": 0.2})
    parts = {"bytes": 20e6, "pillow_memory": 100e6, "pillow": 0.5, "copy": 0.02, "sha256": 0.01, "search": 0.01}
    parts["checksums"] = 0.005
    small = served(10, status=201, web_memory=100e6, parts=parts | {"pillow_memory": 4e6})
    large = served(1, status=201, web_memory=205e6, parts=parts)
    middle = served(1, status=201, web_memory=150e6, parts=parts) | {"p50_ms": 530.0}
    found = {
        "pages": {path: copy.deepcopy(page) for path in ("page", "sign-in", "database", "media 200 KB")},
        "memory": {"idle": {"web": 50_000_000}, "loaded": {"web": 60_000_000}},
        "uploads": {"1 MB": small, "20 MB": middle, "100 MB": NOTHING if tutorial else large},
        "ready_seconds": 4.5,
        "concurrency": {"1": served(500), "10": served(900), "100": served(1000), "1000": served(950)},
        "visits": {
            "first": {"bytes": 13_000, "requests": 5},
            "second": {"bytes": 900, "static_requests": 0, "requests": 1},
        },
        "build": {"over_base": 70e6, "cold": 20 if tutorial else 8, "after_a_line": 0.5, "after_a_dependency": 4},
    }
    found["pages"] |= {"static": served(9500, cpu_us={"nginx": 30.0}), "media": served(9400, cpu_us={"nginx": 30.0})}
    if not tutorial:
        found["inprocess_us"] = {
            path: {"view": 300.0, "app": 400.0, "cold": 700.0} for path in ("page", "sign-in", "database")
        }
        found["pages"]["page"]["rounds"] |= {"web_over_view": [1.9, 1.0, 2.5], "web_over_cold": [1.1, 1.2, 1.3]}
        found["workers"] = {"1": served(900), "2": served(1500)}
    return found


@pytest.fixture
def results() -> dict[str, Any]:
    """A complete run in which each target is met."""
    machine = {
        "cpu": "CPU",
        "cores": 2,
        "memory": 2**34,
        "kernel": "6",
        "system": "Debian",
        "engine": "26",
        "cgroup": "2",
    }
    names = {name: stack(1 if tutorial else 2, tutorial=tutorial) for name, (_, tutorial) in stacks.NAMES.items()}
    run = {"date": "2026-01-02T03:04:05+00:00", "quick": False, "machine": machine, "connections": 32, "stacks": names}
    limits = {"memory": served(10_000), "memory_logged": served(9_900), "cores": {"one": 1000, "all": 1500}}
    limits["passed_on"] = served(9_000, cpu_us={"nginx": 40.0})
    limits["passed_on_as_pages"] = served(500, cpu_us={"nginx": 80.0})
    return run | {"limits": limits}


def ratio(results: dict[str, Any], end: str) -> dict[str, Any]:
    (found,) = [one for one in report.ratios(results) if one["name"] == f"gunicorn: {end}"]
    return found


def test_where_the_kernel_counts() -> None:
    root = Path("/root")
    assert cgroups.folders(V1, root) == {"cpu": root / "cpuacct/docker/abc", "memory": root / "memory/docker/abc"}
    both = root / "system.slice/docker-abc.scope"
    assert cgroups.folders(V2, root) == {"cpu": both, "memory": both}
    with pytest.raises(ValueError, match="no cpu accounting"):
        cgroups.folders("1:name=systemd:/docker/abc\n")


def test_both_versions_count_alike(tmp_path: Path) -> None:
    old, new = tmp_path / "v1", tmp_path / "v2"
    old.mkdir()
    new.mkdir()
    (old / "cpuacct.usage").write_text("1500000000\n")
    (old / "memory.usage_in_bytes").write_text("1000\n")
    (old / "memory.stat").write_text("cache 1\ninactive_file 1\ntotal_rss 600\ntotal_inactive_file 300\n")
    (new / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (new / "memory.current").write_text("1000\n")
    (new / "memory.stat").write_text("anon 600\nfile 400\ninactive_file 300\n")
    for folder in (old, new):
        assert cgroups.cpu(folder) == 1.5
        assert cgroups.memory(folder) == {"used": 700, "own": 600}


def test_a_run_that_meets_all(results: dict[str, Any]) -> None:
    assert [one["name"] for one in report.ratios(results) if one["met"] is not True] == []
    assert ratio(results, "upload of 20 MB without Pillow over a copy")["value"] == pytest.approx(1.5)
    assert ratio(results, "memory of web, upload of 100 MB beyond 1 MB")["value"] == pytest.approx(9)
    assert "NOT MET" not in report.text(results)
    assert "over the copy: gunicorn 2.25 x, uwsgi 2.25 x" in report.text(results)
    assert "with cold caches: gunicorn 1.20 x, uwsgi 1.20 x" in report.text(results)
    assert "as seldom as the page is answered: 500 (5.0, 9.0), 80 µs" in report.text(results)


def test_each_figure_can_miss_its_target(results: dict[str, Any]) -> None:
    one = results["stacks"]["gunicorn"]
    one["pages"]["page"] |= {"cpu_us": {"nginx": 61}}
    rounds = {"rps": [1600, 800, 3200], "p99_ms": [9.5, 19, 6.5], "web_over_view": [2.1, 1.0, 2.5]}
    one["pages"]["page"]["rounds"] = rounds
    for path in ("static", "media"):
        one["pages"][path]["rounds"]["rps"] = [8900, 4400, 17_500]
    one["visits"] = {
        "first": {"bytes": 14_001, "requests": 9},
        "second": {"bytes": 1, "requests": 2, "static_requests": 1},
    }
    one["uploads"]["20 MB"]["p50_ms"] = 541
    one["uploads"]["100 MB"]["web_memory"] += 12e6
    one["build"] = {"over_base": 81e6, "cold": 11, "after_a_line": 1.1, "after_a_dependency": 11}
    one["concurrency"]["1000"] |= {"errors": 1, "rounds": {"rps": [899, 449, 2300]}}
    missed = {one["name"] for one in report.ratios(results) if one["met"] is False}
    assert missed == {one["name"] for one in report.ratios(results) if one["name"].startswith("gunicorn: ")}
    assert report.text(results).count("NOT MET") == len(missed)


def test_what_was_not_measured_is_said(results: dict[str, Any]) -> None:
    for one in results["stacks"].values():
        one |= {"visits": None, "build": dict.fromkeys(one["build"])}
    assert ratio(results, "first visit to /admin/login/") == {
        "name": "gunicorn: first visit to /admin/login/",
        "value": None,
        "sense": "<=",
        "target": 14_000,
        "unit": "bytes",
        "met": None,
    }
    assert report.text(results).count("not measured") == 12
    ElementTree.fromstring(report.picture(results))  # noqa: S314


def test_the_tables_hold_each_stack(results: dict[str, Any]) -> None:
    text = report.text(results)
    assert "2 cores of CPU, 16 GiB, Docker 26, cgroup v2" in text
    assert "2,000 (5.0, 9.0)" in text
    assert "refused (413)" in text
    head = next(line for line in text.splitlines() if "tutorial-uwsgi" in line)
    assert head.split() == list(stacks.NAMES)


def test_the_picture_is_one(results: dict[str, Any]) -> None:
    results["machine"]["cpu"] = "<&>"
    drawing = ElementTree.fromstring(report.picture(results))  # noqa: S314
    bars = [node for node in drawing.iter() if node.tag.endswith("rect")]
    assert len(bars) == 4 * 4 + 1
    right = float(drawing.get("width"))
    assert all(float(bar.get("x")) + float(bar.get("width")) < right for bar in bars)
    page, tutorial = bars[:2]
    assert (page.get("class"), tutorial.get("class")) == ("ours", "theirs")
    assert float(page.get("width")) == 2 * float(tutorial.get("width"))


@pytest.mark.parametrize("size", [1024, 22_120, 5])
def test_the_memory_limit_answers_with_that_size(size: int) -> None:
    logged = stacks.logging((ROOT / "nginx/nginx.conf").read_text())
    config = stacks.memory_config(size, logged)
    assert config.count("log_format") == config.count("access_log /dev/stdout") == 1
    line = config.split('set $kilobyte "')[1].split('"')[0]
    body = config.split('return 200 "')[1].split('"')[0]
    assert len(body.replace("${kilobyte}", line)) == size


def test_quick_is_read_strictly() -> None:
    result = run(["bin/bench"], env={"QUICK": "yes"})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "bench: QUICK='yes' is unknown; use 0 or 1\n"
