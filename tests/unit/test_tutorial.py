"""The tutorial's own machinery, without Docker: what is on a page, running it, and leading a reader through it."""

import os
import re
import shutil
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from repository import ROOT, clean_environment, run
from tutorial import Command, Excerpt, Mismatch, Prose, Runner, matches, parse

PAGE = """\
    # 01. A page

    Words with [a link](other.md).

    ```sh
    echo one
    echo two
    ```

    ```text
    one
    two
    ```

    1. In a list:

       ```sh background answers="a b|c"
       cat
       ```

    [app/file.yml](../app/file.yml)

    ```yaml
    a: 1
    ```

    A sentence that ends with [a link](x.yml)

    ```json
    {}
    ```

    ```text
    free
    ```
    """


def page(folder: Path, text: str) -> Path:
    path = folder / "01-page.md"
    path.write_text(textwrap.dedent(text))
    return path


# --- What is on a page ---


def test_parts_of_a_page(tmp_path: Path) -> None:
    assert parse(page(tmp_path, PAGE)).parts == [
        Prose(1, "# 01. A page\n\nWords with [a link](other.md)."),
        Command(5, "echo one\necho two\n", {}, "one\ntwo\n"),
        Prose(14, "1. In a list:"),
        Command(17, "cat\n", {"background": "", "answers": "a b|c"}, None),
        Prose(20, "[app/file.yml](../app/file.yml)"),
        Excerpt(23, "yaml", "a: 1\n", "../app/file.yml"),
        Prose(26, "A sentence that ends with [a link](x.yml)"),
        Excerpt(29, "json", "{}\n", ""),
        Excerpt(33, "text", "free\n", ""),
    ]


def test_an_output_belongs_to_the_command_right_before_it(tmp_path: Path) -> None:
    parts = parse(page(tmp_path, "```sh\ntrue\n```\n\nWords.\n\n```text\nx\n```\n")).parts
    assert [type(part) for part in parts] == [Command, Prose, Excerpt]
    assert parts[0].expected is None


@pytest.mark.parametrize(
    ("text", "words"), [("x\n```sh\nls\n", "no end"), ("x\n```sh backgruond\nls\n```\n", "unknown mark backgruond")]
)
def test_a_wrong_page_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"01-page.md:2: .*{words}"):
        parse(page(tmp_path, text))


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\n", "a\n", True),
        ("a  b\n", " a\nb\n", True),
        ("a\n...\nb\n", "a\nb\n", True),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("...\nb\n", "b\n", True),
        ("b\n...\n", "b\n", True),
        ("id ... is up\n", "id 7f is up\n", True),
        ("up ... ok\n", "up ok\n", True),
        ("ends.\n...\nok\n", "ends.\nok\n", True),
        ("a\n...\n...\n", "a\n", True),
        ("a ... a\n", "a\n", False),
        ("a\n", "a\nb\n", False),
        ("a\n...\nb\n", "a\nc\n", False),
        ("", "a\n", False),
        ("", "", True),
    ],
)
def test_matches(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) == same


# --- Running it ---


def try_it(folder: Path, text: str, seconds: float = 30) -> list[str]:
    """Run a page's commands in its folder and return what was printed."""
    printed: list[str] = []
    parsed = parse(page(folder, text))
    with Runner(folder, printed.append, clean_environment(), seconds) as runner:
        for command in parsed.commands:
            runner.run(parsed, command)
    return printed


def test_commands_share_a_folder_and_stop_at_the_first_error(tmp_path: Path) -> None:
    try_it(tmp_path, "```sh\necho x > y\n```\n```sh\ncat y\n```\n```text\nx\n```\n")
    with pytest.raises(Mismatch, match=r"01-page\.md:1: it should have worked"):
        try_it(tmp_path, "```sh\nfalse\ntrue\n```\n")


def test_output_and_errors_are_compared(tmp_path: Path) -> None:
    try_it(tmp_path, "```sh\necho a; echo b >&2\n```\n```text\na\nb\n```\n")
    with pytest.raises(Mismatch, match=r"(?s)printed something else.*expected:\nc\n.*came \(exit status 0\):\na\nb"):
        try_it(tmp_path, "```sh\necho a; echo b >&2\n```\n```text\nc\n```\n")


def test_what_fails_has_to_fail(tmp_path: Path) -> None:
    try_it(tmp_path, "```sh fails\nexit 3\n```\n")
    with pytest.raises(Mismatch, match="it should have failed"):
        try_it(tmp_path, "```sh fails\ntrue\n```\n")


def test_what_the_reader_does_is_not_run(tmp_path: Path) -> None:
    try_it(tmp_path, "```sh reader\ntouch made\n```\n")
    assert not (tmp_path / "made").exists()


def test_the_background_goes_on_until_the_end_of_the_page(tmp_path: Path) -> None:
    text = """
        ```sh background
        trap 'echo over > ended; exit' INT
        sleep 0.5
        echo ready
        while :; do sleep 0.1; done
        ```
        ```text
        ready
        ```
        ```sh
        test ! -e ended
        ```
        """
    try_it(tmp_path, text)
    assert (tmp_path / "ended").read_text() == "over\n"


def test_a_background_that_ends_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="it ended instead of going on"):
        try_it(tmp_path, "```sh background\necho no\n```\n```text\nready\n```\n")


def test_answers_are_typed_in_order(tmp_path: Path) -> None:
    text = """
        ```sh answers="Ann Lee|secret"
        test -t 0
        read -rp 'Name: ' name
        read -rsp 'Password: ' password
        echo; echo "$name has $password"
        ```
        ```text
        Name: Ann Lee
        Password:
        Ann Lee has secret
        ```
        """
    try_it(tmp_path, text)
    with pytest.raises(Mismatch, match="it did not ask for 'no'"):
        try_it(tmp_path, '```sh answers="no"\ntrue\n```\n')


