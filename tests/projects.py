"""Django projects of many kinds, for the tests of `make adopt`."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from repository import ROOT, clean_environment, files

# What each project says at /, unless it has something better: that its own settings count.
HELLO = "from django.http import HttpResponse\n\n\ndef hello(request):\n    return HttpResponse('hello from {name}')\n"


def startproject(folder: Path, *words: str) -> None:
    """Run `django-admin startproject` with the Django of the tests."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "django", "startproject", *words]
    subprocess.run(command, cwd=folder, env=clean_environment(), check=True)


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace each text by its other, which has to be there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, f"{path} has no {old!r}"
        text = text.replace(old, new)
    path.write_text(text)


def page(package: Path, name: str) -> None:
    """Give the project a page of its own at /."""
    (package / "views.py").write_text(HELLO.format(name=name))
    edit(
        package / "urls.py",
        ("from django.urls import path", f"from django.urls import path\n\nfrom {package.name}.views import hello"),
        ("urlpatterns = [", "urlpatterns = [\n    path('', hello),"),
    )


def flat(folder: Path) -> None:
    """`startproject mysite .`: manage.py at the top, no requirements at all."""
    startproject(folder, "mysite", ".")
    page(folder / "mysite", "flat")


def nested(folder: Path) -> None:
    """`startproject mysite`: manage.py one folder below; requirements beside that folder, of the oldest Django."""
    startproject(folder, "mysite")
    page(folder / "mysite/mysite", "nested")
    settings = folder / "mysite/mysite/settings.py"
    edit(
        settings,
        (
            "DEFAULT_AUTO_FIELD",
            "STATICFILES_STORAGE = 'django.contrib.staticfiles.storage.StaticFilesStorage'\nDEFAULT_AUTO_FIELD",
        ),
    )
    (folder / "requirements.txt").write_text("Django~=4.2.0\n")


def split(folder: Path) -> None:
    """Settings and requirements split into files, in src/; a secret key and a switch from the environment; git."""
    startproject(folder / "src", "config", ".")
    package = folder / "src/config"
    page(package, "split")
    (package / "settings").mkdir()
    (package / "settings.py").rename(package / "settings/base.py")
    (package / "settings/__init__.py").write_text("")
    base = package / "settings/base.py"
    text = re.sub(r"(?m)^SECRET_KEY = .*$", "SECRET_KEY = os.environ['SECRET_KEY']", base.read_text())
    base.write_text(text.replace("from pathlib import Path", "import os\nfrom pathlib import Path"))
    edit(base, ("parent.parent", "parent.parent.parent"), ("DEBUG = True\n", ""))
    (package / "settings/local.py").write_text("from .base import *\n\nDEBUG = True\n")
    (package / "settings/production.py").write_text(
        "import dj_database_url\n\nfrom .base import *\n\nDEBUG = False\nALLOWED_HOSTS = ['split.example']\n"
        "DATABASES = {'default': {**dj_database_url.config(), 'ATOMIC_REQUESTS': True}}\n"
        "SECURE_SSL_REDIRECT = True\nSESSION_COOKIE_SECURE = True\n"
        "LOG = {'class': 'logging.FileHandler', 'filename': '/var/log/site.log'}\n"
        "LOGGING = {'version': 1, 'handlers': {'file': LOG}, 'root': {'handlers': ['file']}}\n"
    )
    edit(folder / "src/manage.py", ("config.settings", "config.settings.local"))
    for name in ("wsgi.py", "asgi.py"):
        edit(package / name, ("config.settings", "config.settings.production"))
    (folder / "requirements").mkdir()
    (folder / "requirements/base.txt").write_text("django>=5.2,<6\n")
    (folder / "requirements/production.txt").write_text("-r base.txt\ndj-database-url\n")
    (folder / "requirements/local.txt").write_text("-r base.txt\ndj-database-url\n")


def modern(folder: Path) -> None:
    """pyproject.toml, the newest Django, which the tests' own is not."""
    startproject(folder, "modern", ".")
    page(folder / "modern", "modern")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "modern"\nversion = "1"\nrequires-python = ">=3.12"\ndependencies = ["django>=6.0"]\n'
    )


