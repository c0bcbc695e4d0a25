"""`make adopt` on projects of many kinds: what it finds, writes, leaves alone, and takes back."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import nginx_config
import projects
from repository import ROOT, run, tool

Result = subprocess.CompletedProcess[str]
Snapshot = dict[str, tuple[bytes, int]]


def adopt(folder: Path | str, **variables: str) -> Result:
    return run(["bin/adopt"], env={"DEST": str(folder), "PYTHON": sys.executable, **variables})


def done(folder: Path | str, **variables: str) -> str:
    """Adopt, and return what it printed."""
    result = adopt(folder, **variables)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def refused(folder: Path | str, *named: str, **variables: str) -> None:
    """Assert that it says all of this in one line, and changes nothing."""
    before = snapshot(Path(folder)) if folder and Path(folder).is_dir() else {}
    result = adopt(folder, **variables)
    message = result.stderr.splitlines()
    assert result.returncode == 1
    assert len(message) == 1, result.stderr
    assert message[0].startswith("adopt: ")
    assert "Traceback" not in result.stdout + result.stderr
    for words in named:
        assert words in message[0]
    assert (snapshot(Path(folder)) if before else {}) == before


def snapshot(folder: Path) -> Snapshot:
    """Return every file with its content and mode, every folder by its name; git's own data is left out."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if ".git" not in path.relative_to(folder).parts
    }


def text(folder: Path, path: str) -> str:
    return (folder / "deployment" / path).read_text()


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    result = run(["git", "-C", folder, *who, *words])
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The plainest project."""
    return projects.make("flat", tmp_path)


# --- All kinds ---


@pytest.mark.parametrize("kind", projects.KINDS)
def test_shown_adopted_again_and_taken_back(kind: str, tmp_path: Path) -> None:
    """A dry run changes nothing; theirs stays; a second run changes nothing; undo restores all, byte for byte."""
    folder = projects.make(kind, tmp_path)
    before = snapshot(folder)
    shown = done(folder, DRY_RUN="1")
    assert snapshot(folder) == before
    assert "nothing was written" in shown

    listed = re.compile(r"(?m)^  (?:new|lines) +(.*)$")
    assert listed.findall(done(folder)) == listed.findall(shown)
    after = snapshot(folder)
    assert {path for path in before if after.get(path) != before[path]} <= {".dockerignore"}
    assert after[".dockerignore"][0].startswith(before.get(".dockerignore", (b"",))[0])
    made = {path for path, (content, _) in after.items() if content and path not in before}
    assert made <= set(listed.findall(shown)) | {"deployment/.adopted.json"}

    assert "\n0 files written" in done(folder)
    assert snapshot(folder) == after
    done(folder, UNDO="1")
    assert snapshot(folder) == before


@pytest.mark.parametrize("kind", projects.KINDS)
def test_what_is_written_is_whole_and_nothing_of_ours_is_left(kind: str, tmp_path: Path) -> None:
    folder = projects.make(kind, tmp_path)
    done(folder)
    files = [path for path in (folder / "deployment").rglob("*") if path.is_file()]
    for path in files:
        content = path.read_text()
        assert not re.search(r"hello_django|^name: django-on-docker", content, re.M), path
        assert not re.search(r"\bfrom upload\b|['\"]upload[.'\"]|PictureUploadHandler|UPLOAD_REQUIRES", content), path
        if path.suffix == ".py":
            compile(content, str(path), "exec")
        elif content.startswith("#!"):
            # Redis' image starts its program by name.
            assert path.stat().st_mode & 0o100 or path.name == "start.sh", path
    programs = [path for path in files if path.read_text().startswith("#!")]
    assert run(["sh", "-c", 'for f; do sh -n "$f" || exit 1; done', "sh", *programs]).returncode == 0


def test_make_adopt(site: Path) -> None:
    """The variables of make's command line arrive, spaces in them included."""
    before = snapshot(site)
    words = ["make", "--silent", "adopt", f"DEST={site}", f"PYTHON={sys.executable}"]
    result = run([*words, "FOLDER=on_docker_here"])
    assert (result.returncode, result.stderr) == (0, "")
    assert (site / "on_docker_here/bin/up").exists()
    assert run([*words, "UNDO=1"]).returncode == 0
    assert snapshot(site) == before


# --- What is found ---


def test_names_come_from_the_folder(tmp_path: Path) -> None:
    folder = projects.make("flat", tmp_path).rename(tmp_path / "3 My.Shop (new)")
    done(folder)
    assert "\nname: site-3-my-shop-new-prod\n" in text(folder, "docker-compose.prod.yml")
    assert "\nname: site-3-my-shop-new-dev\n" in text(folder, "docker-compose.yml")
    assert "\nSQL_DATABASE=site_3_my_shop_new_prod\n" in text(folder, ".env.prod")
    assert "\nPOSTGRES_DB=site_3_my_shop_new_prod\n" in text(folder, ".env.prod.db")
    assert "\nMYSQL_USER=site_3_my_shop_new\n" in text(folder, ".env.uwsgi.db")
    assert "--username=site_3_my_shop_new " in text(folder, "Makefile")


def test_a_project_in_a_subfolder(tmp_path: Path) -> None:
    folder = projects.make("nested", tmp_path)
    done(folder)
    assert "APP_HOME=/home/app/web/mysite " in text(folder, "app/Dockerfile.prod")
    assert "APP_HOME=/usr/src/app/mysite " in text(folder, "app/Dockerfile")
    assert "\nCOPY requirements.txt ./\n" in text(folder, "app/Dockerfile.prod")


def test_split_settings_and_requirements(tmp_path: Path) -> None:
    folder = projects.make("split", tmp_path)
    shown = done(folder)
    assert "\nBASE_SETTINGS=config.settings.local\n" in text(folder, ".env.dev")
    for stack in ("prod", "uwsgi"):
        assert "\nBASE_SETTINGS=config.settings.production\n" in text(folder, f".env.{stack}")
    assert "\nCOPY requirements/production.txt requirements/base.txt ./requirements/\n" in text(
        folder, "app/Dockerfile.prod"
    )
    assert "/opt/venv/bin/python requirements/production.txt\n" in text(folder, "app/Dockerfile.prod")
    assert "python requirements/local.txt " in text(folder, "app/Dockerfile")
    assert "split.example of your ALLOWED_HOSTS" in shown


def test_requirements_named_from_here_or_from_there(site: Path, tmp_path: Path) -> None:
    (site / "requirements").mkdir()
    (site / "requirements/live.txt").write_text("django\n")
    here = os.path.relpath(site, ROOT)
    for given in ("requirements/live.txt", f"{here}/requirements/live.txt", str(site / "requirements/live.txt")):
        done(site, REQUIREMENTS=given)
        assert "\nCOPY requirements/live.txt ./requirements/\n" in text(site, "app/Dockerfile.prod")
    (tmp_path / "live.txt").write_text("django\n")
    for given in ("../live.txt", str(tmp_path / "live.txt"), "README.md", "~nobody-here/x"):
        refused(site, f"REQUIREMENTS={given} is no file in {site}: ", REQUIREMENTS=given)


