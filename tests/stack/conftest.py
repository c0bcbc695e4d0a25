"""Real stacks on a real engine: each is started once a run, from a copy of the working tree, with names of its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import PREFIX, ProcessWatch, Stack, copy_tree, remove_leftovers, wait_for
from lasting import remove_lasting_stacks


@pytest.fixture(scope="session")
def tree() -> Iterator[Path]:
    """A copy of the working tree without anything that git ignores, as a fresh clone would be."""
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
    copy_tree(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def make_stack(tree: Path, request: pytest.FixtureRequest) -> Iterator:
    """Return a function that makes a stack which is not started: make_stack("prod", "slow")."""
    stacks: list[Stack] = []

    def make(kind: str, purpose: str = "main", *, own_tree: bool = False) -> Stack:
        folder = tree
        if own_tree:
            folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
            copy_tree(folder)
            request.addfinalizer(lambda: shutil.rmtree(folder))
        stack = Stack(kind, folder, f"{PREFIX}-{os.getpid()}-{purpose}-{kind}")
        stacks.append(stack)
        return stack

    yield make
    for stack in stacks:
        stack.remove()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Remove the stacks for long tests after the last of those."""
    later = item.session.items[item.session.items.index(item) + 1 :]
    if hasattr(item.module, "lasting_stack") and not any(hasattr(each.module, "lasting_stack") for each in later):
        remove_lasting_stacks()


@pytest.fixture(scope="session")
def started(make_stack) -> dict[str, Stack]:
    """The main stacks that have been started so far, by kind."""
    return {}


def start_once(kind: str, started: dict[str, Stack], make_stack) -> Stack:
    if kind not in started:
        started[kind] = make_stack(kind)
        started[kind].start()
    # The first test says what went wrong; the others need not try again.
    assert started[kind].up, f"{kind} did not start"
    return started[kind]


@pytest.fixture
def dev(started, make_stack) -> Stack:
    """The development stack, up."""
    return start_once("dev", started, make_stack)


@pytest.fixture
def prod(started, make_stack) -> Stack:
    """The Postgres and Gunicorn stack, up."""
    return start_once("prod", started, make_stack)


@pytest.fixture
def uwsgi(started, make_stack) -> Stack:
    """The MySQL and uWSGI stack, up."""
    return start_once("uwsgi", started, make_stack)


@pytest.fixture(params=["prod", "uwsgi"])
def stack(request, started, make_stack) -> Stack:
    """Each production stack in turn, up."""
    return start_once(request.param, started, make_stack)


@pytest.fixture(scope="session")
def rigged_stacks() -> dict[str, Stack]:
    """The rigged stacks that have been started so far, by kind."""
    return {}


@pytest.fixture(params=["prod", "uwsgi"])
def rigged(request: pytest.FixtureRequest, rigged_stacks: dict[str, Stack], make_stack) -> Iterator[Stack]:
    """Each production stack in turn with pages for tests, short limits and trusted proxies; tests may break it."""
    yield from lend(start_rigged(request.param, rigged_stacks, make_stack))


@pytest.fixture
def rigged_uwsgi(rigged_stacks: dict[str, Stack], make_stack) -> Iterator[Stack]:
    """The rigged uWSGI stack."""
    yield from lend(start_rigged("uwsgi", rigged_stacks, make_stack))


@pytest.fixture
def rigged_prod(rigged_stacks: dict[str, Stack], make_stack) -> Iterator[Stack]:
    """The rigged Gunicorn stack."""
    yield from lend(start_rigged("prod", rigged_stacks, make_stack))


def start_rigged(kind: str, rigged_stacks: dict[str, Stack], make_stack) -> Stack:
    if kind not in rigged_stacks:
        stack = make_stack(kind, "rigged", own_tree=True)
        rig(stack)
        stack.make("secrets")
        rigged_stacks[kind] = stack
        with ProcessWatch() as watch:
            stack.start()
        stack.seen = watch.seen
    assert rigged_stacks[kind].up, f"the rigged {kind} did not start"
    return rigged_stacks[kind]


def lend(stack: Stack) -> Iterator[Stack]:
    """Yield the stack; afterwards start what has been stopped."""
    yield stack
    if len(stack.ids()) < {"prod": 3, "uwsgi": 4}[stack.kind]:
        stack.compose("up", "--detach", "--no-build")
    wait_for(stack.answers, 120, f"{stack.kind} answers again")


def rig(stack: Stack) -> None:
    """Change the stack's tree, as its user would: settings in the env file, and pages of tests/stack/pages.py."""
    app = stack.folder / "app/hello_django"
    shutil.copy(Path(__file__).with_name("pages.py"), app / "pages.py")
    with (app / "urls.py").open("a") as urls:
        urls.write("\nfrom hello_django.pages import pages\n\nurlpatterns += pages\n")
    stack.set(
        REQUEST_TIMEOUT="10",
        TRUSTED_PROXIES="10.0.0.0/8 172.16.0.0/12 192.168.0.0/16",
        LOGIN_RATE="off",
        UPLOAD_RATE="off",
    )


@pytest.fixture
def restored(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that stops or changes services of a main stack: bring it back to how `make up` leaves it."""
    yield
    for stack in request.getfixturevalue("started").values():
        if stack.up:
            stack.start()


@pytest.fixture(scope="session", autouse=True)
def _buildkit() -> None:
    """Fail early and clearly where the engine can't build."""
    subprocess.run(["docker", "buildx", "version"], check=True, capture_output=True)
