"""Adopted projects of every kind on real stacks, started as their owner would, with `make up-*`."""

import contextlib
import doctest
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import projects
from bench import PREFIX, Stack, picture, run, wait_for
from repository import ROOT

# Each kind on one stack at least; the last two on both.
STARTED = [
    ("nested", "prod"),
    ("split", "prod"),
    ("split", "dev"),
    ("occupied", "prod"),
    ("modern", "prod"),
    ("asgi", "uwsgi"),
    ("api", "uwsgi"),
    ("flat", "prod"),
    ("flat", "uwsgi"),
    ("custom_user", "prod"),
    ("custom_user", "uwsgi"),
]
STATIC = {"custom_user": "/assets/"}


class Adopted(Stack):
    """A stack of an adopted project, whose folder is the one above that of the stacks' files."""

    def __init__(self, name: str, kind: str, folder: Path) -> None:
        super().__init__(kind, folder / "deployment", f"{PREFIX}-{os.getpid()}-{name}-{kind}")
        self.site = folder

    def make(self, *words: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `make` in the project's folder, or, where that has a Makefile of its own, in the stacks'."""
        theirs = "deployment" not in (self.site / "Makefile").read_text()
        words = ("-C", "deployment", *words) if theirs else words
        return run("make", *words, check=check, cwd=self.site, env=self.environment | variables)


class Starter:
    """Adopts and starts the projects of STARTED ahead of their tests, two at a time: each mostly waits."""

    def __init__(self, folder: Path, wanted: list[tuple[str, str]]) -> None:
        self.folder = folder
        self.stacks: dict[tuple[str, str], Adopted] = {}
        self.pool = ThreadPoolExecutor(max_workers=2)
        # No more than so many at once: an engine has about thirty networks, and each stack wants three.
        self.room = threading.Semaphore(3)
        self.stopped = False
        self.futures = {(name, kind): self.pool.submit(self.start, name, kind) for name, kind in wanted}

    def start(self, name: str, kind: str) -> Adopted:
        while not self.room.acquire(timeout=0.5):
            if self.stopped:
                raise RuntimeError("the tests have ended")
        parent = self.folder / f"{name}-{kind}"
        parent.mkdir()
        folder = projects.make(name, parent)
        run("make", "adopt", f"DEST={folder}", cwd=ROOT)
        self.stacks[name, kind] = stack = Adopted(name, kind, folder)
        stack.start()
        return stack

    def remove(self, name: str, kind: str) -> None:
        if (name, kind) in self.stacks:
            self.stacks.pop((name, kind)).remove()
        self.room.release()

    def stop(self) -> None:
        self.stopped = True
        self.pool.shutdown(cancel_futures=True)
        for key in list(self.stacks):
            self.remove(*key)


@pytest.fixture(scope="module")
def starter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """The projects whose tests were chosen, on their way."""
    chosen = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    wanted = [(item.callspec.params["name"], item.callspec.params["kind"]) for item in chosen]
    starter = Starter(tmp_path_factory.mktemp("adopted"), wanted)
    yield starter
    starter.stop()


@pytest.fixture
def adopted(starter: Starter, name: str, kind: str) -> Iterator[Adopted]:
    """The project of this kind, adopted, up on this stack."""
    try:
        yield starter.futures[name, kind].result()
    finally:
        starter.remove(name, kind)


def works(stack: Adopted, name: str) -> None:
    """Assert that the site is there as its visitors see it."""
    answer = stack.get("/")
    assert (answer.status_code, answer.text) == (200, f"hello from {name}")
    assert answer.headers["Server"] == "nginx"
    for path in ("/healthz", "/readyz"):
        assert (stack.get(path).status_code, stack.get(path).text) == (200, "ok\n")
    if name != "api":
        styles_load(stack, STATIC.get(name, "/static/"))


def styles_load(stack: Adopted, static: str) -> None:
    """Assert that the admin's style sheets come from nginx, hashed and for ever."""
    page = stack.get("/admin/login/")
    assert page.status_code == 200
    sheets = re.findall(r'href="([^"]+\.css)"', page.text)
    assert sheets
    for sheet in sheets:
        assert sheet.startswith(static)
        answer = stack.get(sheet)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/css")
        assert "immutable" in answer.headers["Cache-Control"]


def settings(stack: Adopted, *names: str) -> list[Any]:
    """Return settings as the site has them."""
    code = f"from django.conf import settings; print(repr([getattr(settings, n, None) for n in {names!r}]))"
    output = stack.execute("web", "python", "manage.py", "shell", "--command", code).stdout
    return eval(output.splitlines()[-1], {})  # noqa: S307  # what repr() wrote


@pytest.mark.parametrize(("name", "kind"), STARTED)
def test_site(name: str, kind: str, adopted: Adopted) -> None:
    stack = adopted
    if kind == "dev":
        develops(stack)
        return
    works(stack, name)
    checked = stack.make(f"manage-{kind}", "ARGS=check --deploy --fail-level WARNING", check=name != "api")
    if name != "api":
        assert "no issues" in checked.stdout
    else:
        # Without SecurityMiddleware and the like, which is its own affair, and told.
        assert "security.W001" in checked.stdout + checked.stderr
    if name == "nested":
        version = stack.execute("web", "python", "-m", "django", "--version").stdout
        assert version.startswith("4.2.")
    if name == "split":
        database, redirect = settings(stack, "DATABASES", "SECURE_SSL_REDIRECT")
        assert database["default"]["ATOMIC_REQUESTS"] is True
        assert redirect is False, "there is no HTTPS yet"
    if name == "occupied":
        assert stack.execute("web", "python", "-c", "import redis; print(redis.__version__)").stdout.startswith("5.")
    if (name, kind) == ("custom_user", "prod"):
        files(stack)
        deploy_back_up_and_restore(stack)


def files(stack: Adopted) -> None:
    """Uploads: pictures are shown, everything else is a download, nothing runs."""
    stack.execute("web", "python", "manage.py", "shell", "--command", KEEP, input=picture().hex(), stdin=None)
    shown = stack.get("/uploads/portraits/me.png")
    assert (shown.content, shown.headers["Content-Type"]) == (picture(), "image/png")
    assert "Content-Disposition" not in shown.headers
    for path in ("/uploads/portraits/me.html", "/uploads/portraits/me.svg"):
        answer = stack.get(path)
        assert (answer.status_code, answer.headers["Content-Disposition"]) == (200, "attachment")
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert stack.get("/uploads/.incoming/").status_code == 404


KEEP = """
import sys
from django.core.files.base import ContentFile
from people.models import Person
content = bytes.fromhex(sys.stdin.read())
for kind in ("png", "html", "svg"):
    person = Person(username=kind, is_staff=True, is_superuser=True)
    person.set_password("a good one")
    person.portrait.save(f"me.{kind}", ContentFile(content))
"""


LOSE = """
from people.models import Person
[person.portrait.delete() for person in Person.objects.all()]
Person.objects.all().delete()
"""


def deploy_back_up_and_restore(stack: Adopted) -> None:
    backup = stack.make("backup-prod").stdout
    name = re.search(r"backups/\S+\.tar", backup)[0]
    assert "3 files" in backup
    assert "is good" in stack.make("verify-backup-prod", f"FROM={name}").stdout

    projects.edit(stack.site / "shop/views.py", ("hello from", "welcome to"))
    assert "runs the new version" in stack.make("deploy-prod").stdout
    assert stack.get("/").text == "welcome to custom_user"

    stack.execute("web", "python", "manage.py", "shell", "--command", LOSE)
    assert stack.get("/uploads/portraits/me.png").status_code == 404
    stack.make("restore-prod", f"FROM={name}", YES="1")
    wait_for(stack.answers, 60, "the site answers again")
    assert stack.get("/uploads/portraits/me.png").content == picture()
    session = requests.Session()
    session.get(f"{stack.url}/admin/login/", timeout=30)
    form = {"username": "png", "password": "a good one", "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    page = session.post(f"{stack.url}/admin/login/?next=/admin/", data=form, timeout=30)
    assert "sessionid" in session.cookies, page.text


def develops(stack: Adopted) -> None:
    """Their development settings, on Postgres, and an edit is live."""
    assert stack.get("/").text == "hello from split"
    debug, databases = settings(stack, "DEBUG", "DATABASES")
    assert debug is True
    assert databases["default"]["ENGINE"] == "django.db.backends.postgresql"
    projects.edit(stack.site / "src/config/views.py", ("from split", "from an edit"))

    def edited() -> bool:
        # runserver is away for a moment when it restarts.
        with contextlib.suppress(requests.RequestException):
            return stack.get("/").text == "hello from an edit"

    wait_for(edited, 60, "the edit is live")


def test_by_hand(tmp_path: Path) -> None:
    """docs/existing-project.md, word for word, up to its end."""
    clone = projects.by_hand(tmp_path)
    stack = Adopted("by-hand", "prod", tmp_path / "mysite")
    checker = doctest.OutputChecker()
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    seen = []
    try:
        for command, shown in projects.blocks("docs/existing-project.md"):
            result = run("bash", "-c", f"exec 2>&1; set -eu\n{command}", cwd=clone, env=stack.environment)
            shown = shown.replace("1337", str(stack.port))
            assert not shown or checker.check_output(shown, result.stdout, options), f"{command}\n{result.stdout}"
            seen.append(bool(shown))
        assert seen.count(True) == 2
        works(stack, "flat")
    finally:
        stack.remove()


def test_settings_that_cannot_be_imported(tmp_path: Path) -> None:
    """They are looked at in the image alone, and there one line says what is wrong."""
    folder = projects.make("flat", tmp_path)
    projects.edit(folder / "mysite/settings.py", ("DEBUG = True", "import os\nDEBUG = os.environ['MAIL_PASSWORD']"))
    run("make", "adopt", f"DEST={folder}", cwd=ROOT)
    stack = Adopted("flat", "prod", folder)
    try:
        result = stack.make("up-prod", check=False)
        assert result.returncode
        reason = "settings: BASE_SETTINGS='mysite.settings' cannot be imported: KeyError: 'MAIL_PASSWORD'"
        assert reason in result.stderr
        assert "Traceback" not in result.stderr

        (stack.folder / "secrets/prod/own.env").write_text("MAIL_PASSWORD=of their own\n")
        stack.start()
        works(stack, "flat")
    finally:
        stack.remove()
