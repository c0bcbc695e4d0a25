"""The engine itself is restarted: last of all, and only where RESTART_ENGINE=1 says that nobody else uses it."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import PREFIX, ROOT, Stack, copy_tree, run, wait_for
from lasting import light_load
from load import Load

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        os.environ.get("RESTART_ENGINE") != "1",
        reason="RESTART_ENGINE=1 allows to restart the engine, for all who use it",
    ),
]


@pytest.fixture
def sites(engine: None) -> Iterator[list[Stack]]:
    """Both production stacks, up, from a tree of their own."""
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-") as folder:
        copy_tree(Path(folder))
        stacks = [Stack(kind, Path(folder), f"{PREFIX}-{os.getpid()}-last-{kind}") for kind in ("prod", "uwsgi")]
        try:
            for stack in stacks:
                stack.set(UPLOAD_RATE="off")
                stack.make(f"up{stack.suffix}")
                stack.upload().raise_for_status()
            yield stacks
        finally:
            for stack in stacks:
                stack.remove()


def restart_engine() -> None:
    root = [] if os.geteuid() == 0 else ["sudo"]
    if Path("/run/systemd/system").is_dir():
        run(*root, "systemctl", "restart", "docker")
        return
    pid = int(Path("/var/run/docker.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or zombie(pid), 120, "the engine stops")
    run("make", "install-docker", cwd=ROOT)


def zombie(pid: int) -> bool:
    """Say whether the process has ended and waits for its parent to notice."""
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


def test_everything_comes_back_by_itself_after_the_engine_was_restarted(sites: list[Stack]) -> None:
    loads: list[Load] = [light_load(stack, timeout=15) for stack in sites]
    before = [sorted(stack.ids()) for stack in sites]
    try:
        for load in loads:
            load.__enter__()
        wait_for(lambda: all(load.counts["upload"] for load in loads), 60, "uploads before")
        began = time.monotonic()
        restart_engine()
        for stack in sites:
            wait_for(stack.answers, 120, f"{stack.kind} answers")
        back = time.monotonic()
        wait_for(lambda: time.monotonic() - max(load.problems[-1][0] for load in loads) > 3, 60, "no more failures")
    finally:
        for load in loads:
            load.stop()
    for stack, load, ids in zip(sites, loads, before, strict=True):
        failed, seconds, lost = len(load.problems), load.until_normal(began), load.lost()
        print(f"| {stack.kind} | engine restarted | {load.total + failed} | {failed} | {seconds:.1f} | {len(lost)} |")
        assert lost == []
        assert sorted(stack.ids()) == ids
        stack.upload().raise_for_status()
    assert back - began < 120
