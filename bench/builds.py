"""Images: their size over the base image, and how long their builds take."""

import json
import os
import re
import time
from pathlib import Path

from bench import run
from stacks import NAMES, Variant, project

# Any package that the app does not have: pinned with its hashes where the tests' own are.
DEPENDENCY = "iniconfig"


def arguments() -> list[str]:
    """Return the options that the Compose files give each build, so that their layers serve these builds too."""
    found = [f"{name}={os.environ.get(name, '')}" for name in ("PIP_INDEX_URL", "DEBIAN_MIRROR")]
    if os.environ.get("PYTHON_IMAGE"):
        found.append(f"PYTHON_IMAGE={os.environ['PYTHON_IMAGE']}")
    return [word for argument in found for word in ("--build-arg", argument)]


def size(image: str) -> int:
    """Return the bytes of an image, its base included."""
    return json.loads(run("docker", "image", "inspect", image).stdout)[0]["Size"]


def over_base(image: str, dockerfile: Path) -> int:
    """Return the bytes of an image without those of the base image that its Dockerfile names."""
    base = os.environ.get("PYTHON_IMAGE") or re.search(r"PYTHON_IMAGE=(\S+)", dockerfile.read_text())[1]
    return size(image) - size(base)


class Builder:
    """Builds web's image of one stack in a copy of the tree."""

    def __init__(self, name: str, folder: Path) -> None:
        self._folder = folder
        self.kind, self.tutorial = NAMES[name]
        self.target = "gunicorn" if self.kind == "prod" else "uwsgi"
        self.dockerfile = folder / (f"bench/{name}/Dockerfile" if self.tutorial else "app/Dockerfile.prod")
        self.image = f"{project('builds')}-{name}"

    def build(self, *options: str) -> float:
        """Build it; return the seconds."""
        target = [] if self.tutorial else ["--target", self.target]
        began = time.monotonic()
        command = ["docker", "build", "--tag", self.image, "--file", str(self.dockerfile), *arguments(), *target]
        run(*command, *options, str(self._folder / "app"), env=os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"})
        return time.monotonic() - began

    def after_a_line(self) -> float:
        """Build after one line of code has changed."""
        with (self._folder / "app/upload/views.py").open("a") as code:
            code.write(f"# {time.monotonic_ns()}\n")
        return self.build()

    def after_a_dependency(self) -> float:
        """Build after one more package is asked for."""
        pins = (self._folder / "tests/requirements.txt").read_text()
        block = re.search(rf"^{DEPENDENCY}==.*?(?=^\S)", pins, re.M | re.S)[0]
        path = self._folder / f"app/requirements/{self.target}.txt"
        before = path.read_text()
        # A comment makes it another one in each run, so that no layer of an earlier run fits.
        path.write_text(f"{before}{block}# {time.monotonic_ns()}\n")
        try:
            return self.build()
        finally:
            path.write_text(before)

    def cold(self) -> float:
        """Build with nothing but the base image: no layer, and a store of packages that is empty."""
        before = self.dockerfile.read_text()
        cold = before.replace("--mount=type=cache,", f"--mount=type=cache,id=bench-{time.monotonic_ns()},")
        self.dockerfile.write_text(cold)
        try:
            return self.build("--no-cache")
        finally:
            self.dockerfile.write_text(before)


def measure(stacks: list[Variant], folder: Path, *, quick: bool) -> dict[str, dict[str, float | None]]:
    """Return bytes over base and seconds by stack; the tutorials' and cold builds are left out where it is quick."""
    found = {}
    for stack in stacks:
        builder = Builder(stack.name, folder)
        if quick and builder.tutorial:
            found[stack.name] = dict.fromkeys(("over_base", "cold", "after_a_line", "after_a_dependency"))
            continue
        cold = None if quick else builder.cold()
        builder.build()
        found[stack.name] = {
            "over_base": over_base(builder.image, builder.dockerfile),
            "cold": cold,
            "after_a_line": min(builder.after_a_line() for _ in range(1 if quick or builder.tutorial else 3)),
            "after_a_dependency": builder.after_a_dependency(),
        }
    return found
