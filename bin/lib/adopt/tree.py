"""Writes into a project's folder so that it can be repeated and taken back: a file remembers what was written."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from files import Content
from project import Refused

STATE = ".adopted.json"
SECRET = ("secrets", "backups")
# In the stacks' folder, of a stack that was started: not made by adopt, and not the project's.
MADE_SINCE = (*SECRET, ".run", "compose/nginx/ssl", "certbot/authority")
BEGIN, END = "# >>> make adopt >>>", "# <<< make adopt <<<"
SECTION = re.compile(rf"\n?{re.escape(BEGIN)}\n(.*?){re.escape(END)}\n", re.S)

Ask = Callable[[str], bool]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def find_state(folder: Path) -> Path | None:
    """Return the file that an earlier run has left in one of the project's folders."""
    found = sorted(folder.glob(f"*/{STATE}"))
    return found[0] if found else None


def load(path: Path | None) -> dict[str, Any]:
    """Return what was written by earlier runs: the sums of files, and which folders and sections were made."""
    if path is None:
        return {"files": {}, "folders": [], "sections": {}}
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return {"files": dict(state["files"]), "folders": list(state["folders"]), "sections": dict(state["sections"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise Refused(f"{path} is damaged, and without it nobody knows what is yours: take it back from git") from None


def git(folder: Path, *words: str) -> str | None:
    """Return what git prints in this folder, or None where there is no git or no repository."""
    command = ["git", "-C", str(folder), "-c", "safe.directory=*", *words]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return None
    return None if result.returncode else result.stdout


def left_by_undo(there: Path, written: set[str]) -> list[str] | None:
    """Return what is foreign in a folder that an undo has left, besides files by the names that are written; or None.

    None: it was not left by an undo, which leaves one only with passwords or backups, hidden from git.
    """
    hidden = there / ".gitignore"
    if there.is_symlink() or not any((there / name).is_dir() for name in SECRET) or not hidden.is_file():
        return None
    if not all(f"/{name}/" in hidden.read_text(errors="replace").splitlines() for name in SECRET):
        return None
    found = []
    for path in sorted(there.rglob("*")):
        name = path.relative_to(there).as_posix()
        made_since = name.startswith(tuple(f"{one}/" for one in MADE_SINCE)) or "__pycache__/" in name
        if not made_since and (path.is_symlink() or not path.is_dir()):
            found.append(name)
    return [name for name in found if name not in written]


def refuse_dirty(folder: Path, state: dict[str, Any], state_file: Path | None, own: str) -> None:
    """Raise Refused if git knows of changes in this folder that are not of an earlier run, or left by its undo.

    own: the stacks' folder, which is the project's from the first run on.
    """
    status = git(folder, "status", "--porcelain", "-z", "--untracked-files=all", ".")
    prefix = git(folder, "rev-parse", "--show-prefix")
    if status is None or prefix is None:
        return
    ours = {*state["files"], *state["sections"]}
    if state_file:
        ours.add(state_file.relative_to(folder).as_posix())
    changed = [line[3:].removeprefix(prefix.strip()) for line in status.split("\0") if line]
    ignored = folder / ".dockerignore"
    if ignored.is_file() and BEGIN in ignored.read_text(encoding="utf-8", errors="replace"):
        ours.add(".dockerignore")
    foreign = [path for path in changed if path not in ours]
    if state_file is None:
        foreign = [path for path in foreign if not path.startswith(f"{own}/")]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise Refused(f"{folder} has changes that are not committed ({foreign[0]}{more}): commit or stash them first")


def without_section(text: str) -> str:
    return SECTION.sub("", text)


class Tree:
    """A project's folder, and what this and earlier runs have written there."""

    def __init__(self, folder: Path, own: str, state: dict[str, Any], ask: Ask, say: Callable[[str], None]) -> None:
        self.folder, self.own, self.state, self.ask, self.say = folder, own, state, ask, say
        self.writes: dict[str, Content] = {}
        self.removes: list[str] = []

    def content(self, path: str) -> bytes | None:
        target = self.folder / path
        if target.is_symlink() or (target.exists() and not target.is_file()):
            raise Refused(f"{target} is no plain file: move it away")
        return target.read_bytes() if target.exists() else None

    def plan(self, files: dict[str, Content], sections: dict[str, str]) -> None:
        """Find out what has to be written; whatever would overwrite a change of yours is asked for. Writes nothing."""
        known = self.state["files"]
        for path, (new, mode) in files.items():
            there = self.content(path)
            written = known.get(path)
            if there is None:
                self.say(f"  new      {path}")
                self.writes[path] = (new, mode)
            elif there == new:
                pass
            elif digest(there) == written:
                self.say(f"  update   {path}")
                self.writes[path] = (new, mode)
            elif digest(new) == written:
                self.say(f"  yours    {path}")  # changed by its owner alone
            elif self.ask(f"{path} was changed here, and there is a new version: overwrite it?"):
                self.say(f"  replace  {path}")
                self.writes[path] = (new, mode)
            else:
                self.say(f"  kept     {path}")
            known[path] = digest(new)
        for path in [path for path in known if path not in files]:
            there = self.content(path)
            if there is not None and digest(there) == known[path]:
                self.say(f"  remove   {path}")
                self.removes.append(path)
            del known[path]
        for path, lines in sections.items():
            self.plan_section(path, lines)

    def plan_section(self, path: str, lines: str) -> None:
        """Put these lines between two marks at the end of a file that may be there already."""
        there = self.content(path)
        text = "" if there is None else there.decode()
        if path not in self.state["sections"]:
            text = SECTION.sub(self.outlived, text)
        before = without_section(text).encode()
        # What stands before the mark has to end a line; undo takes away what was added for that.
        gap = "" if not before else "\n" if before.endswith(b"\n") else "\n\n"
        new = before + f"{gap}{BEGIN}\n{lines}{END}\n".encode()
        # As it was before the first run, which is what undo goes back to.
        first = {"made": not before and there != b"", "ended": not before or before.endswith(b"\n")}
        self.state["sections"].setdefault(path, first)
        if new == there:
            return
        self.say(f"  {'lines   ' if there is not None else 'new     '} {path}")
        self.writes[path] = (new, (self.folder / path).stat().st_mode & 0o777 if there is not None else 0o644)

    def outlived(self, section: re.Match[str]) -> str:
        """Return what stays of a section that an undo has left: its lines, if they hide what another folder keeps."""
        others = [name for name in re.findall(r"(?m)^([\w-]+)/\*$", section[1]) if name != self.own]
        if any((self.folder / name / kept).is_dir() for name in others for kept in SECRET):
            return f"\n{section[1]}"
        return section[0]

    def write(self) -> None:
        """Write what was planned; the state comes first, so that whatever ends this half-way can be taken back."""
        try:
            for path in [f"{self.own}/{STATE}", *self.writes]:
                for parent in reversed((self.folder / path).relative_to(self.folder).parents):
                    if str(parent) != "." and not (self.folder / parent).exists():
                        (self.folder / parent).mkdir()
                        self.state["folders"].append(str(parent))
            state = json.dumps(self.state, indent=1, sort_keys=True) + "\n"
            self.put(f"{self.own}/{STATE}", state.encode(), 0o644)
            for path, (content, mode) in self.writes.items():
                self.put(path, content, mode)
            for path in self.removes:
                (self.folder / path).unlink(missing_ok=True)
        except OSError as error:
            raise Refused(f"{error.filename}: {error.strerror}; UNDO=1 takes back what was written") from None

    def put(self, path: str, content: bytes, mode: int) -> None:
        """Write a file whole or not at all."""
        target = self.folder / path
        # Under a name that nobody has.
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            partial.chmod(mode)
            partial.replace(target)
        except OSError as error:
            partial.unlink()
            raise OSError(error.errno, error.strerror, str(target)) from None

    def undo(self, dry: bool) -> None:
        """Take back what was written; what was changed since is asked for, and what the stacks have made stays.

        As long as passwords or backups are left, so does what keeps them out of git and out of images.
        """
        secret = [name for name in SECRET if (self.folder / self.own / name).is_dir()]
        for path, written in self.state["files"].items():
            if secret and path == f"{self.own}/.gitignore":
                self.say(f"  kept     {path}, and the lines in .dockerignore, because of {' and '.join(secret)}")
                continue
            there = self.content(path)
            if there is None:
                continue
            if digest(there) != written and not self.ask(f"{path} was changed since: delete it?"):
                self.say(f"  kept     {path}")
                continue
            self.say(f"  remove   {path}")
            if not dry:
                (self.folder / path).unlink()
        for path, how in self.state["sections"].items() if not secret else ():
            there = self.content(path)
            if there is None or BEGIN not in there.decode():
                continue
            text = without_section(there.decode())
            if text == "" and how["made"]:
                self.say(f"  remove   {path}")
                if not dry:
                    (self.folder / path).unlink()
                continue
            self.say(f"  lines    {path}")
            if not how["ended"]:
                text = text.removesuffix("\n")
            if not dry:
                self.put(path, text.encode(), (self.folder / path).stat().st_mode & 0o777)
        if dry:
            return
        (self.folder / self.own / STATE).unlink()
        # Its own is not among them where an earlier undo had left it.
        for folder in sorted({*self.state["folders"], self.own}, key=len, reverse=True):
            path = self.folder / folder
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        for path in sorted((self.folder / self.own).glob("*")):
            self.say(f"  kept     {path.relative_to(self.folder)}, which was not made by `make adopt`")
