"""Backups that hold everything, and restores that bring back all of it or change nothing, on both production stacks."""

import contextlib
import hashlib
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bench import LABEL, Stack, picture, run, wait_for
from lasting import lasting_stack, light_load, small_static_disk

pytestmark = pytest.mark.long

ROWS = """
import json
from django.apps import apps
for model in apps.get_models(include_auto_created=True):
    for row in model.objects.order_by("pk").values():
        print(model._meta.label, json.dumps(row, default=str, sort_keys=True, ensure_ascii=False))
"""


@pytest.fixture(scope="module", params=["prod", "uwsgi"])
def site(request: pytest.FixtureRequest, make_stack) -> Stack:
    """Each production stack in turn, with some pictures of different kinds, an account and a name in Chinese."""
    stack = lasting_stack(request.param, make_stack)
    for format in ("PNG", "JPEG", "GIF"):
        stack.upload(picture(format), f"a picture.{format.lower()}", f"image/{format.lower()}").raise_for_status()
    stack.upload(name="图片.png").raise_for_status()
    stack.python(
        "from django.contrib.auth.models import User; User.objects.filter(username='dora').delete(); "
        "User.objects.create_superuser('dora', 'dora@example.com', 'a password')"
    )
    return stack


@pytest.fixture(scope="module")
def backed_up(site: Stack) -> Path:
    """A backup of the site as it is; path relative to its tree."""
    return backup(site)


def backup(stack: Stack, **variables: str) -> Path:
    result = stack.make(f"backup{stack.suffix}", **variables)
    found = re.search(r"backup: (backups/\S+\.tar) \(", result.stdout)
    assert found, result.stdout
    return stack.folder / found[1]


