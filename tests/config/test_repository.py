"""What is in the repository, and what must not be."""

import os
import re
import warnings
from pathlib import Path

import pytest

from repository import ROOT, files, run

REQUIREMENTS = files("requirements/*.in", "tests/requirements.in")
BINARY = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".ico", ".mo", ".woff2"}


def texts() -> dict[Path, str]:
    """Return every text file of the repository with its content."""
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in files() if path.suffix.lower() not in BINARY}


# --- Requirements ---


def wanted(path: Path) -> set[str]:
    """Return the normalised names that a requirements file asks for, those of files that it includes too."""
    names = set()
    for line in (ROOT / path).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            names |= wanted(Path(os.path.normpath(path.parent / line.removeprefix("-r "))))
        elif line:
            names.add(re.match(r"[\w.-]+", line)[0].lower().replace("_", "-"))
    return names


def pinned(path: Path) -> dict[str, str]:
    """Return the versions that a compiled requirements file pins."""
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / path).read_text(), re.M))


@pytest.mark.parametrize("path", REQUIREMENTS, ids=str)
def test_requirements_are_pinned_with_hashes(path: Path) -> None:
    lock = path.with_suffix(".txt")
    text = (ROOT / lock).read_text()
    assert wanted(path) <= set(pinned(lock)), "make lock"
    # Each block is one pin with its hashes; whatever else stands in a first column is not one.
    blocks = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    for block in blocks:
        assert re.match(r"[a-z0-9.-]+==[\w.]+( ; .+)? \\\n", block), block
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
    # What nobody asks for any more is not installed: each pin says who does.
    assert text.count("# via") == len(blocks)
    assert "://" not in text, "whose mirror served a file is nobody else's business"
    assert "make lock" in text.splitlines()[1]


def test_requirements_agree() -> None:
    """The tests run with the versions that the images have."""
    versions: dict[str, dict[str, set[str]]] = {}
    for path in REQUIREMENTS:
        for name, version in pinned(path.with_suffix(".txt")).items():
            versions.setdefault(name, {}).setdefault(version, set()).add(str(path))
    assert not {name: found for name, found in versions.items() if len(found) > 1}, "make lock"


def test_the_lock_installs_on_every_python() -> None:
    """What an older or newer Python needs is in the same file, with a marker."""
    assert "python_full_version < '3.11.3'" in (ROOT / "app/requirements/gunicorn.txt").read_text()
    assert "--python-version 3.11" in (ROOT / "bin/lock").read_text()
    assert 'target-version = "py311"' in (ROOT / "pyproject.toml").read_text()


# --- What must not be in it ---

# Whoever runs this decides where packages and images come from.
REGISTRIES = [
    r"\bpypi\.(org|python\.org)\b",
    r"\bpythonhosted\.org\b",
    r"\b(deb|security|ftp\.\w+|snapshot)\.debian\.org\b",
    r"\b(archive|security)\.ubuntu\.com\b",
    r"\bregistry\.npmjs\.org\b",
    r"\b(registry-1|index|registry|auth)\.docker\.io\b",
    r"https?://[\w.-]*docker\.io\b",
    r"\b(ghcr|quay)\.io/",
    r"\bmirrors?\.(?!example\b)[a-z0-9-]+\.(com|cn|org|net|edu)\b",
]
SECRETS = [
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    r"\bgithub_pat_\w{22,}",
    r"\bxox[abpr]-[\w-]{10,}",
    r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",
]


@pytest.mark.parametrize("pattern", [*REGISTRIES, *SECRETS])
def test_no_file_holds(pattern: str) -> None:
    found = [f"{path}: {match[0]}" for path, text in texts().items() for match in [re.search(pattern, text)] if match]
    assert not found


def test_the_patterns_find_something() -> None:
    hosts = ["pypi" + ".org", "files.python" + "hosted.org", "deb." + "debian.org", "https://x.docker" + ".io"]
    for host in [*hosts, "mirrors." + "somebody.com", "-----BEGIN RSA " + "PRIVATE KEY-----"]:
        assert any(re.search(pattern, host) for pattern in (*REGISTRIES, *SECRETS)), host
    # Debian's name for its package, and a name that nobody owns.
    for innocent in ("apt-get install docker.io", "http://mirror.example/debian"):
        assert not any(re.search(pattern, innocent) for pattern in REGISTRIES), innocent