def test_pyproject(tmp_path: Path) -> None:
    folder = projects.make("modern", tmp_path)
    done(folder)
    assert "\nCOPY pyproject.toml ./\n" in text(folder, "app/Dockerfile.prod")
    assert "/opt/venv/bin/python pyproject.toml\n" in text(folder, "app/Dockerfile.prod")


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        (".python-version", "3.11.9\n", "3.11"),
        ("runtime.txt", "python-3.12.1\n", "3.12"),
        (".python-version", "pypy3.10\n", "3.13"),
        ("pyproject.toml", '[project]\nrequires-python = ">=3.11,<3.13"\n', "3.12"),
        ("pyproject.toml", '[project]\nrequires-python = "~=3.11"\n', "3.13"),
        ("pyproject.toml", '[project]\nrequires-python = "==3.11.*"\n', "3.11"),
        ("pyproject.toml", '[project]\nrequires-python = ">=3.14"\n', "3.14"),
        ("pyproject.toml", "[tool.ruff]\n", "3.13"),
    ],
)
def test_the_version_of_python(site: Path, name: str, content: str, found: str) -> None:
    (site / name).write_text(content)
    assert f"; Python {found}\n" in done(site)
    line = f"\nPYTHON_IMAGE=python:{found}-slim-trixie\n"
    for stack in ("dev", "prod", "uwsgi"):
        assert (line in text(site, f".env.{stack}")) == (found != "3.13")


def test_without_requirements_they_are_begun(site: Path) -> None:
    assert "no list of requirements" in done(site)
    # startproject has written its version into the settings.
    version = re.search(r"using Django (\d+\.\d+)", (site / "mysite/settings.py").read_text())[1]
    assert text(site, "app/requirements/project.txt").splitlines()[-1] == f"django~={version}.0"
    assert "COPY deployment/app/requirements/project.txt ./deployment/app/requirements/" in text(
        site, "app/Dockerfile.prod"
    )
    (site / "requirements.txt").write_text("django\n")
    done(site)
    assert not (site / "deployment/app/requirements/project.txt").exists()
    assert "COPY requirements.txt ./" in text(site, "app/Dockerfile.prod")


def test_their_addresses_are_nginxs(tmp_path: Path) -> None:
    folder = projects.make("custom_user", tmp_path)
    done(folder)
    nginx, settings = text(folder, "nginx/nginx.conf"), text(folder, "app/on_docker/settings.py")
    assert 'STATIC_URL = "/assets/"' in settings
    assert 'MEDIA_URL = "/uploads/"' in settings
    assert "location ^~ /assets/ {\n            alias /srv/static/;" in nginx
    assert '"^/assets/(?<hashed>' in nginx
    assert "location /uploads/ {\n            alias /srv/media/;" in nginx
    assert not re.search(r"(?<!/srv)/(static|media)/", nginx)
    # Neither what was collected nor what was uploaded here gets into an image.
    assert {"collected", "user_files"} <= set((folder / ".dockerignore").read_text().split())


@pytest.mark.parametrize(
    ("root", "ignored"),
    [
        ('BASE_DIR / "mysite" / "media"', "mysite/media"),
        ('os.path.join(BASE_DIR, "static", "media")', "static/media"),
        ('Path(BASE_DIR).joinpath("var", "media")', "var/media"),
        ('os.environ.get("MEDIA_ROOT", "uploads")', "uploads"),
        ('str(Path(__file__).resolve().parent / "media")', "mysite/media"),
        ('os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")', "mysite/files"),
        ('Path(__file__).parents[1] / "var.d" / "media"', "var.d/media"),
        ('config("MEDIA_ROOT", default=str(BASE_DIR / "uploads"))', "uploads"),
        ('BASE_DIR / ".uploads"', ".uploads"),
        ('os.path.join(os.path.dirname(__file__), "..", "uploads")', "uploads"),
        ('os.path.join(os.path.abspath(os.path.join(os.path.dirname(__file__), "..")), "uploads")', "uploads"),
        ('(BASE_DIR / "mysite" / "..").resolve() / "uploads"', "uploads"),
        ('os.path.join(os.path.dirname(os.path.abspath(os.path.join(__file__, ".."))), "uploads")', "uploads"),
    ],
)
def test_where_uploads_are_is_read_in_order(site: Path, root: str, ignored: str) -> None:
    settings = site / "mysite/settings.py"
    settings.write_text(f"{settings.read_text()}\nimport os\nfrom pathlib import Path\n\nMEDIA_ROOT = {root}\n")
    done(site)
    lines = (site / ".dockerignore").read_text().splitlines()
    assert ignored in lines
    assert not {"mysite", "static", "media", "MEDIA_ROOT"} & set(lines)


def test_what_is_beside_the_project_hides_nothing_of_it(site: Path) -> None:
    """As of collected files in the folder above: one of that name in the project has sources in it."""
    add(site, "STATIC_ROOT = BASE_DIR.parent / 'static'\nMEDIA_ROOT = '/srv/media'\n")
    done(site)
    assert not {"static", "media", "srv/media"} & set((site / ".dockerignore").read_text().splitlines())


@pytest.mark.parametrize("root", ["''", "BASE_DIR", "BASE_DIR.parent", "'.'"])
def test_a_folder_with_the_code_in_it_is_not_hidden(tmp_path: Path, root: str) -> None:
    folder = projects.make("nested", tmp_path)
    done(folder)
    before = (folder / ".dockerignore").read_text()
    done(folder, UNDO="1")
    with (folder / "mysite/mysite/settings.py").open("a") as settings:
        settings.write(f"\nMEDIA_ROOT = {root}\n")
    done(folder)
    assert (folder / ".dockerignore").read_text() == before


def test_a_folder_that_the_settings_do_not_say_is_asked_for(site: Path) -> None:
    add(site, "MEDIA_ROOT = where_it_is('media')\n")
    assert "is where_it_is('media') within your project? Then it belongs into .dockerignore" in done(site)


@pytest.mark.parametrize("name", ["':memory:'", "os.environ.get('DB', ':memory:')", "'file:x?mode=memory'"])
def test_a_database_in_memory_is_no_file(site: Path, name: str) -> None:
    add(site, f"import os\nDATABASES = {{'default': {{'ENGINE': 'django.db.backends.sqlite3', 'NAME': {name}}}}}\n")
    shown = done(site)
    assert "into .dockerignore" not in shown
    assert "mode=memory" not in shown


@pytest.mark.parametrize("name", ["my uploads", "uploads[1]"])
def test_a_folder_that_an_ignore_file_would_not_take_as_it_stands_is_told(site: Path, name: str) -> None:
    add(site, f"MEDIA_ROOT = BASE_DIR / '{name}'\n")
    assert f"put {name} into .dockerignore: " in done(site)
    assert name not in (site / ".dockerignore").read_text()


@pytest.mark.parametrize("root", ["static", "static/images", "."])
@pytest.mark.parametrize(
    "source", ["BASE_DIR / 'assets' / 'static'", "('pre', os.path.join(BASE_DIR, 'assets/static'))"]
)
def test_the_sites_own_static_files_are_not_hidden(site: Path, root: str, source: str) -> None:
    add(site, f"import os\nSTATICFILES_DIRS = [{source}]\nMEDIA_ROOT = BASE_DIR / 'assets' / '{root}'\n")
    assert f"{Path('assets', root)} is within STATICFILES_DIRS or around it" in done(site)
    assert "assets" not in (site / ".dockerignore").read_text()


def test_what_development_has_here_stays_out_of_the_image(tmp_path: Path) -> None:
    """Although production has its files elsewhere."""
    folder = projects.make("split", tmp_path)
    with (folder / "src/config/settings/base.py").open("a") as base:
        base.write("MEDIA_ROOT = BASE_DIR / 'media'\nSTATIC_ROOT = where_it_is('static')\n")
    with (folder / "src/config/settings/production.py").open("a") as production:
        production.write("MEDIA_ROOT = BASE_DIR / 'uploads'\n")
    assert done(folder).count("is where_it_is('static') within your project?") == 1
    assert {"src/media", "src/uploads"} <= set((folder / ".dockerignore").read_text().splitlines())


