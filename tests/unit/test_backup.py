"""The small programs that backups are made of, without an engine: what they count, accept and refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repository import ROOT

LIB = ROOT / "bin/lib"

POSTGRES = r"""-- PostgreSQL database dump
CREATE TABLE public.empty (id bigint);
COPY public.upload_picture (id, name) FROM stdin;
1	CREATE TABLE `trap` (
2	INSERT INTO `trap` VALUES (1);
3	a\\.
\.
COPY public.empty (id) FROM stdin;
\.
-- PostgreSQL database dump complete
"""
MYSQL = r"""-- MySQL dump
CREATE TABLE `empty` (
CREATE TABLE `upload_picture` (
INSERT INTO `upload_picture` VALUES (1,'COPY public.trap (id) FROM stdin;');
INSERT INTO `upload_picture` VALUES (2,'a\nINSERT INTO `trap`');
-- Dump completed
"""


def count(dump: str, folder: Path) -> tuple[int, str, dict[str, int]]:
    rows = folder / "rows"
    command = ["awk", "-v", f"out={rows}", "-f", str(LIB / "count-rows.awk")]
    result = subprocess.run(command, input=dump, capture_output=True, text=True, check=False)
    counted = {}
    if rows.exists():
        counted = {
            name: int(number) for name, number in (line.rsplit(" ", 1) for line in rows.read_text().splitlines())
        }
    return result.returncode, result.stdout, counted


@pytest.mark.parametrize(
    ("dump", "rows"),
    [
        (POSTGRES, {"upload_picture": 3, "empty": 0}),
        (MYSQL, {"upload_picture": 2, "empty": 0}),
    ],
    ids=["postgres", "mysql"],
)
def test_a_dump_is_passed_on_as_it_is_and_its_rows_are_counted(dump: str, rows: dict, tmp_path: Path) -> None:
    assert count(dump, tmp_path) == (0, dump, rows)


@pytest.mark.parametrize("dump", [POSTGRES, MYSQL], ids=["postgres", "mysql"])
def test_a_dump_that_ends_early_is_not_counted(dump: str, tmp_path: Path) -> None:
    code, _, rows = count(dump[: dump.rindex("--")], tmp_path)
    assert code
    assert rows == {}


def program(name: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, LIB / name], input=text, capture_output=True, text=True, check=False)


WHOLE = {
    "format": 1,
    "kind": "django-on-docker backup",
    "created": "2030-01-01T00:00:00Z",
    "database": {"sha256": "d", "rows": {"upload_picture": 2, "django_migrations": 20}},
    "media": {"sha256": "m", "files": 4},
}


def test_a_manifest_is_read() -> None:
    assert program("check-backup.py", json.dumps(WHOLE)).stdout == "d m 4 2030-01-01T00:00:00Z\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its manifest is none of ours"),
        ("[]", "its manifest is none of ours"),
        ("{", "its manifest is none of ours"),
        (json.dumps(WHOLE | {"kind": "other"}), "its manifest is none of ours"),
        (json.dumps(WHOLE | {"media": None}), "its manifest is none of ours"),
        (json.dumps(WHOLE | {"format": 2}), "it was written by a newer version of this repository"),
    ],
)
def test_a_manifest_is_refused_with_one_line(text: str, reason: str) -> None:
    result = program("check-backup.py", text)
    assert result.returncode == 1
    assert result.stderr == f"{reason}\n"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("upload_picture 2\ndjango_migrations 20\n", ""),
        ("upload_picture 2\ndjango_migrations 22\nnew_table 1\n", ""),
        ("upload_picture 1\ndjango_migrations 20\n", "the table upload_picture has 1 rows instead of 2\n"),
        ("upload_picture 3\ndjango_migrations 20\n", "the table upload_picture has 3 rows instead of 2\n"),
        ("upload_picture 2\ndjango_migrations 19\n", "the table django_migrations has 19 rows instead of 20\n"),
        ("django_migrations 20\n", "the table upload_picture has no rows instead of 2\n"),
    ],
)
def test_restored_rows_are_those_of_the_manifest(rows: str, reason: str) -> None:
    result = program("compare-rows.py", json.dumps(WHOLE) + "\n" + rows)
    assert result.stderr == reason
    assert result.returncode == bool(reason)


LOCK = """
program=$(basename "$0") project=site
say() { echo "$program: $*"; }
fail() { echo "$*" >&2; exit 1; }
"""


def locker(folder: Path, name: str, rest: str, path: str = os.environ["PATH"]) -> subprocess.Popen[str]:
    """Start a program bin/NAME that takes the lock as the real ones do, with PATH."""
    source = (LIB / "stack.sh").read_text()
    lock = source[source.index("lock() {") : source.index("# A restore that was killed")]
    unlock = source[source.index("unlock() {") : source.index("# nginx_servers:")]
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"set -eu\n{LOCK}{lock}{unlock}\nlock deploy\necho got $stale\n{rest}\nunlock\n")
    return subprocess.Popen(
        ["sh", f"bin/{name}", "prod"],
        cwd=folder,
        env={"PATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_lock_is_for_one_at_a_time_and_ends_with_its_process(tmp_path: Path) -> None:
    first = locker(tmp_path, "deploy", "read -r line")
    assert first.stdout.readline() == "got\n"
    _, errors = locker(tmp_path, "rollback", "").communicate()
    assert errors == f"deploy prod is under way (process {first.pid}): wait for it\n"
    first.kill()
    first.wait()
    output, errors = locker(tmp_path, "rollback", "").communicate()
    assert (output, errors) == ("got 1\n", "")
    assert not list((tmp_path / ".run").iterdir())


def test_a_backup_waits_for_a_deploy(tmp_path: Path) -> None:
    deploy = locker(tmp_path, "deploy", "read -r line")
    assert deploy.stdout.readline() == "got\n"
    backup = locker(tmp_path, "backup", "")
    line = f"backup: deploy prod is under way (process {deploy.pid}): waiting for it\n"
    assert backup.stdout.readline() == line
    deploy.communicate("\n")
    assert backup.communicate() == ("got\n", "")


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A full disk, or a file system without links."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ln").write_text("#!/bin/sh\necho 'ln: No space left on device' >&2\nexit 1\n")
    (programs / "ln").chmod(0o755)
    output, errors = locker(tmp_path, "deploy", "", path=f"{programs}:{os.environ['PATH']}").communicate()
    assert (output, errors) == ("", "no lock can be made in .run: ln: No space left on device\n")


def test_a_lock_of_a_process_id_that_was_used_again_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run/site.deploy").symlink_to("1")
    output, errors = locker(tmp_path, "deploy", "").communicate()
    assert (output, errors) == ("got 1\n", "")