def restore(
    stack: Stack, file: Path | str, *, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    return stack.make(f"restore{stack.suffix}", check=check, FROM=str(file), YES="1", **variables)


def manifest(file: Path) -> dict[str, Any]:
    with tarfile.open(file) as archive:
        return json.load(archive.extractfile("manifest.json"))


def media(stack: Stack) -> str:
    """Return path and SHA-256 of everything that was uploaded; hidden files, which are unfinished ones, left out."""
    command = "cd mediafiles && find . -type f ! -path './.*' -exec sha256sum {} + | sort -k 2"
    return stack.execute("web", "sh", "-c", command).stdout


def hidden(stack: Stack) -> str:
    """Return what restores and backups keep beside the uploads while they work."""
    return stack.execute("web", "sh", "-c", "cd mediafiles && ls -d .[a-z]* | grep -v incoming || true").stdout


def rows(stack: Stack) -> str:
    """Return every row of every table that Django knows."""
    return stack.python(ROWS)


def data(stack: Stack) -> tuple[str, str]:
    return rows(stack), media(stack)


def databases(stack: Stack) -> str:
    """Return the names of all databases."""
    command = {
        "prod": 'psql -U postgres -Atc "SELECT datname FROM pg_database ORDER BY 1"',
        "uwsgi": 'MYSQL_PWD=$(cat /run/secrets/db_root_password) mysql -uroot -N -e "SHOW DATABASES"',
    }[stack.kind]
    return stack.execute("db", "sh", "-c", command).stdout


def contents(file: Path) -> tuple[str, set[str]]:
    """Return the database dump and the names of the uploads in a backup."""
    with tarfile.open(file) as archive:
        dump = subprocess.run(
            ["gunzip"], input=archive.extractfile("database.sql.gz").read(), capture_output=True, check=True
        )
        inner = io.BytesIO(archive.extractfile("media.tar").read())
    with tarfile.open(fileobj=inner) as uploads:
        names = {member.name.removeprefix("./") for member in uploads.getmembers() if member.isfile()}
    return dump.stdout.decode(), names


def test_a_backup_while_the_site_runs_has_the_file_of_every_row(site: Stack) -> None:
    stop = threading.Event()

    def delete() -> None:
        """Delete the newest pictures all the time: files come before the dump and go before its end."""
        code = (
            "import time\nfrom upload.models import Picture\nend = time.time() + 90\n"
            "while time.time() < end:\n"
            "    some = Picture.objects.filter(name__regex='^[0-9a-f]{32}.png$').order_by('-id')\n"
            "    if some.count() > 5: some.first().delete()\n"
            "    time.sleep(0.3)"
        )
        process = subprocess.Popen(
            ["docker", "exec", site.ids("web")[0], "python", "manage.py", "shell", "--no-imports", "--command", code]
        )
        stop.wait(80)
        process.kill()
        site.execute(
            "web",
            "sh",
            "-c",
            "for p in /proc/[0-9]*; do grep -qs some.count $p/cmdline && kill ${p#/proc/}; done; true",
            check=False,
        )

    with light_load(site, uploads=4) as load:
        wait_for(lambda: load.counts["upload"] >= 5, 60, "some uploads")
        deleting = threading.Thread(target=delete)
        deleting.start()
        try:
            for _ in range(2):
                file = backup(site)
                dump, names = contents(file)
                wanted = set(re.findall(r"\b[0-9a-f]{32}(?:_\w{7})?\.png\b(?!\.webp)", dump))
                # A name as it was sent and a name in the storage are the same here.
                assert wanted
                assert wanted <= names, "a row without its file"
                assert {f"thumbs/{name}.webp" for name in wanted} <= names
                facts = manifest(file)
                assert facts["media"]["files"] == len(names)
                assert facts["database"]["rows"]["upload_picture"] >= len(wanted)
        finally:
            stop.set()
            deleting.join()
    assert load.failures == []
    assert hidden(site) == ""


def test_the_manifest_says_what_is_in_it(site: Stack, backed_up: Path) -> None:
    facts = manifest(backed_up)
    assert facts["engine"] == {"prod": "postgresql", "uwsgi": "mysql"}[site.kind]
    assert facts["stack"] == site.kind
    assert facts["release"] == site.execute("web", "cat", "RELEASE").stdout.strip()
    assert "upload.0001_initial" in facts["migrations"]
    with tarfile.open(backed_up) as archive:
        for part, name in (("database", "database.sql.gz"), ("media", "media.tar")):
            content = archive.extractfile(name).read()
            assert hashlib.sha256(content).hexdigest() == facts[part]["sha256"]
    # Passwords' hashes and sessions are in it.
    assert backed_up.stat().st_mode & 0o777 == 0o600


def test_a_backup_is_proven_beside_the_site(site: Stack, backed_up: Path) -> None:
    before = data(site)
    result = site.make(f"verify-backup{site.suffix}", FROM=str(backed_up))
    assert "is good: every row and every file is there" in result.stdout
    assert data(site) == before
    left = run("docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}={site.project}-verify").stdout
    left += run("docker", "volume", "ls", "--quiet", "--filter", f"label={LABEL}={site.project}-verify").stdout
    assert left == ""


def test_a_proof_fails_where_a_file_is_missing(site: Stack, backed_up: Path, tmp_path: Path) -> None:
    without_file = tmp_path / "file.tar"

    def drop_file(part: bytes) -> bytes:
        target = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(part)) as old, tarfile.open(fileobj=target, mode="w") as new:
            for member in old.getmembers():
                if not member.name.endswith(".gif"):
                    new.addfile(member, old.extractfile(member))
        return target.getvalue()

    forge(backed_up, without_file, {"media.tar": drop_file})
    result = site.make(f"verify-backup{site.suffix}", FROM=str(without_file), check=False)
    assert result.returncode
    assert "rows and files do not agree" in result.stderr
    assert ".gif: lost" in result.stderr


def test_a_file_without_a_row_is_no_fault(site: Stack, backed_up: Path, tmp_path: Path) -> None:
    """It was uploaded or deleted while the backup was made."""
    with_file = tmp_path / "file.tar"

    def add_file(part: bytes) -> bytes:
        target = io.BytesIO(part)
        with tarfile.open(fileobj=target, mode="a") as media:
            member = tarfile.TarInfo("./stray.png")
            member.size = len(picture())
            media.addfile(member, io.BytesIO(picture()))
        return target.getvalue()

    forge(
        backed_up,
        with_file,
        {"media.tar": add_file},
        lambda facts: facts["media"].update(files=facts["media"]["files"] + 1),
    )
    assert "is good" in site.make(f"verify-backup{site.suffix}", FROM=str(with_file)).stdout


