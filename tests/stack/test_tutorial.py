"""Every command of the tutorial and of the README, in order, in a fresh clone, word for word.

So with the default names and ports: where a stack of somebody's has them, this is skipped.
"""

import json
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench import LABEL, PREFIX, copy_tree, remove_project, run
from repository import ROOT, clean_environment
from tutorial import Excerpt, Mismatch, Prose, Runner, pages, parse

# Each project with the pattern of its images' names and its ports.
PROJECTS = {
    "django-on-docker": ("web", (8000,)),
    "django-on-docker-prod": ("*", (1337, 1443)),
    "django-on-docker-uwsgi": ("*", (1338, 1444)),
}
STANDALONE, STANDALONE_PORT = "hello_django-standalone", 8006
# What each track starts; the README starts all.
USES = {
    "gunicorn": ("django-on-docker", "django-on-docker-prod"),
    "uwsgi": ("django-on-docker-uwsgi",),
    "README": tuple(PROJECTS),
}
# What the README starts, and where it answers.
STARTED = (("prod", 1337), ("uwsgi", 1338), ("dev", 8000))
# One module-scoped clone after the other.
STEPS = [(track, path) for track in ("gunicorn", "uwsgi") for path in pages(track)]


@dataclass
class Clone:
    """A fresh clone, what its commands have printed, and the page that failed."""

    folder: Path
    printed: list[str] = field(default_factory=list)
    failed: str = ""

    def follow(self, path: Path, first: int = 0, last: int | None = None) -> None:
        """Run a page's commands from one line to another; after a failure, fail at once."""
        if self.failed:
            pytest.fail(f"{self.failed} failed, and this page goes on from there", pytrace=False)
        self.failed = path.name
        page = parse(path)
        environment = clean_environment() | {"UP_TIMEOUT": "500"}
        trouble = ""
        with Runner(self.folder, self.printed.append, environment, seconds=500) as runner:
            for command in page.commands:
                if command.line < first or (last and command.line >= last):
                    continue
                try:
                    runner.run(page, command)
                except Mismatch as mismatch:
                    trouble = str(mismatch)
                    break
        if trouble:
            pytest.fail(trouble, pytrace=False)
        self.failed = ""


def in_use(projects: Iterable[str]) -> str:
    """Return what has the names or ports that these projects use, in a few words, or nothing."""
    ports = [STANDALONE_PORT]
    for project in projects:
        ports += PROJECTS[project][1]
        for kind, listing in (("containers", ["ps", "--all"]), ("volumes", ["volume", "ls"])):
            if run("docker", *listing, "--quiet", "--filter", f"label={LABEL}={project}").stdout:
                return f"there are {kind} of the project {project}"
    if run("docker", "ps", "--all", "--quiet", "--filter", f"name=^{STANDALONE}$").stdout:
        return f"there is a container {STANDALONE}"
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return f"port {port} is taken"
    return ""


def fresh_clone(projects: Iterable[str]) -> Iterator[Clone]:
    """Clone the working tree, what is not committed included; afterwards remove all that was started from it."""
    if trouble := in_use(projects):
        pytest.skip(f"the tutorial needs its own names and ports, and {trouble}")
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-") as name:
        source, folder = Path(name) / "source", Path(name) / "django-on-docker"
        source.mkdir()
        copy_tree(source)
        git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")
        run(*git, "init", "--quiet", cwd=source)
        run(*git, "add", "--all", cwd=source)
        run(*git, "commit", "--quiet", "--message", "As it is", cwd=source)
        run("git", "clone", "--quiet", str(source), str(folder))
        try:
            yield Clone(folder)
        finally:
            run("docker", "rm", "--force", "--volumes", STANDALONE, check=False)
            run("docker", "image", "rm", "--force", STANDALONE, check=False)
            for project in projects:
                remove_project(project, PROJECTS[project][0])


@pytest.fixture(scope="module")
def clone(request: pytest.FixtureRequest) -> Iterator[Clone]:
    """One clone for all pages of a track."""
    yield from fresh_clone(USES[request.param])


@pytest.mark.parametrize(
    ("clone", "path"), STEPS, indirect=["clone"], scope="module", ids=[f"{track}-{path.stem}" for track, path in STEPS]
)
def test_page(clone: Clone, path: Path) -> None:
    clone.follow(path)


# --- The README ---


# The same fixture, so that what the tutorial has started is gone by then.
of_readme = pytest.mark.parametrize("clone", ["README"], indirect=True, scope="module")


def reference() -> int:
    """Return the line at which the README's reference part begins."""
    return (ROOT / "README.md").read_text().splitlines().index("## Reference") + 1


@of_readme
def test_readme_start(clone: Clone) -> None:
    """Both languages have the same commands: tests/config/test_tutorial.py compares them."""
    clone.follow(ROOT / "README.md", last=reference())
    printed = "".join(clone.printed).splitlines()
    prose = "".join(part.text for part in parse(ROOT / "README.md").parts if isinstance(part, Prose))
    promised = re.findall(r"`((?:\w+ is up: )?http://localhost:\d+)`", prose)
    assert {f"{stack} is up: http://localhost:{port}" for stack, port in STARTED} <= set(promised)
    for line in set(promised) - {"http://localhost:1337", "http://localhost:1338"}:
        assert line in printed, f"README.md promises `{line}`"


@of_readme
def test_readme_reference(clone: Clone) -> None:
    """The upload from a program: what it says it prints has those keys and kinds of values."""
    shutil.copy(ROOT / "docs/images/phone.png", clone.folder / "cat.png")
    run("make", "up-prod", cwd=clone.folder, env=clean_environment() | {"UP_TIMEOUT": "500"})
    clone.printed.clear()
    clone.follow(ROOT / "README.md", first=reference())
    answer = json.loads("".join(clone.printed))
    shown = [
        part.text for part in parse(ROOT / "README.md").parts if isinstance(part, Excerpt) and part.language == "json"
    ]
    example = json.loads(shown[0])
    assert {key: type(answer.get(key)) for key in example} == {key: type(value) for key, value in example.items()}
    assert answer["name"] == "cat.png"