def test_what_does_not_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"01-page\.md:1: not done after 1 s"):
        try_it(tmp_path, "```sh\necho $$ > pid; sleep 1000\n```\n", seconds=1)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_the_walkers_own_make_does_not_speak_to_those_that_it_starts(tmp_path: Path) -> None:
    environment = clean_environment() | {"MAKEFLAGS": " -- YES=1", "YES": "1", "PAGE": "02", "LANGUAGE": "zh"}
    parsed = parse(page(tmp_path, '```sh\necho "<$MAKEFLAGS$YES$PAGE$LANGUAGE>"\n```\n```text\n<>\n```\n'))
    code = parsed.commands[0].code.replace("$MAKEFLAGS$YES$PAGE", "${MAKEFLAGS:-}${YES:-}${PAGE:-}")
    with Runner(tmp_path, environment=environment) as runner:
        runner.run(parsed, Command(1, code, {}, "<>\n"))


# --- Leading a reader through it ---


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The runner and a track of two pages, in both languages."""
    for name in ("bin/tutorial", "bin/lib/tutorial/tutorial.py", "bin/lib/tutorial/walk.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    for folder, word in (("docs/tutorial/tiny", "Words"), ("docs/zh/tutorial/tiny", "文字")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "01-first.md").write_text(f"# 01. {word}\n\n```sh\necho a\n```\n\n```text\na\n```\n")
        (tmp_path / folder / "02-second.md").write_text("```sh background\necho b; sleep 1000\n```\n```text\nb\n```\n")
    return tmp_path


def walk(clone: Path, *words: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    return run(["bin/tutorial", *words], cwd=clone, env=environment, stdin=stdin)


def test_without_questions(clone: Path) -> None:
    result = walk(clone, "tiny", YES="1")
    assert (result.returncode, result.stderr) == (0, "")
    assert "# 01. Words" in result.stdout
    assert "    $ echo a\na\n--- as the page says\n" in result.stdout
    assert result.stdout.endswith("That was the last page of tiny.\n")


def test_each_step_waits_for_enter(clone: Path) -> None:
    result = walk(clone, "tiny", stdin="\n\n\n")
    assert result.returncode == 0
    assert result.stdout.count("Enter") == 3
    # s leaves a step out, the end of the input leaves, q too.
    assert "\na\n" not in walk(clone, "tiny", stdin="s\n\n\n").stdout
    for stdin in ("\n", "\nq\n"):
        result = walk(clone, "tiny", stdin=stdin)
        assert result.returncode
        assert result.stdout.endswith("To go on here: make tutorial TRACK=tiny PAGE=02\n")


def test_begins_at_a_page(clone: Path) -> None:
    for name in ("02", "2"):
        result = walk(clone, "tiny", YES="1", PAGE=name)
        assert "first" not in result.stdout
        assert "=== docs/tutorial/tiny/02-second.md ===" in result.stdout


def test_in_chinese(clone: Path) -> None:
    for variable in ("LANGUAGE", "DOCS_LANG"):
        result = walk(clone, "tiny", YES="1", PYTHONUTF8="1", **{variable: "zh_CN:en"})
        assert "# 01. 文字" in result.stdout
        assert "最后一页" in result.stdout


def test_a_mismatch_says_where_and_asks(clone: Path) -> None:
    path = clone / "docs/tutorial/tiny/01-first.md"
    path.write_text(path.read_text().replace("text\na", "text\nc"))
    result = walk(clone, "tiny", YES="1")
    assert result.returncode == 1
    assert "docs/tutorial/tiny/01-first.md:3: it printed something else" in result.stdout
    assert "--- expected:\nc\n--- came (exit status 0):\na\n" in result.stdout
    assert walk(clone, "tiny", stdin="\nn\n").returncode == 1
    assert walk(clone, "tiny", stdin="\ny\n\n\n").returncode == 0


def test_ctrl_c_leaves_cleanly(clone: Path) -> None:
    (clone / "docs/tutorial/tiny/01-first.md").write_text("```sh\necho $$ > pid; sleep 1000\n```\n")
    process = subprocess.Popen(
        ["bin/tutorial", "tiny"],
        cwd=clone, env=clean_environment() | {"YES": "1"}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    end = time.monotonic() + 30
    while not (clone / "pid").exists() or not (clone / "pid").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert output.endswith("To go on here: make tutorial TRACK=tiny PAGE=01\n")
    assert not Path(f"/proc/{(clone / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("track", "environment", "message"),
    [
        ("nosuch", {}, "tutorial: there is no track 'nosuch'; use TRACK=tiny"),
        ("../tiny", {}, "tutorial: there is no track '../tiny'; use TRACK=tiny"),
        ("tiny", {"PAGE": "07"}, "tutorial: PAGE='07' is no page of tiny; use 01 to 02"),
        ("tiny", {"PAGE": "x"}, "tutorial: PAGE='x' is no page of tiny; use 01 to 02"),
        ("tiny", {"PYTHON": "nosuchpython"}, "'nosuchpython' is not: install it, or set PYTHON=..."),
    ],
)
def test_a_mistake_is_one_line(clone: Path, track: str, environment: dict[str, str], message: str) -> None:
    result = walk(clone, track, **environment)
    assert result.returncode == 1
    assert re.fullmatch(f".*{re.escape(message)}\n", result.stderr)
