"""The tutorial's pages: what they show is what the files have, and both languages show the same."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from repository import ROOT, run
from tutorial import Command, Excerpt, Page, Prose, pages, parse

ENGLISH, CHINESE = ROOT / "docs/tutorial", ROOT / "docs/zh/tutorial"
TRACKS = sorted(path.name for path in ENGLISH.iterdir() if path.is_dir())
PAGES = {
    str(path.relative_to(ROOT)): path for track in TRACKS for chinese in (False, True) for path in pages(track, chinese)
}
ENGLISH_PAGES = [name for name in PAGES if name.startswith("docs/tutorial")]
READMES = {"README.md": ROOT / "README.md", "README.zh-CN.md": ROOT / "README.zh-CN.md"}
# What a reader does elsewhere; and the tests that would run themselves.
READERS_OWN = r"git clone .*|cd [\w-]+|make test|xdg-open .*|\$EDITOR .*"
# How many such blocks there are: one more is a decision.
READER_BLOCKS = {
    "README.md": 1,
    "README.zh-CN.md": 1,
    "docs/tutorial/uwsgi/01-docker.md": 1,
    "docs/zh/tutorial/uwsgi/01-docker.md": 1,
}
# Blocks of these languages are not taken from a file.
FREE = {"text", "json", "html", "mermaid"}
CHINESE_CHARACTER = re.compile("[\u4e00-\u9fff]")


def headings(page: Page) -> list[str]:
    prose = "\n".join(part.text for part in page.parts if isinstance(part, Prose))
    return re.findall(r"^#+ .*$", prose, re.M)


def links(page: Page) -> list[str]:
    """Return where the links and pictures outside of blocks lead, files relative to the language's own top folder."""
    found = []
    for part in page.parts:
        for link in re.findall(r"\]\(([^)\s]+)\)", part.text if isinstance(part, Prose) else ""):
            found.append(link if link.startswith("https://") else where(page, link))
    return found


def where(page: Page, link: str) -> str:
    """Return the file that a link leads to; pages in Chinese count as the pages that they translate."""
    path = Path(os.path.normpath(page.path.parent / link.partition("#")[0]))
    return str(path.relative_to(ROOT)).replace("docs/zh/", "docs/")


def excerpt_is_in(excerpt: str, text: str) -> bool:
    """Say whether the lines of an excerpt are in a text, in order and together; ... stands for lines between."""
    lines, place = text.splitlines(), 0
    for group in re.split(r"^\s*(?:# )?\.\.\.\n", excerpt, flags=re.M):
        wanted = group.splitlines()
        if not wanted:
            continue
        starts = (at for at in range(place, len(lines)) if lines[at : at + len(wanted)] == wanted)
        found = next(starts, None)
        if found is None:
            return False
        place = found + len(wanted)
    return True


def drawn(text: str) -> list[str]:
    """Return what a drawing has, line by line, without its words."""
    return [re.sub(r"(: | as | over \w+: ).*", r"\1", line) for line in text.splitlines()]


def shape(page: Page) -> list[Any]:
    """Return all of a page that must not differ between the languages, in order."""
    found: list[Any] = []
    for part in page.parts:
        if isinstance(part, Command):
            found.append((part.code, part.marks, part.expected))
        elif isinstance(part, Excerpt):
            # The words in a drawing are translated.
            text = drawn(part.text) if part.language == "mermaid" else part.text
            found.append((part.language, text, part.file and where(page, part.file)))
        else:
            found += [len(marks) for marks in re.findall(r"^(#+) ", part.text, re.M)]
    return found


def make_targets(code: str) -> list[str]:
    """Return the targets that a command asks make for."""
    found = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        asking = False
        for word in words:
            if word == "make":
                asking = True
            elif re.fullmatch(r"[;|&()<>]+", word):
                asking = False
            elif asking and re.fullmatch(r"[a-z][a-z-]*", word):
                found.append(word)
    return found


def targets_in_order(track: str) -> list[str]:
    """Return the targets of a track, each once, in the order in which its commands first use them."""
    codes = [command.code for path in pages(track) for command in parse(path).commands]
    return list(dict.fromkeys(target for code in codes for target in make_targets(code)))


# --- Structure ---


@pytest.mark.parametrize("track", TRACKS)
def test_pages_are_numbered_and_linked(track: str) -> None:
    for chinese, top in ((False, ENGLISH), (True, CHINESE)):
        paths = pages(track, chinese)
        assert [path.name[:2] for path in paths] == [f"{number:02}" for number in range(1, len(paths) + 1)]
        assert len(paths) == len(list((top / track).iterdir())), "a page without a number is in no one's way"
        index = (top / "README.md").read_text()
        assert re.findall(rf"\({track}/([^)]*)\)", index) == [path.name for path in paths]
        for number, path in enumerate(paths):
            page = parse(path)
            assert headings(page)[0].startswith(f"# {path.name[:2]}. "), path
            footer = page.parts[-1].text.splitlines()[-1]
            around = [*paths[max(0, number - 1) : number], top / "README.md", *paths[number + 1 : number + 2]]
            assert re.findall(r"\]\(([^)]*)\)", footer) == [os.path.relpath(other, path.parent) for other in around], (
                path
            )