def test_what_a_site_makes_is_not_tracked() -> None:
    for path in files():
        assert not {"secrets", "backups", "mediafiles", "staticfiles", "__pycache__"}.intersection(path.parts[:-1]), (
            path
        )
        assert path.suffix not in {".pem", ".key", ".crt", ".p12", ".sqlite3", ".pyc", ".log", ".dump"}, path


def test_what_a_site_makes_is_ignored() -> None:
    made = [
        "secrets/prod/secret_key",
        "backups/prod.tar",
        "app/db.sqlite3",
        "app/db.sqlite3-wal",
        "app/mediafiles/picture.png",
        "app/staticfiles/x.css",
        "compose/nginx/ssl/site.key",
        "compose/nginx/ssl/site.crt",
        ".env",
        ".venv/bin/python",
        ".venv-test/bin/python",
    ]
    ignored = run(["git", "-c", "safe.directory=*", "check-ignore", "--no-index", *made]).stdout.split()
    assert ignored == made


# --- Files as they have to be ---


@pytest.mark.parametrize("path", files(), ids=str)
def test_a_program_can_be_executed_and_nothing_else(path: Path) -> None:
    """In a clone: Compose mounts these files, and the images copy them with their mode."""
    with (ROOT / path).open("rb") as file:
        program = file.read(2) == b"#!"
    # Its command names sh: Redis' image starts what it is given, and the mount is the same on any system.
    if str(path) != "compose/redis/start.sh":
        assert os.access(ROOT / path, os.X_OK) == program


def test_text_files_are_clean() -> None:
    for path, text in texts().items():
        assert "\r" not in text, f"{path}: line ends of Windows"
        assert text.endswith("\n") or not text, f"{path}: no line end at its end"
        assert not text.endswith("\n\n"), f"{path}: empty lines at its end"
        if path.suffix != ".md":
            found = re.search(r"^.*[ \t]$", text, re.M)
            assert not found, f"{path}: white space at the end of {found[0]!r}"


def test_my_cnf_is_not_writable_for_all() -> None:
    """MySQL ignores one that is, without a word."""
    assert not (ROOT / "compose/mysql/conf/my.cnf").stat().st_mode & 0o022


def test_python_compiles_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in files("*.py"):
            compile((ROOT / path).read_text(), str(path), "exec")


# --- .dockerignore ---


def ignored(path: str) -> bool:
    """Say whether app/.dockerignore leaves this file out, by Docker's rules."""
    result = False
    for line in (ROOT / "app/.dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if re.fullmatch(f"{pattern}(/.*)?", path):
                result = not line.startswith("!")
    return result


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.prod",
        ".git/config",
        ".run/socket",
        "upload/.DS_Store",
        "hello_django/__pycache__/env.cpython-313.pyc",
        "upload/tests/test_views.py",
        "upload/locale/zh_Hans/LC_MESSAGES/django.po",
        "db.sqlite3",
        "db.sqlite3-wal",
        "mediafiles/picture.png",
        "staticfiles/site.css",
        "venv/bin/python",
        "Dockerfile",
        "Dockerfile.prod",
        "requirements/base.in",
    ],
)
def test_not_in_an_image(path: str) -> None:
    assert ignored(path)


def test_all_else_is_in_the_image() -> None:
    needed = {
        str(path.relative_to("app"))
        for path in files()
        if path.parts[0] == "app" and "tests" not in path.parts and not path.name.startswith((".", "Dockerfile"))
    }
    needed = {path for path in needed if not path.endswith((".po", ".in"))}
    assert {"manage.py", "requirements/base.txt", "entrypoint.prod.sh", "hello_django/settings.py"} <= needed
    assert not {path for path in needed if ignored(path)}


def test_nothing_of_the_bench_in_the_build_of_nginx() -> None:
    """Its context is its folder: every file there is copied by name."""
    assert not re.search(r"^(COPY|ADD) \S*[.*] ", (ROOT / "nginx/Dockerfile").read_text(), re.M)


def test_license() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n")
    assert "Copyright (c) 2026 the django-on-docker authors" in text