def test_a_database_in_a_file_stays_out_of_the_image(site: Path) -> None:
    add(
        site,
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'var' / 'site.db'}}\n",
    )
    done(site)
    assert "var/site.db" in (site / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("url", ["https://cdn.example.com/", "/", "os.environ['X']", "/a b/"])
def test_an_address_that_nginx_cannot_serve_is_told(site: Path, url: str) -> None:
    value = url if url.startswith("os.") else repr(url)
    projects.edit(site / "mysite/settings.py", ("'static/'", value))
    assert "STATIC_URL is" in done(site)
    assert "location ^~ /static/ {" in text(site, "nginx/nginx.conf")


def test_what_the_environment_has_to_give_is_told(site: Path) -> None:
    with (site / "mysite/settings.py").open("a") as settings:
        settings.write(
            "import os\nA = os.environ['MAIL_PASSWORD']\nB = os.environ.get('OPTIONAL')\nC = os.environ['SECRET_KEY']\n"
            "def env(*x, **y): ...\nD = env('STRIPE_KEY')\nE = env('WITH_DEFAULT', default='')\n"
        )
    assert "ask the environment for MAIL_PASSWORD, STRIPE_KEY:" in done(site)


def test_what_a_file_of_variables_has_is_told_by_name(tmp_path: Path) -> None:
    folder = projects.make("nested", tmp_path)
    (folder / ".env").write_text(
        "# A=1\nMAIL_PASSWORD=hush\nexport  stripe_key = 'hush=1'\nSECRET_KEY=hush\n\nnothing\n"
        'SECRET_KEY="-----BEGIN KEY-----\n\\"hush\nhush=\n-----END KEY-----"\n'
    )
    (folder / "mysite/.env").write_text("DEBUG=1\nOTHER=hush\n", encoding="utf-8-sig")
    shown = done(folder)
    assert (
        "your .env does not get into the image: put MAIL_PASSWORD, stripe_key into the env files, or own.env" in shown
    )
    assert "your mysite/.env does not get into the image: put OTHER into the env files, or own.env" in shown
    assert "hush" not in shown
    (folder / ".env").write_text("SECRET_KEY=hush\n")
    (folder / "mysite/.env").unlink()
    (folder / "mysite/.env").mkdir()
    assert "does not get into the image" not in done(folder)


def test_packages_from_git_are_told(tmp_path: Path) -> None:
    folder = projects.make("nested", tmp_path)
    with (folder / "requirements.txt").open("a") as requirements:
        requirements.write("mine @ git+https://example.com/mine.git@1.0\n")
    assert "requirements.txt has packages from git, which the image has not" in done(folder)
    projects.edit(folder / "requirements.txt", ("mine @ git+", "# mine @ git+"))
    assert "from git" not in done(folder)


def test_asgi_is_told(tmp_path: Path) -> None:
    assert "websockets" in done(projects.make("asgi", tmp_path))


@pytest.mark.parametrize(
    "lines",
    [
        "ASGI_APPLICATION = 'mysite.asgi.application'\n",
        "INSTALLED_APPS = ['daphne', *INSTALLED_APPS]\n",
        "THIRD_PARTY = ['channels']\nINSTALLED_APPS += THIRD_PARTY\n",
    ],
)
def test_asgi_beside_wsgi_is_told(site: Path, lines: str) -> None:
    assert "websockets" not in done(site)
    add(site, lines)
    assert "websockets" in done(site)


def test_celery_is_told(site: Path) -> None:
    note = "your project has Celery: the stacks run no worker and no beat"
    assert note not in done(site)
    (site / "mysite/celery.py").write_text("")
    assert note in done(site)
    (site / "mysite/celery.py").unlink()
    add(site, "CELERY_BROKER_URL = 'amqp://broker'\n")
    assert note in done(site)


def test_their_makefile_and_ignore_files_stay(tmp_path: Path) -> None:
    folder = projects.make("occupied", tmp_path)
    assert "make -C deployment up-prod" in done(folder)
    assert (folder / "Makefile").read_text() == "all:\n\techo theirs\n"
    git(folder, "init", "--quiet")
    ignored = run(["git", "-C", folder, "check-ignore", "deployment/.env.prod", "deployment/bin/lib/stack.sh"])
    assert ignored.stdout == "", "although their .gitignore has both"


def test_the_makefile_passes_targets_on(site: Path) -> None:
    done(site)
    (site / "config").mkdir()
    assert "up-prod" in run(["make"], cwd=site).stdout
    for target in ("up-prod", "config"):
        assert run(["make", "--dry-run", target], cwd=site).stdout.splitlines()[1].startswith(("bin/", "docker "))
    assert run(["make", "nonsense"], cwd=site).returncode


def test_secrets_of_an_adopted_project_are_ignored(site: Path) -> None:
    done(site)
    git(site, "init", "--quiet")
    assert run(["bin/secrets", "prod", "uwsgi"], cwd=site / "deployment").returncode == 0
    git(site, "add", ".")
    tracked = git(site, "ls-files").splitlines()
    assert "deployment/.env.prod" in tracked
    assert not [path for path in tracked if "secrets/" in path]


def test_another_folder(site: Path) -> None:
    (site / "deployment").mkdir()
    refused(site, "deployment is there already", "FOLDER=")
    done(site, FOLDER="on_servers")
    assert not list((site / "deployment").iterdir())
    for path in (site / "on_servers").rglob("*"):
        assert not path.is_file() or "deployment/" not in path.read_text().replace("opt/deployment/", ""), path
        assert not path.is_file() or "opt/on_servers" not in path.read_text(), path
    assert (
        "mv on_servers/app /opt/deployment && rm -r on_servers/ "
        in (site / "on_servers/app/Dockerfile.prod").read_text()
    )
    assert "up-prod" in run(["make"], cwd=site).stdout
    refused(site, "on_servers", "UNDO=1", FOLDER="other")
    done(site, UNDO="1")
    assert not (site / "on_servers").exists()


@pytest.mark.parametrize("kind", ["flat", "custom_user"])
def test_linters_find_nothing_in_what_was_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = projects.make(kind, tmp_path)
    done(folder)
    own = folder / "deployment"
    programs = [path for path in own.rglob("*") if path.is_file() and path.read_text().startswith("#!/bin/sh")]
    # From the folder of bin/, as the comments that name sourced files have it.
    checked = run([tool("shellcheck"), "--external-sources", *programs], cwd=own)
    assert checked.returncode == 0, checked.stdout
    monkeypatch.setattr(nginx_config, "ROOT", own)
    (tmp_path / "nginx").mkdir()
    config = nginx_config.render("prod", tmp_path / "nginx")
    # It means clients' connections; ours is of those to Gunicorn, which nginx itself closes.
    checked = run([tool("gixy"), "--skips", "low_keepalive_requests", "-f", "text", config])
    assert checked.returncode == 0, checked.stdout


# --- What is not overwritten ---


def test_what_was_changed_here_is_kept(site: Path) -> None:
    done(site)
    env = site / "deployment/.env.prod"
    env.write_text(env.read_text().replace("HTTP_PORT=1337", "HTTP_PORT=80"))
    assert "  yours    deployment/.env.prod\n" in done(site, YES="1"), "there is nothing new to offer"
    assert "HTTP_PORT=80\n" in env.read_text()


def pretend_older(site: Path, path: str, old: bytes) -> None:
    """Make it look as if an earlier version had written this file in this way."""
    state = site / "deployment/.adopted.json"
    known = json.loads(state.read_text())
    known["files"][path] = hashlib.sha256(old).hexdigest()
    state.write_text(json.dumps(known))


def test_a_new_version(site: Path) -> None:
    done(site)
    before = snapshot(site)
    for name in ("up", "tls", "logs"):
        (site / "deployment/bin" / name).write_text("#!/bin/sh\n# old\n")
        pretend_older(site, f"deployment/bin/{name}", b"#!/bin/sh\n# old\n")
    (site / "deployment/bin/tls").write_text("#!/bin/sh\n# mine\n")
    (site / "deployment/bin/gone").write_text("old")
    pretend_older(site, "deployment/bin/gone", b"old")
    (site / "deployment/bin/logs").unlink()

    shown = done(site)
    assert "  update   deployment/bin/up\n" in shown
    assert "  new      deployment/bin/logs\n" in shown
    assert "  remove   deployment/bin/gone\n" in shown
    assert "tls was changed here" in shown
    assert "YES=1" in shown
    after = snapshot(site)
    assert after.pop("deployment/bin/tls")[0] == b"#!/bin/sh\n# mine\n"
    kept = before.pop("deployment/bin/tls")
    assert {**after, "deployment/.adopted.json": 0} == {**before, "deployment/.adopted.json": 0}

    pretend_older(site, "deployment/bin/tls", b"#!/bin/sh\n# old\n")
    assert "  replace  deployment/bin/tls\n" in done(site, YES="1")
    assert snapshot(site)["deployment/bin/tls"] == kept


def test_undo_keeps_what_was_changed_or_made_since(site: Path) -> None:
    before = snapshot(site)
    done(site)
    (site / "deployment/.env.prod").write_text("mine\n")
    assert run(["bin/secrets", "prod"], cwd=site / "deployment").returncode == 0
    shown = done(site, UNDO="1")
    assert ".env.prod was changed since" in shown
    assert "docker compose -p flat-site-prod down" in shown
    assert (site / "deployment/.env.prod").read_text() == "mine\n"
    assert (site / "deployment/secrets/prod/secret_key").exists()
    # What hides them from git and images stays as long as they do.
    assert "/secrets/" in (site / "deployment/.gitignore").read_text()
    assert "deployment/*" in (site / ".dockerignore").read_text()
    assert "kept     deployment/.gitignore, and the lines in .dockerignore, because of secrets" in shown
    shutil.rmtree(site / "deployment")
    (site / ".dockerignore").unlink()
    assert snapshot(site) == before


def undone_after_a_start(site: Path) -> None:
    """Adopt, start a stack, as far as files know of it, and undo."""
    done(site)
    assert run(["bin/secrets", "prod"], cwd=site / "deployment").returncode == 0
    done(site, UNDO="1")
    assert {path.name for path in (site / "deployment").iterdir()} == {"secrets", ".gitignore"}


@pytest.mark.parametrize("ignored", [None, "mine\n"])
def test_what_undo_has_left_is_taken_up_again(site: Path, ignored: str | None) -> None:
    if ignored:
        (site / ".dockerignore").write_text(ignored)
    before = snapshot(site)
    undone_after_a_start(site)
    key = (site / "deployment/secrets/prod/secret_key").read_bytes()
    section = (site / ".dockerignore").read_bytes()
    done(site)
    assert (site / "deployment/secrets/prod/secret_key").read_bytes() == key
    assert (site / ".dockerignore").read_bytes() == section
    assert "\n0 files written" in done(site)
    shutil.rmtree(site / "deployment/secrets")
    done(site, UNDO="1")
    assert snapshot(site) == before


def test_what_hides_passwords_that_undo_has_left_stays_beside_another_folder(site: Path) -> None:
    (site / ".dockerignore").write_text("mine\n")
    undone_after_a_start(site)
    done(site, FOLDER="my-docker")
    for _ in range(2):
        lines = (site / ".dockerignore").read_text().splitlines()
        assert lines.index("mine") < lines.index("deployment/*") < lines.index("my-docker/*")
        assert lines.count("# >>> make adopt >>>") == 1
        done(site)
    done(site, UNDO="1")
    lines = (site / ".dockerignore").read_text().splitlines()
    assert "deployment/*" in lines
    assert "my-docker/*" not in lines
    assert (site / "deployment/secrets/prod/secret_key").exists()


def test_a_folder_with_more_than_undo_leaves_is_not_taken_up(site: Path) -> None:
    undone_after_a_start(site)
    (site / "deployment/notes.txt").write_text("mine\n")
    refused(site, "deployment is there already, with passwords that UNDO=1 has left: move notes.txt away")


def test_what_was_changed_before_undo_is_taken_up_again(site: Path) -> None:
    done(site)
    assert run(["bin/secrets", "prod"], cwd=site / "deployment").returncode == 0
    for name in (".env.prod", "compose/nginx/ssl/fullchain.pem", "certbot/authority/root.pem"):
        (site / "deployment" / name).write_text("mine\n")
    assert "kept     deployment/.env.prod" in done(site, UNDO="1")
    assert "kept     deployment/.env.prod" in done(site)
    assert (site / "deployment/.env.prod").read_text() == "mine\n"


def test_a_folder_with_passwords_of_another_kind_is_not_taken_up(site: Path) -> None:
    (site / "deployment/secrets").mkdir(parents=True)
    (site / "deployment/Makefile").write_text("mine\n")
    refused(site, "deployment is there already: name another, FOLDER=docker")


def test_what_undo_has_left_is_no_change_to_commit(site: Path) -> None:
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        git(site, *words)
    undone_after_a_start(site)
    done(site)
    done(site, UNDO="1")
    (site / "theirs.txt").write_text("mine\n")
    refused(site, "changes that are not committed (theirs.txt)")


def test_a_dry_undo(site: Path) -> None:
    done(site)
    before = snapshot(site)
    assert "nothing was changed" in done(site, UNDO="1", DRY_RUN="1")
    assert snapshot(site) == before


def test_lines_added_to_the_ignore_file_since_stay(tmp_path: Path) -> None:
    folder = projects.make("occupied", tmp_path)
    done(folder)
    with (folder / ".dockerignore").open("a") as file:
        file.write("!mine\n")
    done(folder)
    done(folder, UNDO="1")
    assert (folder / ".dockerignore").read_text().splitlines() == [
        "*",
        "!busy",
        "!manage.py",
        "!requirements.txt",
        "!mine",
    ]


# A Python in which something is otherwise. Called with the options -I -B; before, to ask for its version.
OTHER_PYTHON = f"""#!{sys.executable}
import errno, os, pathlib, runpy, sys

{{patch}}

if sys.argv[1] == "-I":
    del sys.argv[:3]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Its disk is full when the last file is written.
FULL_DISK = """
replace = pathlib.Path.replace


def full(self, target):
    if target.name == "Makefile" and target.parent.name != "deployment":  # the last file
        raise OSError(errno.ENOSPC, "No space left on device")
    return replace(self, target)


pathlib.Path.replace = full
"""
# Nothing named pgdata can be read, which root, as whom tests may run, always can.
CLOSED = """
access, listdir, scandir, stat = os.access, os.listdir, os.scandir, os.stat


def guarded(call):
    def guard(path=".", *words, **more):
        inside = isinstance(path, (str, os.PathLike)) and pathlib.PurePath(path)
        if inside and ("pgdata" in inside.parent.parts or inside.name == "pgdata" and call is not stat):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return call(path, *words, **more)

    return guard


os.listdir, os.scandir, os.stat = map(guarded, (listdir, scandir, stat))
os.access = lambda path, mode: pathlib.PurePath(path).name != "pgdata" and access(path, mode)
"""


def other_python(folder: Path, patch: str) -> str:
    """Write such a Python, and return its path."""
    path = folder / "other-python"
    path.write_text(OTHER_PYTHON.format(patch=patch))
    path.chmod(0o755)
    return str(path)


def test_a_full_disk_leaves_what_undo_takes_back(site: Path, tmp_path: Path) -> None:
    before = snapshot(site)
    result = adopt(site, PYTHON=other_python(tmp_path, FULL_DISK))
    assert result.stderr == f"adopt: {site}/Makefile: No space left on device; UNDO=1 takes back what was written\n"
    assert (site / "deployment").exists()
    done(site, UNDO="1")
    assert snapshot(site) == before


@pytest.mark.parametrize("place", ["pgdata", "mysite/pgdata", "var/lib/pgdata"])
def test_what_cannot_be_read_stays_out_of_the_image(site: Path, tmp_path: Path, place: str) -> None:
    (site / place).mkdir(parents=True)
    shown = done(site, PYTHON=other_python(tmp_path, CLOSED))
    assert f"{place} cannot be read by you, and stays out of the image" in shown
    assert place in (site / ".dockerignore").read_text().splitlines()


# --- Refusals ---


def test_no_destination(tmp_path: Path) -> None:
    refused("", "DEST is missing", "make adopt DEST=../mysite")
    refused(tmp_path / "nowhere", "is no folder")
    refused(ROOT, "this repository")
    refused(ROOT / "app", "this repository")


def test_no_django_project(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("hello\n")
    refused(tmp_path, "no Django project", "manage.py")


def test_several_projects(tmp_path: Path) -> None:
    for name in ("one", "two"):
        projects.make("flat", tmp_path).rename(tmp_path / name)
    refused(tmp_path, "several projects", "one", "two")


def test_unreadable_settings(site: Path) -> None:
    settings = site / "mysite/settings.py"
    whole = settings.read_text()
    settings.write_text(whole + "DATABASES = {\n")
    refused(site, "mysite/settings.py", "is not Python", "line")
    settings.write_bytes(b"\xff\xfe\x00")
    refused(site, "mysite/settings.py", "is not Python")
    settings.unlink()
    refused(site, "mysite.settings is not there")
    settings.mkdir()
    refused(site, "mysite.settings is not there")
    refused(site, "other.settings is not there", SETTINGS="other.settings")


def test_odd_manage_py(site: Path) -> None:
    manage = site / "manage.py"
    whole = manage.read_text()
    manage.write_text(whole.replace("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')", "pass"))
    refused(site, "names no settings module", "SETTINGS=")
    done(site, SETTINGS="mysite.settings", DRY_RUN="1")
    manage.write_text(
        whole.replace("os.environ.setdefault('DJANGO_SETTINGS_MODULE', ", "os.environ['DJANGO_SETTINGS_MODULE'] = (")
    )
    refused(site, "manage.py, line", "setdefault")
    manage.write_text(whole)
    wsgi = site / "mysite/wsgi.py"
    wsgi.write_text("import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.settings'\n")
    assert "in production mysite.settings" in done(site, DRY_RUN="1"), (
        "what comes after our own settings cannot replace them"
    )
    manage.write_text("def main(:\n")
    refused(site, "manage.py is not Python")


def test_a_dirty_tree(site: Path) -> None:
    git(site, "init", "--quiet")
    git(site, "add", ".")
    git(site, "commit", "--quiet", "--message", "begin")
    (site / "note.txt").write_text("new\n")
    refused(site, "not committed", "note.txt")
    refused(site, "not committed", YES="1")
    (site / "note.txt").unlink()
    with (site / "mysite/urls.py").open("a") as file:
        file.write("# changed\n")
    refused(site, "not committed", "mysite/urls.py")
    git(site, "checkout", "--quiet", ".")
    done(site)
    done(site)  # what an earlier run has written is no reason
    (site / "note.txt").write_text("new\n")
    refused(site, "note.txt")
    done(site, UNDO="1")
    (site / "note.txt").unlink()
    assert git(site, "status", "--porcelain") == ""


def test_a_tree_within_a_larger_one(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    site = projects.make("flat", tmp_path)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "begin")
    (tmp_path / "beside.txt").write_text("dirty, and none of its business\n")
    done(site)
    done(site)
    (site / "within.txt").write_text("dirty\n")
    refused(site, "within.txt")


UV_SOURCES = '[project]\ndependencies = ["django", "mine"]\n[tool.uv.sources]\nmine = {git = "https://example.com"}\n'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("requirements.txt", "-r ../common.txt\ndjango\n", "outside"),
        ("requirements.txt", "-r missing.txt\ndjango\n", "missing.txt cannot be read"),
        ("pyproject.toml", "[project\n", "is no TOML"),
        ("pyproject.toml", "[tool.poetry.dependencies]\ndjango = '^5.2'\n", "poetry export"),
        (
            "pyproject.toml",
            UV_SOURCES,
            "`uv export --no-dev --no-emit-project --no-hashes -o requirements.txt`, then again",
        ),
        ("Pipfile", "[packages]\ndjango = '*'\n", "pipenv requirements"),
    ],
)
def test_requirements_that_cannot_be_installed(site: Path, name: str, content: str, words: str) -> None:
    (site / name).write_text(content)
    refused(site, name if "missing" not in words else "missing.txt", words)
    if name == "pyproject.toml" and "poetry" not in words:
        refused(site, name, words, REQUIREMENTS=name)


@pytest.mark.parametrize("lock", ["uv.lock", "poetry.lock", "pdm.lock"])
def test_a_lock_that_is_not_read_is_told(tmp_path: Path, lock: str) -> None:
    folder = projects.make("modern", tmp_path)
    (folder / lock).write_text("")
    note = f"{lock} is not read, and pyproject.toml says the versions"
    assert note in done(folder)
    (folder / "requirements.txt").write_text("django==6.0\n")
    assert note not in done(folder)


def test_requirements_of_another_encoding(site: Path) -> None:
    """As PowerShell writes them; the mark alone, with which Windows begins UTF-8, is none."""
    (site / "requirements.txt").write_text("django\n", encoding="utf-16")
    refused(site, "requirements.txt is not UTF-8", "save it as that")
    (site / "requirements.txt").write_text("django\n", encoding="utf-8-sig")
    assert "requirements: requirements.txt;" in done(site)


@pytest.mark.parametrize(
    ("version", "more"), [((3, 11, 2), "; if that is newer syntax: PYTHON=python3.13"), ((3, 14, 0), "")]
)
def test_newer_syntax_than_this_python_reads(site: Path, tmp_path: Path, version: tuple[int, ...], more: str) -> None:
    add(site, "def odd(:\n")
    python = other_python(tmp_path, f"sys.version_info = {version}")
    result = adopt(site, PYTHON=python)
    assert re.search(rf"settings\.py is not Python 3\.{version[1]}: line \d+: ", result.stderr)
    assert result.stderr.endswith(f"invalid syntax{more}\n")


def test_wrong_options(site: Path) -> None:
    refused(site, "DRY_RUN=yes", DRY_RUN="yes")
    refused(site, "FOLDER=a/b", FOLDER="a/b")
    refused(site, "REQUIREMENTS=no.txt", REQUIREMENTS="no.txt")
    refused(site, "nothing to undo", UNDO="1")


def test_a_damaged_state(site: Path) -> None:
    done(site)
    (site / "deployment/.adopted.json").write_text("{")
    refused(site, ".adopted.json is damaged")
    refused(site, ".adopted.json is damaged", UNDO="1")


def test_links_are_not_followed(site: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("precious\n")
    (site / ".dockerignore").symlink_to(tmp_path / "elsewhere")
    refused(site, ".dockerignore is no plain file")
    assert (tmp_path / "elsewhere").read_text() == "precious\n"


def test_an_old_python(site: Path, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    for given, words in ((str(python), "older than Python 3.11"), ("python3.99", "was not found")):
        result = run(["bin/adopt"], env={"DEST": str(site), "PYTHON": given})
        assert len(result.stderr.strip().splitlines()) == 1
        assert words in result.stderr


def test_none_of_their_code_runs(site: Path) -> None:
    trap = "import pathlib\npathlib.Path(__file__).with_name('ran').write_text('')\n"
    for path in ("manage.py", "mysite/__init__.py", "mysite/settings.py", "mysite/wsgi.py"):
        (site / path).write_text(trap + (site / path).read_text())
    done(site)
    assert not list(site.rglob("ran"))


# --- The settings that are laid over theirs ---

GIVEN = {
    "BASE_SETTINGS": "mysite.settings",
    "SECRET_KEY": "a-key-of-their-own-that-is-long-enough-for-all-of-this-0123456789",
    "SQL_PASSWORD": "pass",
}


def laid_over(site: Path, *names: str, **variables: str) -> list:
    """Return settings as the adopted project has them; what is none of JSON's is a string."""
    code = "import json; from django.conf import settings as s; print(json.dumps([{}], default=str))"
    shown = ", ".join(f"getattr(s, {name!r}, None)" for name in names)
    result = load(site, code.format(shown), **variables)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def load(site: Path, code: str, **variables: str) -> Result:
    environment = {
        "PYTHONPATH": f"{site}/deployment/app",
        "DJANGO_SETTINGS_MODULE": "on_docker.settings",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return run([sys.executable, "-c", code], cwd=site, env={**environment, **GIVEN, **variables})


def add(site: Path, lines: str) -> None:
    with (site / "mysite/settings.py").open("a") as settings:
        settings.write(lines)


def test_laid_over_a_new_project(site: Path) -> None:
    done(site)
    debug, key, static, root, storages = laid_over(site, "DEBUG", "SECRET_KEY", "STATIC_URL", "STATIC_ROOT", "STORAGES")
    assert debug is False, "theirs says True"
    assert key == GIVEN["SECRET_KEY"], "never theirs, which is in their repository"
    assert (static, root) == ("/static/", "/home/app/staticfiles")
    assert storages["staticfiles"]["BACKEND"] == "on_docker.static.PatientManifestStorage"
    apps, middleware, language = laid_over(site, "INSTALLED_APPS", "MIDDLEWARE", "LANGUAGE_CODE")
    assert apps[0] == "on_docker"
    assert "django.contrib.admin" in apps
    assert middleware[1] == "on_docker.middleware.HealthMiddleware"
    assert middleware[2] == "django.middleware.security.SecurityMiddleware"
    assert language == "en-us"
    database, urls = laid_over(site, "DATABASES", "ROOT_URLCONF", SQL_ENGINE="django.db.backends.mysql", SQL_HOST="x")
    assert (database["default"]["ENGINE"], database["default"]["PORT"]) == ("django.db.backends.mysql", 3306)
    assert (database["default"]["HOST"], database["default"]["PASSWORD"], urls) == ("x", "pass", "mysite.urls")


def test_a_key_is_never_theirs_in_production(site: Path) -> None:
    done(site)
    for key, words in (
        ("", "SECRET_KEY is missing"),
        ("django-insecure-" + "x7" * 40, "is too short or a placeholder"),
    ):
        result = load(site, "from django.conf import settings; settings.DEBUG", SECRET_KEY=key)
        assert result.returncode == 1
        assert re.fullmatch(f"settings: .*{words}.*\\n", result.stderr)
    assert laid_over(site, "SECRET_KEY", DEBUG="1", SECRET_KEY="")[0].startswith("django-insecure-")


def test_what_of_theirs_stays(site: Path) -> None:
    add(
        site,
        "DATABASES = {'default': {'ENGINE': 'x', 'ATOMIC_REQUESTS': True, 'HOST': 'old'}, 'other': {'ENGINE': 'y'}}\n"
        "CACHES = {'default': {'BACKEND': 'x'}, 'files': {'BACKEND': 'y'}}\n"
        "STORAGES = {'default': {'BACKEND': 'storages.backends.s3.S3Storage'}}\n"
        "CSRF_TRUSTED_ORIGINS = ['https://one.example']\n"
        "SILENCED_SYSTEM_CHECKS = ['x.W001']\nMY_OWN = 1\n",
    )
    done(site)
    databases, caches, own = laid_over(site, "DATABASES", "CACHES", "MY_OWN", REDIS_URL="redis://redis:6379/0")
    assert databases["other"] == {"ENGINE": "y"}
    assert databases["default"]["ATOMIC_REQUESTS"] is True
    assert databases["default"]["HOST"] == "db"
    assert caches["files"] == {"BACKEND": "y"}
    assert caches["default"]["BACKEND"] == "django_redis.cache.RedisCache"
    assert own == 1
    assert laid_over(site, "CACHES")[0]["default"] == {"BACKEND": "x"}, "without Redis"
    storages, origins, silenced = laid_over(
        site, "STORAGES", "CSRF_TRUSTED_ORIGINS", "SILENCED_SYSTEM_CHECKS", CSRF_TRUSTED_ORIGINS="https://two.example"
    )
    assert storages["default"] == {"BACKEND": "storages.backends.s3.S3Storage"}
    assert origins == ["https://one.example", "https://two.example"]
    assert silenced[0] == "x.W001"


def test_their_sessions_stay_or_go_to_redis(site: Path) -> None:
    redis = {"REDIS_URL": "redis://redis:6379/0"}
    done(site)
    assert laid_over(site, "SESSION_ENGINE", **redis) == ["django.contrib.sessions.backends.cached_db"]
    add(site, "SESSION_ENGINE = 'django.contrib.sessions.backends.signed_cookies'\n")
    assert laid_over(site, "SESSION_ENGINE", **redis) == ["django.contrib.sessions.backends.signed_cookies"]


def test_https(site: Path) -> None:
    """Asked for where there is HTTPS, whatever theirs say; not where there is none, or nobody could sign in."""
    names = ("SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS")
    done(site)
    assert laid_over(site, *names, TLS="local") == [True, True, True, 60]
    add(site, "SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True\nSECURE_HSTS_SECONDS = 9\n")
    assert laid_over(site, *names) == [False, False, False, 0]
    assert laid_over(site, *names, TRUSTED_PROXIES="10.0.0.0/8") == [True, True, True, 9], "a proxy in front has HTTPS"


def test_cookies_that_ask_for_https_get_other_names_without_it(site: Path) -> None:
    names = ("SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME")
    add(site, "SESSION_COOKIE_NAME = '__Secure-sessionid'\nCSRF_COOKIE_NAME = '__Host-csrftoken'\n")
    done(site)
    assert laid_over(site, *names) == ["sessionid", "csrftoken"]
    assert laid_over(site, *names, TLS="local") == ["__Secure-sessionid", "__Host-csrftoken"]


def test_origins_with_commas_as_their_own_reading_may_want_them(site: Path) -> None:
    add(site, "import os\nCSRF_TRUSTED_ORIGINS = os.environ['CSRF_TRUSTED_ORIGINS'].split(',')\n")
    done(site)
    two = ["https://one.example", "https://two.example"]
    assert laid_over(site, "CSRF_TRUSTED_ORIGINS", CSRF_TRUSTED_ORIGINS=",".join(two)) == [two]
    assert laid_over(site, "CSRF_TRUSTED_ORIGINS", CSRF_TRUSTED_ORIGINS="") == [[]], "theirs is [''] here"


def test_a_redis_of_theirs_is_not_taken_for_the_stacks_own(site: Path) -> None:
    """As of an .env file that their settings load."""
    add(site, "import os\nREDIS_URL = os.environ.setdefault('REDIS_URL', 'redis://localhost:6379/7')\n")
    done(site)
    caches, url = laid_over(site, "CACHES", "REDIS_URL")
    assert "redis" not in str(caches)
    assert url == "redis://localhost:6379/7"


def test_what_asks_for_settings_while_theirs_are_imported_gets_theirs(site: Path) -> None:
    """As Celery's module does, which the package imports."""
    (site / "mysite/__init__.py").write_text("from . import celery\n")
    (site / "mysite/celery.py").write_text(
        "from django.conf import settings\nBROKER, ZONE = settings.BROKER_URL, settings.TIME_ZONE\n"
    )
    add(site, "BROKER_URL = 'amqp://broker'\nTIME_ZONE = 'Asia/Shanghai'\n")
    done(site)
    code = "from django.conf import settings as s; s.DEBUG; import mysite.celery as c; print(c.BROKER, c.ZONE, s.TLS)"
    assert load(site, code).stdout == "amqp://broker Asia/Shanghai off\n"


def test_logs_to_a_stream(site: Path) -> None:
    add(
        site,
        "import sys\nLOGGING = {'version': 1, 'handlers': {'console': {'class': 'logging.StreamHandler', "
        "'stream': sys.stdout}}, 'root': {'handlers': ['console']}}\n",
    )
    done(site)
    (logging,) = laid_over(site, "LOGGING")
    assert logging["root"] == {"handlers": ["console"]}
    assert set(logging["handlers"]) == {"console", "on_docker"}


def test_settings_with_an_absolute_import_of_a_base(tmp_path: Path) -> None:
    folder = projects.make("split", tmp_path)
    settings = folder / "src/config/settings/production.py"
    settings.write_text(settings.read_text().replace("from .base import *", "from config.settings.base import *"))
    assert "from config.settings.base import *" in settings.read_text()
    assert "split.example of your ALLOWED_HOSTS" in done(folder)


@pytest.mark.parametrize(
    "engine", ["django.contrib.gis.db.backends.postgis", "django_tenants.postgresql_backend", "psqlextra.backend"]
)
def test_an_engine_of_their_own_is_noted(site: Path, engine: str) -> None:
    add(site, f"DATABASES = {{'default': {{'ENGINE': '{engine}', 'NAME': 'x'}}}}\n")
    assert f"your database's engine is {engine}: " in done(site)


def test_logs_go_nowhere_but_to_standard_output(site: Path) -> None:
    add(
        site,
        "LOGGING = {'version': 1, 'formatters': {'f': {'format': '%(message)s'}}, 'handlers': {'file': {'class': "
        "'logging.FileHandler', 'filename': '/nowhere/at/all', 'formatter': 'f', 'level': 'ERROR'}}, "
        "'loggers': {'mine': {'handlers': ['file']}}}\n",
    )
    done(site)
    (logging,) = laid_over(site, "LOGGING")
    assert logging["handlers"]["file"] == {"class": "logging.StreamHandler", "formatter": "f", "level": "ERROR"}
    assert logging["loggers"] == {"mine": {"handlers": ["file"]}}
    assert logging["root"]["handlers"] == ["on_docker"]
    code = "import logging.config as c; from django.conf import settings as s; c.dictConfig(s.LOGGING)"
    assert load(site, code).stderr == ""


def test_development_leaves_their_files_where_they_are(site: Path) -> None:
    done(site)
    debug, static, storages = laid_over(site, "DEBUG", "STATIC_ROOT", "STORAGES", DEBUG="1")
    assert (debug, static) == (True, None)
    assert "on_docker" not in str(storages)


def test_settings_that_cannot_be_imported(site: Path) -> None:
    add(site, "import os\nif 'MAIL_PASSWORD' not in os.environ:\n    raise KeyError('MAIL\\n_PASSWORD')\n")
    done(site)
    code = "from django.conf import settings; settings.DEBUG"
    result = load(site, code)
    assert re.fullmatch("settings: BASE_SETTINGS='mysite.settings' .*: KeyError: .*_PASSWORD'; .*\n", result.stderr)
    assert load(site, code, MAIL_PASSWORD="x").returncode == 0
    assert "Traceback" in load(site, code, DEBUG="1").stderr, "for those who work on them"
    assert "BASE_SETTINGS is missing" in load(site, code, BASE_SETTINGS="").stderr


def test_variables_that_many_settings_read_are_given(site: Path) -> None:
    add(site, "import os\nGIVEN = [os.environ[name] for name in ('SECRET_KEY', 'DJANGO_SECRET_KEY', 'DATABASE_URL')]\n")
    done(site)
    (given,) = laid_over(site, "GIVEN", SQL_USER="me", SQL_DATABASE="data")
    assert given == [GIVEN["SECRET_KEY"], GIVEN["SECRET_KEY"], "postgres://me:pass@db:5432/data"]
    (given,) = laid_over(site, "GIVEN", DEBUG="1", SECRET_KEY="")
    assert given[:2] == ["django-insecure-for-development-only"] * 2


@pytest.mark.parametrize("lines", ["WSGI_APPLICATION = None\n", "WSGI_APPLICATION = 'mysite.gone.application'\n", ""])
def test_the_wsgi_application(site: Path, lines: str) -> None:
    add(site, lines)
    (site / "mysite/wsgi.py").write_text("application = 'theirs'\n")
    done(site)
    code = "import django.core.wsgi as w; w.get_wsgi_application = lambda: 'Django'; "
    code += "from on_docker.wsgi import application; print(application)"
    assert load(site, code).stdout == ("Django\n" if lines else "theirs\n")


def test_static_files_that_are_not_there(site: Path, tmp_path: Path) -> None:
    """A dead link in a style sheet or a template fails neither collectstatic nor a page."""
    (site / "mysite/static").mkdir()
    (site / "mysite/static/site.css").write_text("a { background: url(missing.png) } b { background: url(there.svg) }")
    (site / "mysite/static/there.svg").write_text("<svg/>")
    add(site, "STATICFILES_DIRS = [BASE_DIR / 'mysite/static']\nINSTALLED_APPS = ['django.contrib.staticfiles']\n")
    done(site)
    edited = site / "deployment/app/on_docker/settings.py"
    edited.write_text(edited.read_text().replace("/home/app/staticfiles", str(tmp_path / "collected")))
    code = (
        "import django; from django.core.management import call_command as call; django.setup(); "
        "from on_docker.static import PatientManifestStorage as Storage; call('collectstatic', verbosity=0); "
        "print(Storage().url('site.css')); print(Storage().url('nowhere.css'))"
    )
    result = load(site, code)
    assert re.fullmatch(r"/static/site\.[0-9a-f]{12}\.css\n/static/nowhere\.css\n", result.stdout), result.stderr
    (sheet,) = (tmp_path / "collected").glob("site.????????????.css")
    assert re.search(r"url\(\"missing\.png\"\).*url\(\"there\.[0-9a-f]{12}\.svg\"\)", sheet.read_text())


# --- The same by hand ---

PAGES = ["docs/existing-project.md", "docs/zh/existing-project.md"]


def test_by_hand_comes_out_the_same(tmp_path: Path) -> None:
    """What needs an engine is in tests/stack/test_adopt.py."""
    clone = projects.by_hand(tmp_path)
    site = tmp_path / "mysite"
    shutil.copytree(site, tmp_path / "adopted/mysite")
    commands = [command for command, _ in projects.blocks(PAGES[0]) if "\nmake " not in command]
    assert len(commands) == 7
    for command in commands:
        result = run(["bash", "-c", f"set -eu\n{command}"], cwd=clone)
        assert (result.returncode, result.stderr) == (0, ""), command

    done(tmp_path / "adopted/mysite")
    adopted, own = snapshot(tmp_path / "adopted/mysite"), snapshot(site)
    del adopted["deployment/.adopted.json"]
    ignored = [text for text in adopted.pop(".dockerignore")[0].decode().splitlines() if text[0] != "#"]
    assert own.pop(".dockerignore")[0].decode().splitlines() == ignored
    assert set(own) == set(adopted)
    assert [path for path in own if own[path] != adopted[path]] == []


def test_both_languages_say_the_same() -> None:
    english, chinese = ((ROOT / page).read_text() for page in PAGES)
    assert projects.blocks(PAGES[0]) == projects.blocks(PAGES[1])
    for pattern in (r"(?m)^(#+) ", r"(?m)^(\|)", r"\]\((?:\.\./)+([^)]*)\)"):
        assert re.findall(pattern, chinese) == re.findall(pattern, english) != []
    code = r"`([^`\n]+)`"
    assert set(re.findall(code, prose(chinese))) == set(re.findall(code, prose(english)))


def prose(page: str) -> str:
    return re.sub(r"(?ms)^```.*?^```$", "", page)


# --- install-requirements.py ---


def wheel(folder: Path, name: str, version: str, needs: str = "") -> str:
    """Write a package that pip can install; return its hash."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs install-requirements.py for a new Python; all packages are made here."""
    assert run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"]).returncode == 0
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}

    def call(*words: str) -> Result:
        program = [sys.executable, ROOT / "adopt/install-requirements.py", tmp_path / "venv/bin/python", *words]
        return run(program, cwd=tmp_path, env={"PIP_EXTRA_INDEX_URL": "", **offline})

    return call


def installed(folder: Path) -> set[str]:
    return {path.name.removesuffix(".dist-info") for path in folder.glob("venv/lib/*/site-packages/*.dist-info")}


def lock(folder: Path, **packages: str) -> None:
    """Write a lock as uv writes it: name=version, of packages whose wheels are there."""
    lines = ["# This file was autogenerated"]
    for name, version in packages.items():
        digest = hashlib.sha256((folder / f"{name}-{version}-py3-none-any.whl").read_bytes()).hexdigest()
        lines += [f"{name}=={version} ; python_version >= '3' \\", f"    --hash=sha256:{digest}", "    # via something"]
    (folder / "lock.txt").write_text("\n".join(lines) + "\n")


def test_their_versions_win(install: Callable[..., Result], tmp_path: Path) -> None:
    for name, version, needs in (("web", "4.2", ""), ("web", "5.2", ""), ("server", "1.0", ""), ("pillow", "1.0", "")):
        wheel(tmp_path, name, version, needs)
    (tmp_path / "requirements.txt").write_text("web<5\n")
    assert install("requirements.txt").returncode == 0
    lock(tmp_path, web="5.2", server="1.0", pillow="1.0")
    result = install("--beside", "lock.txt")
    assert result.returncode == 0, result.stdout + result.stderr
    assert installed(tmp_path) == {"web-4.2", "server-1.0"}


def test_a_locked_version_that_does_not_suit_theirs(install: Callable[..., Result], tmp_path: Path) -> None:
    for name, version, needs in (("web", "4.2", ""), ("driver", "6.0", "web"), ("driver", "7.0", "web>=5")):
        wheel(tmp_path, name, version, needs)
    (tmp_path / "requirements.txt").write_text("web\n")
    assert install("requirements.txt").returncode == 0
    lock(tmp_path, driver="7.0")
    result = install("--beside", "lock.txt")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "does not suit your requirements" in result.stdout
    assert installed(tmp_path) == {"web-4.2", "driver-6.0"}


def test_a_lock_with_a_wrong_hash(install: Callable[..., Result], tmp_path: Path) -> None:
    wheel(tmp_path, "server", "1.0")
    lock(tmp_path, server="1.0")
    wheel(tmp_path, "server", "1.0", "web")
    assert "DO NOT MATCH THE HASHES" in install("--beside", "lock.txt").stderr
    assert installed(tmp_path) == set()


def test_dependencies_of_pyproject(install: Callable[..., Result], tmp_path: Path) -> None:
    wheel(tmp_path, "web", "4.2")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\ndependencies = ["web>=4"]\n')
    assert install("pyproject.toml").returncode == 0
    assert installed(tmp_path) == {"web-4.2"}
    (tmp_path / "pyproject.toml").write_text(UV_SOURCES)
    assert (
        "pyproject.toml has [tool.uv.sources], which pip does not read: `uv export" in install("pyproject.toml").stderr
    )
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    assert install("pyproject.toml").stderr == "install-requirements: pyproject.toml has no [project] dependencies\n"


# --- The scripts that change what is copied ---


def paragraphs(script: str) -> list[str]:
    """Return the commands of one of the scripts, each with what belongs to it."""
    found = re.split(r"\n{2,}", (ROOT / "adopt" / script).read_text().strip())
    return [part for part in found if re.search(r"(?m)^[^#\s]", part)]


def copied() -> list[str]:
    """Return the list of files in bin/lib/adopt/files.py."""
    code = "import sys; sys.path.insert(0, 'bin/lib/adopt'); import files, json; print(json.dumps(files.COPIED))"
    return json.loads(run(["python3", "-B", "-c", code]).stdout)


@pytest.mark.parametrize(
    ("script", "paragraph"),
    [(script, paragraph) for script in ("stacks.sed", "app.sed") for paragraph in paragraphs(script)],
)
def test_each_change_finds_something(script: str, paragraph: str, tmp_path: Path) -> None:
    (tmp_path / "one.sed").write_text(paragraph + "\n")
    files = [path for path in copied() if path.startswith("app/") == (script == "app.sed")]
    result = run(["sh", "-c", 'script=$1; shift; for f; do sed -f "$script" "$f" | cmp -s - "$f" || echo "$f"; done',
                  "sh", tmp_path / "one.sed", *files])  # fmt: skip
    assert result.stderr == ""
    assert result.stdout, f"{script} changes nothing with:\n{paragraph}"


def test_all_that_the_stacks_need_is_copied() -> None:
    """Whatever a copied file names by its path in this repository."""
    files = set(copied())
    assert len(files) == len(copied())
    assert all((ROOT / path).is_file() for path in files)
    elsewhere = {f"bin/{name}" for name in ("adopt", "base-images", "bench", "lock", "run", "standalone", "test")}
    elsewhere |= {"bin/tutorial", "bin/upload", "bin/venv"}
    for path in files:
        text = re.sub(r"(?m)^ *#.*", "", (ROOT / path).read_text())
        for name in re.findall(r"(?:\./|\s|\")((?:bin|nginx|compose|certbot)/[\w./-]*\w)", text):
            assert name in files | elsewhere or not (ROOT / name).is_file(), f"{path} names {name}"


# Nothing can be said in these without being a part of what they are.
SILENT = {".json", ".html", ".txt", ".md"}


@pytest.mark.parametrize("path", [path for path in copied() if Path(path).suffix not in SILENT])
def test_each_copied_file_says_first_what_it_needs(path: str) -> None:
    first = (ROOT / path).read_text().splitlines()[:8]
    assert not first or re.search(r"\bNeeds\b", " ".join(first)), path