def forge(source: Path, target: Path, parts: dict | None = None, change=lambda facts: None) -> None:
    """Write a backup with other contents, and a manifest whose sums are right."""
    with tarfile.open(source) as old:
        content = {name: old.extractfile(name).read() for name in ("manifest.json", "database.sql.gz", "media.tar")}
    facts = json.loads(content["manifest.json"])
    for name, how in (parts or {}).items():
        content[name] = how(content[name])
    facts["media"]["sha256"] = hashlib.sha256(content["media.tar"]).hexdigest()
    facts["database"]["sha256"] = hashlib.sha256(content["database.sql.gz"]).hexdigest()
    change(facts)
    content["manifest.json"] = json.dumps(facts).encode()
    with tarfile.open(target, "w") as new:
        for name, text in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            new.addfile(member, io.BytesIO(text))


def test_the_drill(site: Stack, backed_up: Path) -> None:
    """Fill, back up, destroy, start anew, restore: every row and every byte is equal."""
    before = data(site)
    assert "图片" in before[0]
    site.upload(name="came later.png").raise_for_status()
    run("docker", "rm", "--force", f"{site.project}-keeper")
    site.make(f"destroy{site.suffix}", YES="1")
    volumes = run("docker", "volume", "ls", "--quiet", "--filter", f"label={LABEL}={site.project}").stdout
    assert "db_vol" not in volumes
    assert "media_vol" not in volumes
    small_static_disk(site)
    site.make(f"up{site.suffix}")
    assert "dora" not in rows(site)
    site.upload(name="of the new life.png").raise_for_status()
    result = restore(site, backed_up)
    assert f"restore: {site.kind} has the data of" in result.stdout
    assert data(site) == before
    # And the site works on: the app's user owns what it needs.
    site.upload(name="after.png").raise_for_status()
    site.make(f"migrate{site.suffix}")
    assert hidden(site) == ""
    assert not re.search("_before|_restored", databases(site))
    session = requests.Session()
    session.get(site.url + "/admin/login/", timeout=30)
    form = {"username": "dora", "password": "a password", "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    assert "log out" in session.post(site.url + "/admin/login/?next=/admin/", form, timeout=30).text.lower()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("truncated", "is not a backup, or not a whole one"),
        ("no tar", "is not a backup, or not a whole one"),
        ("other tar", "is not a backup, or not a whole one"),
        ("flipped in database.sql.gz", "is damaged: the database's checksum is wrong"),
        ("flipped in media.tar", "is damaged: the uploads' checksum is wrong"),
        ("manifest of something else", "its manifest is none of ours"),
        ("newer format", "it was written by a newer version of this repository"),
        ("other stack", "it is a backup of {other}, and this stack has {own}"),
        ("newer server", "it comes from version 99 of the database, and"),
        ("newer code", "it is of newer code: this one has no migration upload.9999_future"),
        ("missing", "does not exist"),
        ("unnamed", "which one? `make backups-"),
    ],
)
def test_what_cannot_be_restored_is_refused_with_one_line(
    site: Stack, backed_up: Path, tmp_path: Path, how: str, reason: str
) -> None:
    file = tmp_path / "backup.tar"
    whole = backed_up.read_bytes()
    engines = {"prod": "postgresql", "uwsgi": "mysql"}
    own = engines[site.kind]
    (other,) = set(engines.values()) - {own}
    changes = {
        "manifest of something else": lambda facts: facts.update(kind="something else"),
        "newer format": lambda facts: facts.update(format=2),
        "other stack": lambda facts: facts.update(engine=other),
        "newer server": lambda facts: facts.update(database_version="99.1"),
        "newer code": lambda facts: facts.update(migrations=[*facts["migrations"], "upload.9999_future"]),
    }
    if how in changes:
        forge(backed_up, file, change=changes[how])
    elif how == "truncated":
        file.write_bytes(whole[: len(whole) * 2 // 3])
    elif how == "no tar":
        file.write_bytes(b"x" * 5000)
    elif how == "other tar":
        with tarfile.open(file, "w") as archive:
            archive.add(__file__, "manifest.json")
    elif how.startswith("flipped"):
        with tarfile.open(backed_up) as archive:
            member = archive.getmember(how.split()[-1])
        spoilt = bytearray(whole)
        spoilt[member.offset_data + member.size // 2] ^= 1
        file.write_bytes(spoilt)
    containers = [(each["Id"], each["State"]["StartedAt"]) for each in site.inspect()]
    result = restore(site, "" if how == "unnamed" else file, check=False)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make: ")]
    assert result.returncode
    assert len(lines) == 1, result.stderr
    assert reason.format(own=own, other=other) in lines[0]
    assert result.stdout == ""
    assert [(each["Id"], each["State"]["StartedAt"]) for each in site.inspect()] == containers
    assert hidden(site) == ""


def test_a_restore_asks_first(site: Stack, backed_up: Path) -> None:
    result = site.make(f"restore{site.suffix}", FROM=str(backed_up), check=False)
    assert result.returncode
    assert f"This replaces database and uploads of {site.kind}" in result.stderr
    assert "nobody is there to ask; YES=1 answers" in result.stderr


# Where a restore can fail, by a program in the place of docker that refuses what has these words.
POINTS = {
    "load": ("load {name}_restored", "the dump does not load"),
    "unpack": ("tar -C .restored", "the uploads do not unpack"),
    "exchange": ("touch .before/.whole", "the uploads cannot be exchanged"),
    "init": ("manage.py init", "the init service failed"),
    "web": ("--scale web=", "web does not start"),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_restore_that_fails_half_way_puts_everything_back(
    site: Stack, backed_up: Path, tmp_path: Path, point: str
) -> None:
    words, message = POINTS[point]
    site.upload(name=f"before {point}.png").raise_for_status()
    before = data(site)
    words = words.format(name=f"hello_django_{site.kind}")
    fake = tmp_path / "docker"
    # The first time only: putting back needs the same commands.
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *"{words}"*) if mkdir "{tmp_path}/refused" 2> /dev/null; then\n'
        f'    echo "refused on purpose" >&2; cat > /dev/null; exit 1; fi ;; esac\nexec {shutil.which("docker")} "$@"\n'
    )
    fake.chmod(0o755)
    result = restore(site, backed_up, check=False, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (tmp_path / "refused").exists()
    assert result.returncode
    assert message in result.stderr
    assert "database and uploads are as they were" in result.stderr
    assert_as_before(site, before)


@pytest.mark.parametrize("call", ["first", "rename"])
def test_a_restore_whose_putting_back_fails_too_loses_nothing(
    site: Stack, backed_up: Path, tmp_path: Path, call: str
) -> None:
    """The database does not answer once, while what was there is put back: no answer is not "nothing there"."""
    site.upload(name=f"before {call}.png").raise_for_status()
    before = data(site)
    number = 1 if call == "first" else {"prod": 3, "uwsgi": 5}[site.kind]
    fake = tmp_path / "docker"
    fake.write_text(
        f'''#!/bin/sh
        cd "{tmp_path}"
        refuse() {{ echo "refused on purpose" >&2; cat > /dev/null; exit 1; }}
        case "$*" in
            *"touch .before/.whole"*) if mkdir exchange 2> /dev/null; then refuse; fi ;;
            *"psql --no-psqlrc"* | *"mysql --user=root"*)
                if [ -d exchange ]; then
                    echo >> calls
                    if [ "$(wc -l < calls)" = {number} ]; then refuse; fi
                fi ;;
        esac
        cd "$OLDPWD"
        exec {shutil.which("docker")} "$@"
        '''
    )
    fake.chmod(0o755)
    result = restore(site, backed_up, check=False, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "that failed too. Nothing is lost" in result.stderr
    assert "a restore was stopped half-way" in site.make(f"up{site.suffix}", check=False).stderr
    result = site.make(f"restore{site.suffix}", check=False)
    assert "putting back what was there before it" in result.stdout, result.stderr
    assert_as_before(site, before)


def assert_as_before(site: Stack, before: tuple[str, str]) -> None:
    wait_for(site.answers, 60, "the site answers")
    assert data(site) == before
    assert hidden(site) == ""
    assert not re.search("_before|_restored", databases(site))
    assert not list((site.folder / ".run").iterdir())
    site.upload().raise_for_status()


@pytest.mark.parametrize("line", ["restore: load the database", "restore: exchange"])
def test_an_interrupted_restore_puts_everything_back(site: Stack, backed_up: Path, line: str) -> None:
    before = data(site)
    with begun(site, "restore", line, FROM=str(backed_up), YES="1") as process:
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(120)
    assert "database and uploads are as they were" in rest
    assert_as_before(site, before)


@contextlib.contextmanager
def begun(stack: Stack, goal: str, line: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run make in a process group of its own, and go on when it has printed the line."""
    process = subprocess.Popen(
        ["make", goal + stack.suffix],
        cwd=stack.folder,
        env=stack.environment | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for text in process.stdout:
            if line in text:
                break
        else:
            pytest.fail(f"{goal} ended without {line!r}")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


def test_a_killed_restore_is_put_back_by_the_next(site: Stack, backed_up: Path, tmp_path: Path) -> None:
    before = data(site)
    fake = tmp_path / "docker"
    # Killed, make and all, when the new uploads are about to take their place; a line says when.
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *"touch .before/.whole"*) echo "about to exchange the uploads"; sleep 60 ;; esac\n'
        f'exec {shutil.which("docker")} "$@"\n'
    )
    fake.chmod(0o755)
    variables = {"FROM": str(backed_up), "YES": "1", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with begun(site, "restore", "about to exchange the uploads", **variables) as process:
        os.killpg(process.pid, signal.SIGKILL)
    for goal in ("up", "backup", "deploy"):
        result = site.make(f"{goal}{site.suffix}", check=False)
        assert result.returncode
        assert f"a restore was stopped half-way; `make restore-{site.kind}` puts back what was there" in result.stderr
    result = site.make(f"restore{site.suffix}", check=False)
    assert "putting back what was there before it" in result.stdout
    assert_as_before(site, before)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_restore_that_is_stopped_at_its_very_end_stays(
    site: Stack, backed_up: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    """From the moment in which the old uploads are out of the way, the old database is of no use either."""
    restore(site, backed_up)
    restored = data(site)
    site.upload(name="not in the backup.png").raise_for_status()
    site.python("from django.core.cache import cache; cache.set('of before', 1, 3600)")
    fake, real = tmp_path / "docker", shutil.which("docker")
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *"mv .before .old"*) {real} "$@" || exit\n'
        f'    echo "the old uploads are out of the way"; sleep 60; exit ;; esac\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    variables = {"FROM": str(backed_up), "YES": "1", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with begun(site, "restore", "the old uploads are out of the way", **variables) as process:
        os.killpg(process.pid, sent)
        rest = process.stdout.read()
        process.wait(120)
    if sent == signal.SIGKILL:
        # The way out when the database was stopped since.
        site.compose("stop", "db")
        rest = site.make(f"restore{site.suffix}", check=False).stdout
        assert "its data stays" in rest
    else:
        assert "has the data of" in rest
    assert_as_before(site, restored)
    assert site.python("from django.core.cache import cache; print(cache.get('of before'))") == "None\n"


def test_a_database_with_a_view(site: Stack) -> None:
    """Postgres renames a whole database; MySQL moves tables alone, so nothing is touched."""

    def sql(statement: str) -> None:
        site.python(f"from django.db import connection; connection.cursor().execute({statement!r})")

    sql("CREATE VIEW titles AS SELECT title FROM upload_picture")
    try:
        before = data(site)
        result = site.make(f"backup{site.suffix}")
        file = re.search(r"backups/\S+\.tar", result.stdout)[0]
        assert ("it has views, with which MySQL cannot exchange" in result.stderr) == (site.kind == "uwsgi")
        result = restore(site, file, check=False)
        if site.kind == "uwsgi":
            assert "MySQL exchanges no database that has views" in result.stderr
        assert bool(result.returncode) == (site.kind == "uwsgi"), result.stderr
        assert_as_before(site, before)
        sql("SELECT COUNT(*) FROM titles")
    finally:
        sql("DROP VIEW titles")


def test_half_written_backups_are_never_mistaken_for_whole_ones(site: Stack) -> None:
    listed = site.make(f"backups{site.suffix}").stdout

    def dumps() -> set[Path]:
        return set((site.folder / "backups").glob(".unfinished-*/database.sql.gz"))

    for sent in (signal.SIGKILL, signal.SIGINT):
        there = dumps()
        process = subprocess.Popen(
            ["make", f"backup{site.suffix}"],
            cwd=site.folder,
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # The one before was killed, and its folder is still there.
        wait_for(lambda there=there: dumps() - there, 60, "the dump has begun")
        os.killpg(process.pid, sent)
        assert process.wait(60)
        assert site.make(f"backups{site.suffix}").stdout == listed
        if sent == signal.SIGINT:
            assert not list((site.folder / "backups").glob(".unfinished-*"))
            assert hidden(site) == ""
    assert backup(site).exists()
    assert not list((site.folder / "backups").glob(".unfinished-*"))


def test_old_backups_are_pruned_and_the_rest_is_listed(site: Stack) -> None:
    folder = site.folder / "backups"
    others = [folder / "notes.txt", folder / "another-project-20200101-000000.tar"]
    for path in [*others, folder / f"{site.project}-20200101-000000.tar"]:
        path.write_text("old")
    newest = backup(site, KEEP="2")
    kept = sorted(path.name for path in folder.glob(f"{site.project}-*.tar"))
    assert len(kept) == 2
    assert newest.name == kept[-1]
    assert all(path.exists() for path in others)
    listed = site.make(f"backups{site.suffix}").stdout
    assert re.findall(r"backups/(\S+)", listed) == kept[::-1]
    for wrong in ("0", "00", "08", "x"):
        assert f"KEEP='{wrong}' is not a number" in site.make(f"backup{site.suffix}", check=False, KEEP=wrong).stderr


def test_two_backups_at_once_do_not_spoil_each_other(site: Stack) -> None:
    process = subprocess.Popen(["make", f"backup{site.suffix}"], cwd=site.folder, env=site.environment)
    try:
        wait_for(lambda: list((site.folder / "backups").glob(".unfinished-*")), 60, "the first has begun")
        result = site.make(f"backup{site.suffix}", check=False)
        assert result.returncode
        assert f"backup {site.kind} is under way" in result.stderr
    finally:
        assert process.wait(120) == 0


def test_a_backup_waits_for_an_init_that_was_left_alone(site: Stack) -> None:
    """As after a deploy that was killed: nobody holds the lock, and the migration goes on."""
    name, image = f"{site.project}-deploy-init", site.container("web")["Image"]
    run("docker", "run", "--detach", "--name", name, "--network", "none", "--entrypoint", "sleep", image, "600")
    try:
        process = subprocess.Popen(
            ["make", f"backup{site.suffix}"], cwd=site.folder, env=site.environment, stdout=subprocess.PIPE, text=True
        )
        try:
            for line in process.stdout:
                if "init is at work: waiting for it" in line:
                    break
            assert not list((site.folder / "backups").glob(".unfinished-*"))
        finally:
            run("docker", "rm", "--force", name)
            rest = process.communicate(timeout=120)[0]
        assert "backup: backups/" in rest
    finally:
        run("docker", "rm", "--force", name, check=False)


def test_a_backup_shows_how_far_it_is_to_who_looks(site: Stack) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["make", f"backup{site.suffix}"],
        cwd=site.folder,
        env=site.environment,
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(ours, 4096):
            shown += chunk
    os.close(ours)
    assert process.wait(120) == 0
    assert re.search(r"database +\d+ kB", shown.decode())
    assert re.search(r"uploads +\[#{40}\] 100 %", shown.decode())


def test_a_backup_moves_to_the_next_major_version_of_postgres(make_stack) -> None:
    """The commands of docs/production.md."""
    site = lasting_stack("prod", make_stack)
    if run("docker", "image", "inspect", "postgres:18", check=False).returncode:
        run("bin/base-images", "postgres:18", cwd=site.folder)
    env_file = site.folder / ".env.prod"
    settings = env_file.read_text()
    before = data(site)
    file = backup(site)
    newer = {"POSTGRES_IMAGE": "postgres:18", "POSTGRES_DATA": "/var/lib/postgresql"}
    result = site.make("verify-backup-prod", FROM=str(file), **newer)
    assert "is good" in result.stdout
    try:
        site.make("down-prod")
        run("docker", "volume", "rm", f"{site.project}_db_vol")
        site.set(**newer)
        site.make("up-prod")
        assert "18." in site.execute("db", "postgres", "--version").stdout
        restore(site, file)
        assert data(site) == before
        # It survives its container: the volume is where the data is.
        site.make("down-prod")
        site.make("up-prod")
        assert data(site) == before
        newer_file = backup(site)
    finally:
        env_file.write_text(settings)
        site.make("down-prod")
        run("docker", "volume", "rm", f"{site.project}_db_vol")
        site.make("up-prod")
        restore(site, file)
    result = restore(site, newer_file, check=False)
    assert "it comes from version 18 of the database, and 17 cannot read it" in result.stderr
    assert data(site) == before