@pytest.mark.parametrize("name", PAGES)
def test_each_page_says_what_to_do_and_what_goes_wrong(name: str) -> None:
    page = parse(PAGES[name])
    assert page.commands
    assert len(headings(page)) >= 3
    assert any("fails" in command.marks for command in page.commands), "what goes wrong is made to happen"
    assert max(map(len, PAGES[name].read_text().splitlines())) < 260


@pytest.mark.parametrize("name", PAGES)
def test_excerpts_are_in_their_files(name: str) -> None:
    page = parse(PAGES[name])
    for part in page.parts:
        if not isinstance(part, Excerpt):
            continue
        assert part.file or part.language in FREE, f"{name}:{part.line}: a line that links to the file is missing above"
        if part.file:
            text = (page.path.parent / part.file).read_text()
            assert excerpt_is_in(part.text, text), f"{name}:{part.line} shows what {part.file} does not have"


def test_excerpts_that_are_not_in_their_files_are_found() -> None:
    text = "a\n  b\nc\nd\n"
    for excerpt in ("a\n  b\n", "a\n# ...\nd\n", "  b\n...\nd\n", "# ...\nc\n"):
        assert excerpt_is_in(excerpt, text), excerpt
    for excerpt in ("a\nc\n", "b\n", "c\n# ...\na\n", "d\ne\n"):
        assert not excerpt_is_in(excerpt, text), excerpt


@pytest.mark.parametrize("name", [*PAGES, *READMES])
def test_each_block_that_is_not_run_is_the_readers_own(name: str) -> None:
    own = [command for command in parse((PAGES | READMES)[name]).commands if "reader" in command.marks]
    assert len(own) == READER_BLOCKS.get(name, 0)
    for command in own:
        for line in command.code.splitlines():
            assert re.fullmatch(READERS_OWN, line), f"{name}:{command.line}: {line} has to be run"


# --- The same in both languages ---


def test_both_languages_have_the_same_pages() -> None:
    for track in TRACKS:
        assert [path.name for path in pages(track)] == [path.name for path in pages(track, chinese=True)]


@pytest.mark.parametrize("name", ["docs/tutorial/README.md", *ENGLISH_PAGES])
def test_both_languages_show_the_same(name: str) -> None:
    english, chinese = parse(ROOT / name), parse(ROOT / name.replace("docs/", "docs/zh/"))
    assert shape(chinese) == shape(english)
    assert links(chinese) == links(english)
    for part in chinese.parts:
        if isinstance(part, Prose) and not re.fullmatch(r"(\[[^]]*\]\([^)]*\)[:：]?\s*)*", part.text):
            assert CHINESE_CHARACTER.search(part.text), f"{chinese.path}:{part.line} is not translated"


def test_both_readmes_have_the_same_commands() -> None:
    english, chinese = (parse(path).commands for path in READMES.values())
    assert [(command.code, command.marks) for command in chinese] == [
        (command.code, command.marks) for command in english
    ]


# --- Make ---


def test_targets_of_a_command() -> None:
    code = """
echo '\\l' | make dbshell
YES=1 make -s destroy destroy-prod; make up N=3 ARGS='make x; y "z"' | cat; make "x y"
"""
    assert make_targets(code) == ["dbshell", "destroy", "destroy-prod", "up"]


@pytest.mark.parametrize("track", TRACKS)
def test_help_names_the_targets_in_the_tutorials_order(track: str) -> None:
    help = " ".join(run(["make"]).stdout.split())
    shown = re.search(rf"Steps of TRACK={track}: ([a-z, -]*[a-z])", help)
    assert shown, f"the Makefile's help has no line 'Steps of TRACK={track}: ...'"
    order = targets_in_order(track)
    assert shown[1].split(", ") == order, f"write into the Makefile: Steps of TRACK={track}: {', '.join(order)}"


@pytest.mark.parametrize("track", TRACKS)
def test_each_target_is_shown_with_the_command_that_it_runs(track: str) -> None:
    text = " ".join(" ".join(path.read_text() for path in pages(track)).split())
    for target in targets_in_order(track):
        for line in run(["make", "--dry-run", target]).stdout.splitlines():
            if line.startswith("docker compose"):
                assert " ".join(line.split()) in text, f"{track} uses `make {target}` and never shows `{line}`"
