"""What the documents say exists: targets, files, variables; and the two READMEs say the same."""

import itertools
import re
import shlex
from pathlib import Path

import pytest

from repository import ROOT, files, run

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
# What a reader who only wants to start has to read.
MOST_LINES_BEFORE_REFERENCE = 80
DOCUMENTS = files("*.md")
EMPTY = ("(empty)", "（空）")


def read(path: str | Path) -> str:
    return (ROOT / path).read_text()


def fences(text: str) -> list[tuple[str, str]]:
    """Return language and content of each fenced block, without the indent that a list gives it."""
    # Words after the language are marks: bin/lib/tutorial/tutorial.py.
    found = re.findall(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```$", text, re.M | re.S)
    return [(language, re.sub(rf"^{indent}", "", content, flags=re.M)) for indent, language, content in found]


def prose(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)


def code(text: str) -> list[str]:
    """Return what stands in backticks outside of fenced blocks, each thing once, sorted.

    Once, because a language may need a name twice where the other needs it once.
    """
    return sorted(set(re.findall(r"`([^`\n]+)`", prose(text))))


def headings(text: str) -> list[tuple[int, str]]:
    return [(len(level), title) for level, title in re.findall(r"^(#+) (.*)$", prose(text), re.M)]


def anchors(text: str) -> set[str]:
    """Return the fragments by which headings can be reached."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _level, title in headings(text)}


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables as rows of cells, without the rule below the head."""
    grouped = itertools.groupby(prose(text).splitlines(), lambda line: line.startswith("|"))
    found = []
    for is_table, lines in grouped:
        if is_table:
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            found.append([rows[0], *rows[2:]])
    return found


def shape(text: str) -> list[tuple[int, int]]:
    return [(len(table), len(table[0])) for table in tables(text)]


def make_targets() -> set[str]:
    """Return every target that the Makefile has, those that it generates included."""
    database = run(["make", "--print-data-base", "--question", "--no-builtin-rules", "help"]).stdout
    return set(re.findall(r"^([a-z][a-z0-9-]*):", database, re.M))


def make_commands(text: str) -> list[str]:
    """Return every `make ...` that stands in backticks or in a fenced block."""
    lines = [line.strip() for _language, content in fences(text) for line in content.splitlines()]
    # At the beginning, variables aside: within a message, what follows `make` may be anything.
    return [command for command in [*code(text), *lines] if re.match(r"([A-Z_]+=\S* )*make($| )", command)]


def plain(target: str) -> str:
    return re.sub(r"-(prod|uwsgi)$", "", target)


def asked_of_make(command: str) -> list[str]:
    """Return the targets of a command, without options, variables and whatever follows in a pipe or list."""
    # In another project's folder, where the targets are the same.
    words = shlex.split(re.sub(r" -C \S+", "", command), comments=True)
    asked = itertools.takewhile(lambda word: word not in ("|", "&&", ";"), words[words.index("make") + 1 :])
    return [word for word in asked if "=" not in word and not word.startswith("-")]


def env_file(path: str) -> dict[str, str]:
    """Return the variables of an env file, those that are commented out with their default included."""
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", read(path), re.M))


def variable_tables(text: str) -> list[list[list[str]]]:
    return [table for table in tables(text) if any(cell.startswith("`.env.") for cell in table[0])]


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_targets_exist(path: Path) -> None:
    targets = make_targets()
    assert {"up-prod", "deploy-uwsgi", "test"} <= targets
    for command in make_commands(read(path)):
        for word in asked_of_make(command):
            assert word in targets, f"{path}: `{command}`: the Makefile has no target {word}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_links_lead_to_files(path: Path) -> None:
    tracked = {str(file) for file in files()}
    folders = {str(parent) for file in files() for parent in file.parents}
    for link in links(read(path)):
        if link.startswith(("https://", "mailto:")):
            continue
        name, _hash, fragment = link.partition("#")
        target = (ROOT / path.parent / name).resolve() if name else (ROOT / path)
        where = str(target.relative_to(ROOT))
        assert where in tracked | folders, f"{path} links to {link}, which is not in the repository"
        if fragment:
            anchors = {
                re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in headings(target.read_text())
            }
            assert fragment in anchors, f"{path} links to {link}, and {where} has no such heading"


@pytest.mark.parametrize(("path", "heading"), [(ENGLISH, "## Reference"), (CHINESE, "## 参考")])
def test_start_is_short(path: str, heading: str) -> None:
    assert read(path).splitlines().index(heading) <= MOST_LINES_BEFORE_REFERENCE


def test_make_targets_are_all_there() -> None:
    """By group, in README.md: the plain name stands for those with a suffix."""
    shown = {word for command in make_commands(read(ENGLISH)) for word in asked_of_make(command)}
    missing = set(map(plain, make_targets())) - set(map(plain, shown))
    # Not for people: the check that other targets begin with, and what `make` alone does.
    assert missing <= {"engine", "help"}


def test_chinese_has_the_same_commands() -> None:
    assert fences(read(CHINESE)) == fences(read(ENGLISH))
    assert code(read(CHINESE)) == code(read(ENGLISH))


def test_chinese_has_the_same_structure() -> None:
    levels = [level for level, _title in headings(read(CHINESE))]
    assert levels == [level for level, _title in headings(read(ENGLISH))]
    assert shape(read(CHINESE)) == shape(read(ENGLISH))
    others = {ENGLISH, CHINESE}
    assert [x for x in links(read(CHINESE)) if x not in others] == [x for x in links(read(ENGLISH)) if x not in others]


@pytest.mark.parametrize("path", [ENGLISH, CHINESE])
def test_variables_are_those_of_the_env_files(path: str) -> None:
    seen = []
    for head, *rows in variable_tables(read(path)):
        for column, title in enumerate(head):
            if not title.startswith("`.env."):
                continue
            name = title.strip("`")
            seen.append(name)
            shown = {row[0].strip("`"): row[column].strip("`") for row in rows if row[column] != "–"}
            shown = {variable: "" if value in EMPTY else value for variable, value in shown.items()}
            assert shown == env_file(name), f"{path} and {name} have different variables or values"
    assert sorted(seen) == sorted(map(str, files(".env.*")))


@pytest.mark.parametrize("path", [ENGLISH, CHINESE])
def test_no_variable_without_meaning(path: str) -> None:
    assert all(row[-1] for table in variable_tables(read(path)) for row in table)


def test_settings_of_the_tutorials_have_a_verdict_and_a_reason() -> None:
    for head, *rows in tables(read("compose/README.md")):
        assert head[0] == "Setting"
        for setting, verdict, reason in rows:
            assert verdict in ("kept", "changed", "dropped", "new"), setting
            assert reason or verdict == "kept", f"{setting} is {verdict}: why?"


def test_drawings_show_what_the_compose_files_have() -> None:
    for stack, server in (("prod", "gunicorn"), ("uwsgi", "uwsgi")):
        drawing = set(re.findall(r"[\w.-]+", re.sub(r"<[^>]*>", " ", read(f"docs/images/stack-{server}.svg"))))
        compose = read(f"docker-compose.{stack}.yml")
        for section in ("services", "volumes", "networks"):
            block = re.search(rf"^{section}:\n((?: .*\n|\n)+)", compose, re.M)[1]
            names = set(re.findall(r"^  (\w+):", block, re.M))
            assert names <= drawing, f"the drawing of {stack} lacks {names - drawing} of {section}"
        for image, version in re.findall(r"(nginx|postgres|mysql|redis):([\d.]+)\}", compose):
            assert version in drawing, f"the drawing of {stack} shows another version of {image} than {version}"
