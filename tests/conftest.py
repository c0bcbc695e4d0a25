"""What all tests share: whether there is a Docker Engine, what was left out, and an orderly end."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from repository import ROOT, run

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
# Where a skip would hide that something was not tested, such as in CI.
REQUIRED = os.environ.get("REQUIRE_ENGINE") == "1"


@cache
def trouble() -> str:
    """Return why no Docker Engine can be used here, in one line, or nothing where it can."""
    # Not the clean environment: where the engine is may be said by any of Docker's own variables.
    return run(["bin/need-engine"], env=dict(os.environ)).stderr.strip()


def pytest_configure(config: pytest.Config) -> None:
    # `kill` and a cancelled CI job end like Ctrl-C: fixtures take down what they started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # In the background a shell ignores Ctrl-C, and what inherits that cannot change it: tests that send it would fail.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker Engine that answers; the test is skipped where there is none."""
    if trouble():
        pytest.skip(f"no engine: {trouble()}")


@pytest.fixture(scope="session")
def docker_compose() -> list[str]:
    """The command that runs Compose, for what it does without an engine; skipped where it is not installed."""
    if not shutil.which("docker") or run(["docker", "compose", "version"]).returncode:
        pytest.skip("no client: `docker compose` is not installed; `make install-docker` installs it")
    return ["docker", "compose"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs an engine before any of its fixtures begins."""
    needy = [
        item
        for item in items
        if "engine" in getattr(item, "fixturenames", ()) or item.path.is_relative_to(ROOT / "tests/stack")
    ]
    if needy and trouble():
        for item in needy:
            item.add_marker(pytest.mark.skip(reason=f"no engine: {trouble()}"))


# Outermost, to see what pytest's own skipping makes of a report.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return forbid_skip(report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return forbid_skip(report)


def forbid_skip(report: Report) -> Report:
    """With REQUIRE_ENGINE=1 make a skip a failure, so that exit code and closing line say it."""
    if REQUIRED and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ENGINE=1 allows no skip, and this was one: {reason_of(report)}"
    return report


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


# Outermost, so that it is said after all else; pytest's closing line comes after it.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Say what was left out, why, and how to run it."""
    yield
    skipped = Counter(
        (str(Path(report.nodeid.split("::")[0]).parent), reason_of(report))
        for report in terminalreporter.stats.get("skipped", [])
    )
    if not skipped:
        return
    terminalreporter.section("left out")
    for (folder, reason), count in skipped.items():
        terminalreporter.line(f"{count} of {folder}: {reason}")
    if any(reason.startswith(("no engine", "no client")) for _, reason in skipped):
        terminalreporter.line("To run them: make install-docker base-images test")
