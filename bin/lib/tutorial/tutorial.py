"""The pages of docs/tutorial: what is on them, and running it. bin/lib/tutorial/walk.py and the tests share this.

A ```sh block of a page is a command; a ```text block right after it is what it prints, with ... for what varies.
Words after `sh` are marks: background, fails, reader, answers="yes|no". They are explained in CONTRIBUTING.md.
"""

import codecs
import contextlib
import os
import pty
import re
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# What a make that runs this tells those that it starts, and what only the walker itself is asked.
NOT_PASSED_ON = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "YES", "TRACK", "PAGE"}
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
QUIET_SECONDS = 0.5


@dataclass(frozen=True)
class Prose:
    """Text between the blocks of a page."""

    line: int
    text: str


@dataclass(frozen=True)
class Excerpt:
    """A block that is shown: lines of a file, or with file "" of anything."""

    line: int
    language: str
    text: str
    file: str = ""


@dataclass(frozen=True)
class Command:
    """A block that is run. expected is None where only the exit status counts."""

    line: int
    code: str
    marks: dict[str, str] = field(default_factory=dict)
    expected: str | None = None


@dataclass(frozen=True)
class Page:
    """A page as a list of what is on it, in order."""

    path: Path
    parts: list[Prose | Excerpt | Command]

    @property
    def commands(self) -> list[Command]:
        return [part for part in self.parts if isinstance(part, Command)]


class Mismatch(Exception):
    """A command did something else than its page says; the message names file, line, expectation and fact."""


def parse(path: Path) -> Page:
    """Read a page. Raises ValueError with file and line at a fence that does not end and at an unknown mark."""
    parts: list[Prose | Excerpt | Command] = []
    prose: list[str] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = re.fullmatch(r"( *)```(\w*) ?(.*)", lines[number])
        number += 1
        if not fence:
            prose.append(lines[number - 1])
            continue
        indent, language, rest = fence.groups()
        line, content = number, []
        while number < len(lines) and lines[number].strip() != "```":
            content.append(lines[number].removeprefix(indent))
            number += 1
        if number == len(lines):
            raise ValueError(f"{path}:{line}: the block has no end")
        number += 1
        text, before = "\n".join(content) + "\n", "\n".join(prose).strip()
        if prose and before:
            parts.append(Prose(line - len(prose), before))
        prose = []
        marks = {name: value for name, _, value in re.findall(r'(\w+)(="([^"]*)")?', rest)}
        if unknown := set(marks) - {"background", "fails", "reader", "answers"}:
            raise ValueError(f"{path}:{line}: unknown mark {' '.join(sorted(unknown))}")
        last = parts[-1] if parts else None
        if language == "sh":
            parts.append(Command(line, text, marks))
        elif language == "text" and isinstance(last, Command) and last.expected is None:
            parts[-1] = Command(last.line, last.code, last.marks, text)
        else:
            link = re.search(r"(?:^|\n\n)\[[^]\n]*\]\(([^)\s]+)\)[:：]?$", before)
            parts.append(Excerpt(line, language, text, link[1] if link else ""))
    if before := "\n".join(prose).strip():
        parts.append(Prose(number - len(prose) + 1, before))
    return Page(path, parts)


def pages(track: str, chinese: bool = False, root: Path = ROOT) -> list[Path]:
    """Return the pages of a track, in order."""
    folder = root / ("docs/zh/tutorial" if chinese else "docs/tutorial") / track
    return sorted(folder.glob("[0-9][0-9]-*.md"))


def matches(expected: str, printed: str) -> bool:
    """Say whether a command printed what its page shows, where ... is anything, also nothing; white space is alike."""
    want, got = ("  ".join(["|", *text.split(), "|"]) for text in (expected, printed))
    # Two spaces between words, and one of them to each side of a lone ..., which so can stand for nothing.
    return OutputChecker().check_output(re.sub(r"  (\.\.\.  )+", " ... ", want), got, ELLIPSIS)


class Process:
    """A running command, what it has printed so far, and with a terminal a way to type."""

    def __init__(self, code: str, folder: Path, environment: dict[str, str], echo: Callable[[str], None], type: bool):
        ours, theirs = pty.openpty() if type else os.pipe()
        if type:
            # Without a size, programs that edit lines ask the terminal for one, and nobody answers.
            termios.tcsetwinsize(ours, (50, 200))
        self.process = subprocess.Popen(
            ["bash", "-euc", code], cwd=folder, env=environment, start_new_session=True,
            stdin=theirs if type else subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        self.printed, self.changed, self._ours, self._echo = "", time.monotonic(), ours, echo
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # The end of a terminal is an OSError.
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 65536):
                text = TERMINAL_CODES.sub("", decoder.decode(data))
                self.printed, self.changed = self.printed + text, time.monotonic()
                self._echo(text)

    def asks(self) -> bool:
        """Say whether it waits behind a prompt: an unfinished line, and nothing more for a moment."""
        return self.printed[-1:] not in ("", "\n") and time.monotonic() - self.changed > QUIET_SECONDS

    def answer(self, text: str) -> None:
        """Type a line; the Enter key is a carriage return, and programs that read single keys wait for that."""
        self.changed = time.monotonic()
        os.write(self._ours, f"{text}\r".encode())

    def end(self, seconds: float = 30) -> int:
        """Interrupt it if it still runs, as Ctrl-C does, and return its exit status."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                break
        self._reader.join(5)
        return self.process.wait()


class Runner:
    """Runs the commands of pages in a folder; use it as a context manager, which ends what runs in the background."""

    def __init__(
        self,
        folder: Path,
        echo: Callable[[str], None] = lambda text: None,
        environment: dict[str, str] | None = None,
        seconds: float = 900,
    ):
        given = os.environ if environment is None else environment
        self.environment = {name: value for name, value in given.items() if name not in NOT_PASSED_ON}
        # The pages show what programs say in English.
        self.environment |= {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}
        self.folder, self.echo, self.seconds = folder, echo, seconds
        self.background: list[Process] = []

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *exception: object) -> None:
        self.end_page()

    def end_page(self) -> None:
        """End what this page has started in the background."""
        while self.background:
            self.background.pop().end()

    def run(self, page: Page, command: Command) -> None:
        """Run one command. Raises Mismatch when it fails, does not end, or prints what the page does not show."""
        if "reader" in command.marks:
            return
        where = f"{page.path}:{command.line}"
        expected = "...\n" if command.expected is None else command.expected
        answers = command.marks["answers"].split("|") if "answers" in command.marks else []
        process = Process(command.code, self.folder, self.environment, self.echo, type=bool(answers))
        self.background.append(process)
        end = time.monotonic() + self.seconds
        while process.process.poll() is None and time.monotonic() < end:
            if "background" in command.marks and matches(f"{expected}...\n", process.printed):
                return
            if answers and process.asks():
                process.answer(answers.pop(0))
            time.sleep(0.05)
        self.background.remove(process)
        late = process.process.poll() is None
        status = process.end()
        said = f"\n--- expected:\n{expected}--- came (exit status {status}):\n{process.printed}"
        if late:
            raise Mismatch(f"{where}: not done after {self.seconds:.0f} s{said}")
        if "background" in command.marks:
            raise Mismatch(f"{where}: it ended instead of going on{said}")
        if answers:
            raise Mismatch(f"{where}: it did not ask for {answers[0]!r}{said}")
        if (status != 0) != ("fails" in command.marks):
            raise Mismatch(f"{where}: it should have {'failed' if status == 0 else 'worked'}{said}")
        if not matches(expected, process.printed):
            raise Mismatch(f"{where}: it printed something else{said}")
