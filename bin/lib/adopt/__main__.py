"""Brings the stacks to an existing Django project, shows that first, or takes it back. bin/adopt calls this."""

import keyword
import os
import re
import shlex
import sys
from pathlib import Path

from files import FOLDER, ignored, made_for
from project import Project, Refused, read
from tree import STATE, Tree, find_state, left_by_undo, load, refuse_dirty

REPOSITORY = Path(__file__).resolve().parents[3]


def flag(name: str) -> bool:
    """Return whether NAME=1 was given."""
    value = os.environ.get(name, "")
    if value not in ("", "0", "1"):
        raise Refused(f"{name}={value} is neither 0 nor 1")
    return value == "1"


def ask(question: str) -> bool:
    """Return whether to do it: YES=1 and a person who types "yes" say so."""
    if flag("YES"):
        return True
    if flag("DRY_RUN"):
        print(f"  will ask: {question}")
        return False
    if not sys.stdin.isatty():
        print(f"  no: {question} Nobody is there to ask; YES=1 answers.")
        return False
    return input(f"{question} Type yes: ").strip() == "yes"


def destination() -> Path:
    """Return the folder that DEST names."""
    given = os.environ.get("DEST", "")
    if not given:
        raise Refused("DEST is missing; write: make adopt DEST=../mysite")
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise Refused(f"DEST={given} is no folder")
    if folder == REPOSITORY or folder in REPOSITORY.parents or REPOSITORY in folder.parents:
        raise Refused(f"DEST={given} is this repository, or around or within it: name the folder of your own project")
    return folder


def name_of_own(folder: Path, state_file: Path | None, project: Project) -> str:
    """Return the name of the folder for all that the project gets."""
    given = os.environ.get("FOLDER", "")
    if state_file:
        if given not in ("", state_file.parent.name):
            raise Refused(f"{folder} has the stacks in {state_file.parent.name}/ already: UNDO=1 before another FOLDER")
        return state_file.parent.name
    own = given or FOLDER
    if not own.replace("-", "_").isidentifier() or keyword.iskeyword(own):
        raise Refused(f"FOLDER={own} is no plain name; write letters, digits and _")
    # What UNDO has left is taken up again: passwords belong to their data.
    there = folder / own
    if there.exists():
        written = {path.removeprefix(f"{own}/") for path in made_for(project, REPOSITORY, own, makefile=False)}
        foreign = left_by_undo(there, written)
        if foreign is None:
            raise Refused(f"{there} is there already: name another, FOLDER=docker")
        if foreign:
            raise Refused(
                f"{there} is there already, with passwords that UNDO=1 has left: move {foreign[0]} away from there"
            )
    return own


def adopt(folder: Path) -> None:
    state_file = find_state(folder)
    state = load(state_file)
    project = read(folder, os.environ.get("SETTINGS", ""), os.environ.get("REQUIREMENTS", ""))
    own = name_of_own(folder, state_file, project)
    refuse_dirty(folder, state, state_file, own)
    where = "" if str(project.manage) == "." else f" in {project.manage}/"
    lists = ", ".join(map(str, project.requirements)) or "none listed"
    print(f"{folder}: settings {project.settings}, in production {project.production}{where}")
    print(f"requirements: {lists}; Python {project.python}")
    print(f"nginx will serve static files at {project.static_url}, uploads at {project.media_url}")
    theirs = any((folder / name).exists() for name in ("Makefile", "GNUmakefile", "makefile"))
    makefile = "Makefile" in state["files"] or not theirs
    tree = Tree(folder, own, state, ask, print)
    tree.plan(made_for(project, REPOSITORY, own, makefile), {".dockerignore": ignored(project, own)})
    if flag("DRY_RUN"):
        print("DRY_RUN=1: nothing was written.")
        return
    tree.write()
    make = "make" if makefile else f"make -C {own}"
    print(f"{len(tree.writes)} files written. What is left to do:")
    for note in dict.fromkeys(project.notes):
        print(f"  - {note}")
    print(f"  - cd {shlex.quote(str(folder))} && {make} up-prod    (up-uwsgi, up; {own}/README.md)")
    print(f'  - {make} manage-prod ARGS="check --deploy"')
    print("  - commit it: no secret is in it. UNDO=1 takes it all back.")


def undo(folder: Path) -> None:
    state_file = find_state(folder)
    if state_file is None:
        raise Refused(f"{folder} has nothing to undo: there is no {STATE} in a folder of it")
    dry = flag("DRY_RUN")
    names = [re.search(r"(?m)^name: (.*)$", path.read_text()) for path in state_file.parent.glob("docker-compose*.yml")]
    started = (state_file.parent / "secrets").exists()
    Tree(folder, state_file.parent.name, load(state_file), ask, print).undo(dry)
    print("DRY_RUN=1: nothing was changed." if dry else "Taken back.")
    for name in sorted(match[1] for match in names if match and started):
        print(f"If it still runs: docker compose -p {name} down")


def main() -> None:
    try:
        folder = destination()
        if flag("UNDO"):
            undo(folder)
        else:
            adopt(folder)
    except Refused as refused:
        sys.exit(f"adopt: {' '.join(str(refused).split())}")
    except OSError as error:
        sys.exit(f"adopt: {error.filename}: {error.strerror}")
    except UnicodeDecodeError as error:
        sys.exit(f"adopt: a file in DEST is no text: {error.reason}")
    except KeyboardInterrupt:
        sys.exit(130)


main()
