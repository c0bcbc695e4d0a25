"""install-requirements.py PYTHON FILE...: install a project's requirements, or what a stack adds to them, into PYTHON.

Needs pip. FILE is a requirements file of yours, or pyproject.toml, of which [project] dependencies is taken.
With --beside, FILE is a lock with hashes, and of it only what PYTHON does not have yet is installed: your versions win.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

# What the upload page of the repository that this comes from needs; yours says itself whether it has pictures.
NOT_NEEDED = {"pillow"}


def pip(python: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run pip for another Python; what it prints to standard error is seen."""
    command = [sys.executable, "-m", "pip", "--python", python, *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  # the Dockerfile's own words


def plain(name: str) -> str:
    """Return a distribution's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def install(python: str, *words: str) -> None:
    """Install, or end with pip's own message and exit status."""
    result = pip(python, "install", *words)
    print(result.stdout, end="")
    if result.returncode:
        sys.exit(result.returncode)


def dependencies(path: Path) -> Path:
    """Return a requirements file with what pyproject.toml lists."""
    declared = tomllib.loads(path.read_text(encoding="utf-8"))
    if declared.get("tool", {}).get("uv", {}).get("sources"):
        # pip would take packages of the same names from the index.
        export = "uv export --no-dev --no-emit-project --no-hashes -o requirements.txt"
        sys.exit(f"install-requirements: {path} has [tool.uv.sources], which pip does not read: `{export}` instead")
    listed = declared.get("project", {}).get("dependencies")
    if not listed:
        sys.exit(f"install-requirements: {path} has no [project] dependencies")
    target = path.with_name("pyproject-requirements.txt")
    target.write_text("\n".join(listed) + "\n", encoding="utf-8")
    return target


def unsuited(python: str, names: Iterable[str]) -> dict[str, str]:
    """Return those of these packages whose own requirements are not met, each with pip's line about it."""
    lines = pip(python, "check").stdout.splitlines()
    return {name: line for line in lines for name in names if plain(line.split()[0]) == name}


def beside(python: str, lock: Path) -> None:
    """Install what the lock has and PYTHON has not, in versions that suit what is there."""
    listed = json.loads(pip(python, "list", "--format=json").stdout)
    there = {plain(found["name"]): found["version"] for found in listed}
    blocks = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", lock.read_text(encoding="utf-8")))
    locked = {plain(re.split("[ =]", block)[0]): block for block in blocks if block.strip()}
    added = {name: block for name, block in locked.items() if name not in there and name not in NOT_NEEDED}
    target = lock.with_name(f"missing-{lock.name}")
    target.write_text("\n".join(added.values()) + "\n", encoding="utf-8")
    # Without --no-deps pip would ask for hashes of your packages too. What these depend on is in the lock as well.
    install(python, "--no-deps", "--require-hashes", "-r", str(target))
    if names := unsuited(python, added):
        # The lock is made for its own Django: for another one pip chooses, and yours stays what it is.
        print("\n".join(["Not the locked version, which does not suit your requirements:", *names.values()]))
        target.write_text("".join(f"{name}=={version}\n" for name, version in there.items()), encoding="utf-8")
        install(python, "--constraint", str(target), *names)
        for line in unsuited(python, added).values():
            sys.exit(f"install-requirements: your requirements do not suit the stack: {line}")


def main() -> None:
    given, *words = sys.argv[1:]
    # pip wants a path.
    python = shutil.which(given) or given
    if words[0] == "--beside":
        beside(python, Path(words[1]))
        return
    files = [Path(word) for word in words]
    files = [dependencies(path) if path.name == "pyproject.toml" else path for path in files]
    install(python, *(word for path in files for word in ("-r", str(path))))


main()
