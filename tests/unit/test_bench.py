"""The bench itself: what is left out is said, and where nothing may be left out, it is a failure."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from repository import ROOT, clean_environment, run

# The plugins of the bench are of no use to these tests of tests, and slow to load.
BARE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent"}
TESTS = """
import pytest

def test_passes():
    pass

@pytest.mark.skipif("True", reason="no such thing here")
def test_skips():
    pass
"""
STACK_TESTS = """
import pytest

@pytest.fixture
def stack():
    raise RuntimeError("must not start without an engine")

@pytest.mark.parametrize("number", range(3))
def test_stack(stack, number):
    pass
"""

Bench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with tests of its own, and this one's conftest.py."""
    for name in ("tests/conftest.py", "tests/repository.py", "bin/need-engine"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npythonpath = tests\naddopts = --import-mode=importlib -p no:django\n"
    )
    for name, content in (("unit", TESTS), ("stack", STACK_TESTS)):
        (tmp_path / "tests" / name).mkdir()
        (tmp_path / "tests" / name / "test_one.py").write_text(content)
    return tmp_path


@pytest.fixture
def bench(repository: Path) -> Bench:
    def start(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return run([sys.executable, "-m", "pytest", *arguments], env={**BARE, **NO_ENGINE, **variables}, cwd=repository)

    return start


def test_what_is_left_out_is_said_at_the_end(bench: Bench) -> None:
    result = bench()
    assert result.returncode == 0, result.stdout
    *_, stack, unit, how, closing = filter(None, result.stdout.splitlines())
    assert stack.startswith("3 of tests/stack: no engine: ")
    assert "make install-docker" in stack
    assert unit == "1 of tests/unit: no such thing here"
    assert how == "To run them: make install-docker base-images test"
    assert " 1 passed, 4 skipped in " in closing


def test_nothing_is_said_where_nothing_is_left_out(bench: Bench) -> None:
    result = bench("-k", "passes")
    assert result.returncode == 0
    assert "left out" not in result.stdout


def test_where_nothing_may_be_left_out_each_skip_fails(bench: Bench) -> None:
    result = bench(REQUIRE_ENGINE="1")
    assert result.returncode == 1
    assert result.stdout.count("REQUIRE_ENGINE=1 allows no skip, and this was one: no engine: ") == 3
    assert "REQUIRE_ENGINE=1 allows no skip, and this was one: no such thing here" in result.stdout
    closing = result.stdout.splitlines()[-1]
    assert "skipped" not in closing
    assert "1 passed" in closing


def test_a_whole_file_that_skips_itself_fails_as_well(repository: Path, bench: Bench) -> None:
    (repository / "tests/unit/test_two.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    assert bench("-k", "passes or two").returncode == 0
    assert bench("-k", "passes or two", REQUIRE_ENGINE="1").returncode != 0


def test_bin_test_demands_the_engine_before_anything_else() -> None:
    result = run(["bin/test", "tests/unit"], env={**NO_ENGINE, "REQUIRE_ENGINE": "1"})
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "make install-docker" in result.stderr


def test_exit_code_is_pytests(bench: Bench, repository: Path) -> None:
    (repository / "tests/unit/test_two.py").write_text("def test_fails():\n    assert False\n")
    assert bench().returncode == 1
    assert bench("-k", "no_such_test").returncode == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_cleans_up(repository: Path, number: int) -> None:
    (repository / "tests/unit/test_two.py").write_text("""
import pathlib, signal, pytest

@pytest.fixture
def thing():
    pathlib.Path("thing").touch()
    yield
    pathlib.Path("thing").unlink()

def test_slow(thing):
    signal.pause()
""")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-k", "slow"],
        cwd=repository,
        env={**clean_environment(), **BARE},
        stdout=subprocess.PIPE,
        # As from a terminal: a shell's background job ignores Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        text=True,
    )
    deadline = time.monotonic() + 30
    while not (repository / "thing").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert not (repository / "thing").exists()
