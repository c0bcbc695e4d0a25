"""Images: their size over the base image, and how long their builds take."""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import run
from stacks import Variant, project

FIGURES = ("over_base", "cold", "cold_packages", "after_a_line", "after_a_dependency")
# Any package that the app does not have: pinned with its hashes where the tests' own are.
DEPENDENCY = "iniconfig"


def pull(images: set[str]) -> None:
    """Pull the images that the engine has not, by name: builds fetch what they are built on without naming it.

    SystemExit with one line where that fails.
    """
    for image in sorted(images):
        if run("docker", "image", "inspect", image, check=False).returncode:
            pulled = run("docker", "pull", "--quiet", image, check=False)
            if pulled.returncode:
                why = (pulled.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise SystemExit(f"bench: there is no base image {image}, and it can't be pulled: {why}")


def size(image: str) -> int:
    """Return the bytes of an image, its base included."""
    return json.loads(run("docker", "image", "inspect", image).stdout)[0]["Size"]


class Builder:
    """Builds web's image of one stack in a copy of the tree."""

    def __init__(self, stack: Variant, folder: Path) -> None:
        self._folder = folder
        self.name, self.tutorial = stack.name, stack.tutorial
        self._target = "gunicorn" if stack.kind == "prod" else "uwsgi"
        self._dockerfile = folder / (f"bench/{stack.name}/Dockerfile" if stack.tutorial else "app/Dockerfile.prod")
        self._image = f"{project('builds')}-{stack.name}"
        self._arguments = stack.build_arguments()
        # What BuildKit said of the last build.
        self._progress = ""

    def prepare(self) -> None:
        """Build what the image is built on, where that is no base image of this repository's own."""
        if " AS full\n" in self._dockerfile.read_text():
            run(*self._command(f"{self._image}-full", "full"), str(self._folder / "app"))
            self._arguments["FULL_IMAGE"] = f"{self._image}-full"

    def _command(self, image: str, target: str) -> list[str]:
        given = [word for name, value in self._arguments.items() for word in ("--build-arg", f"{name}={value}")]
        chosen = ["--target", target] if target else []
        return ["docker", "build", "--tag", image, "--file", str(self._dockerfile), *given, *chosen]

    def build(self, *options: str) -> float:
        """Build it; return the seconds."""
        command = self._command(self._image, "" if self.tutorial else self._target)
        began = time.monotonic()
        settings = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "BUILDKIT_PROGRESS": "plain"}
        self._progress = run(*command, *options, str(self._folder / "app"), env=os.environ | settings).stderr
        return time.monotonic() - began

    def packages(self) -> float:
        """Return the seconds in which the last build downloaded, compiled and installed packages."""
        return seconds_of(self._progress, "apt-get install", "pip --python")

    def over_base(self) -> int:
        """Return the bytes of its image without those of this repository's base image."""
        return size(self._image) - size(self._arguments["PYTHON_IMAGE"])

    def after_a_line(self) -> float:
        """Build after one line of code has changed; return the seconds."""
        self.build()
        with (self._folder / "app/upload/views.py").open("a") as code:
            code.write(f"# {time.monotonic_ns()}\n")
        return self.build()

    def after_a_dependency(self) -> float:
        """Build after one more package is asked for; return the seconds."""
        pins = (self._folder / "tests/requirements.txt").read_text()
        block = re.search(rf"^{DEPENDENCY}==.*?(?=^\S)", pins, re.M | re.S)[0]
        once = time.monotonic_ns()
        # What is copied from a builder is the same as in an earlier build, byte for byte, and so would be the layer
        # after it; a comment is enough for the builder's own.
        copied = re.compile(r"(?m)^(COPY --from=\S*builder .*\nRUN )")
        with (
            edited(self._folder / f"app/requirements/{self._target}.txt", lambda text: f"{text}{block}# {once}\n"),
            edited(self._dockerfile, lambda text: copied.sub(rf"\g<1>: {once} && ", text)),
        ):
            return self.build()

    def cold(self) -> float:
        """Build with nothing but the base image, no layer and no downloaded package; return the seconds."""
        once = f"--mount=type=cache,id=bench-{time.monotonic_ns()},"
        with edited(self._dockerfile, lambda text: text.replace("--mount=type=cache,", once)):
            return self.build("--no-cache")


def seconds_of(progress: str, *words: str) -> float:
    """Return the seconds of the longest stage's RUN steps that have one of these words, from BuildKit's plain output.

    Stages that are independent run at the same time.
    """
    stages: dict[str, float] = {}
    # A step is announced anew where lines of another came between.
    for number, stage, command in set(re.findall(r"(?m)^#(\d+) \[(\S+) +\d+/\d+\] RUN (.*)", progress)):
        done = re.search(rf"(?m)^#{number} DONE ([\d.]+)s", progress)
        if done and any(word in command for word in words):
            stages[stage] = stages.get(stage, 0) + float(done[1])
    return max(stages.values(), default=0)


@contextlib.contextmanager
def edited(path: Path, edit: Callable[[str], str]) -> Iterator[None]:
    """Change a file while it is entered."""
    before = path.read_text()
    path.write_text(edit(before))
    try:
        yield
    finally:
        path.write_text(before)


def measure(stacks: list[Variant], folder: Path, *, quick: bool) -> dict[str, dict[str, float | None]]:
    """Return bytes over base and the best of the rounds' seconds by stack, the stacks in turn.

    The tutorials' and cold builds are left out where it is quick. cold_packages are the seconds of a cold build in
    which packages are installed: what no order of the steps can save.
    """
    kinds = ("after_a_line", "after_a_dependency") if quick else ("cold", "after_a_line", "after_a_dependency")
    builders = [Builder(stack, folder) for stack in stacks if not (quick and stack.tutorial)]
    found: dict[str, dict[str, float | None]] = {stack.name: dict.fromkeys(FIGURES) for stack in stacks}
    for builder in builders:
        builder.prepare()
    for _ in range(1 if quick else 2):
        for kind in kinds:
            for builder in builders:
                taken = {kind: getattr(builder, kind)()}
                if kind == "cold" and not builder.tutorial:
                    taken["cold_packages"] = builder.packages()
                for figure, seconds in taken.items():
                    best = found[builder.name][figure]
                    found[builder.name][figure] = seconds if best is None else min(best, seconds)
        builders.reverse()
    for builder in builders:
        builder.build()
        found[builder.name]["over_base"] = builder.over_base()
    return found