def custom_user(folder: Path) -> None:
    """A user model of its own, pictures and documents with it, and its own addresses for files."""
    startproject(folder, "shop", ".")
    package = folder / "shop"
    page(package, "custom_user")
    app = folder / "people"
    (app / "migrations").mkdir(parents=True)
    (app / "__init__.py").write_text("")
    (app / "migrations/__init__.py").write_text("")
    (app / "models.py").write_text(
        "from django.contrib.auth.models import AbstractUser\nfrom django.db import models\n\n\n"
        "class Person(AbstractUser):\n    portrait = models.FileField(upload_to='portraits', blank=True)\n"
    )
    (app / "admin.py").write_text(
        "from django.contrib import admin\n\nfrom .models import Person\n\nadmin.site.register(Person)\n"
    )
    (app / "static/people").mkdir(parents=True)
    # A picture that is not there, as in many a project: it must not end a deploy.
    (app / "static/people/site.css").write_text("body { background: url(missing.png) }\n")
    edit(
        package / "settings.py",
        ("INSTALLED_APPS = [", "INSTALLED_APPS = [\n    'people',"),
        (
            "STATIC_URL = 'static/'",
            "STATIC_URL = '/assets/'\nSTATIC_ROOT = BASE_DIR / 'collected'\nMEDIA_URL = 'uploads/'\n"
            "MEDIA_ROOT = BASE_DIR / 'user_files'\nAUTH_USER_MODEL = 'people.Person'",
        ),
    )
    (folder / "requirements.txt").write_text("django~=5.2.0\npillow\n")
    command = [sys.executable, "manage.py", "makemigrations", "people"]
    subprocess.run(command, cwd=folder, env=clean_environment(), check=True, capture_output=True)


def asgi(folder: Path) -> None:
    """For ASGI alone: no wsgi.py, and an async page."""
    startproject(folder, "chat", ".")
    page(folder / "chat", "asgi")
    edit(folder / "chat/views.py", ("def hello", "async def hello"))
    (folder / "chat/wsgi.py").unlink()
    (folder / "requirements.txt").write_text("django~=5.2.0\n")


def occupied(folder: Path) -> None:
    """A Dockerfile, a compose file, ignore files, a Makefile and its own middleware: all of them stay."""
    startproject(folder, "busy", ".")
    page(folder / "busy", "occupied")
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "docker-compose.yml").write_text("services: {}\n")
    (folder / "Makefile").write_text("all:\n\techo theirs\n")
    (folder / ".dockerignore").write_text("*\n!busy\n!manage.py\n!requirements.txt")  # no line end
    (folder / ".gitignore").write_text("lib/\n.env*\n")
    (folder / "requirements.txt").write_text("django~=5.2.0\nwhitenoise\ngunicorn\nredis<6\n")
    edit(
        folder / "busy/settings.py",
        (
            "    'django.middleware.security.SecurityMiddleware',\n",
            "    'django.middleware.security.SecurityMiddleware',\n    'whitenoise.middleware.WhiteNoiseMiddleware',\n",
        ),
        (
            "STATIC_URL",
            "STORAGES = {'default': {'BACKEND': 'django.core.files.storage.FileSystemStorage'}, 'staticfiles': "
            "{'BACKEND': 'whitenoise.storage.CompressedManifestStaticFilesStorage'}}\nSTATIC_URL",
        ),
    )


def api(folder: Path) -> None:
    """Without static files, admin or sessions; compiled requirements; a time zone and a language of its own."""
    startproject(folder, "api", ".")
    page(folder / "api", "api")
    settings = folder / "api/settings.py"
    text = settings.read_text()
    text = re.sub(
        r"(?s)INSTALLED_APPS = \[.*?\]", "INSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth']", text
    )
    text = re.sub(r"(?s)MIDDLEWARE = \[.*?\]", "MIDDLEWARE = ('django.middleware.common.CommonMiddleware',)", text)
    text = re.sub(r"(?s)TEMPLATES = \[.*?\n\]", "TEMPLATES = []", text)
    settings.write_text(text.replace("'en-us'", "'zh-hans'").replace("'UTC'", "'Asia/Shanghai'"))
    urls = folder / "api/urls.py"
    edit(urls, ("from django.contrib import admin\n", ""), ("    path('admin/', admin.site.urls),\n", ""))
    # psycopg2 and mysqlclient are compiled.
    (folder / "requirements.txt").write_text("django~=5.2.0\npsycopg2\nmysqlclient\n")


KINDS: dict[str, Callable[[Path], None]] = {
    function.__name__: function for function in (flat, nested, split, modern, custom_user, asgi, occupied, api)
}


@cache
def original(kind: str) -> tempfile.TemporaryDirectory:
    """Return a folder with a project of this kind, made once and removed at the end."""
    folder = tempfile.TemporaryDirectory(prefix="dodtest-project-")
    KINDS[kind](Path(folder.name))
    return folder


def make(kind: str, folder: Path) -> Path:
    """Write a project of this kind into a new folder, in whose name there is a space, and return that."""
    target = folder / f"{kind.replace('_', ' ')} site"
    shutil.copytree(original(kind).name, target)
    return target


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the commands of a page of the documentation, each with the output that is shown below it, if any."""
    text = (ROOT / page).read_text()
    return re.findall(r"(?m)^```sh\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", text, re.S)


def by_hand(folder: Path) -> Path:
    """Return the folder of a clone, beside which is mysite, the project that docs/existing-project.md begins with."""
    clone = folder / "clone"
    for path in files():
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, clone / path)
    make("flat", folder).rename(folder / "mysite")
    (folder / "mysite/requirements.txt").write_text("django\n")
    return clone
