"""What an adopted project gets, as data: which files are copied, and what is changed in them."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path, PurePosixPath

from project import PYTHONS, Project

# This repository's own, under the same path in the folder of the stacks, but for the package, which gets its new name.
COPIED = [
    "Makefile",
    "docker-compose.yml",
    "docker-compose.prod.yml",
    "docker-compose.uwsgi.yml",
    ".env.dev",
    ".env.prod",
    ".env.prod.db",
    ".env.uwsgi",
    ".env.uwsgi.db",
    *(
        f"bin/{name}"
        for name in ("ask", "backup", "backups", "certs", "deploy", "doctor", "install-docker", "logs", "mine")
    ),
    *(
        f"bin/{name}"
        for name in ("need-engine", "restore", "rollback", "scale", "secrets", "tls", "up", "verify-backup")
    ),
    *(f"bin/lib/{name}" for name in ("check-backup.py", "compare-rows.py", "count-rows.awk")),
    *(f"bin/lib/{name}.sh" for name in ("database", "stack", "tls")),
    *(f"nginx/{name}" for name in ("10-environment.envsh", "30-certificate.sh", "Dockerfile", "check-certificate")),
    *(
        f"nginx/{name}.conf"
        for name in ("backend", "http3", "listen-http", "listen-https", "nginx", "redirect", "servers")
    ),
    *(f"nginx/errors/{code}.{kind}" for code in (413, 429, 431, 503) for kind in ("html", "json")),
    "compose/mysql/conf/my.cnf",
    "compose/mysql/init/10-app-user.sql",
    "compose/nginx/backend.conf",
    "compose/nginx/ssl/README.md",
    "compose/postgres/init/10-app-user.sh",
    "compose/redis/redis.conf",
    "compose/redis/start.sh",
    *(
        f"certbot/{name}"
        for name in (".dockerignore", "Dockerfile", "keeper.py", "requirements.txt", "authority/README.md")
    ),
    *(f"app/{name}" for name in ("entrypoint.sh", "entrypoint.prod.sh", "gunicorn.conf.py", "healthcheck.py")),
    *(f"app/{name}" for name in ("uwsgi.ini", "warm-up")),
    *(f"app/requirements/{name}.txt" for name in ("dev", "gunicorn", "uwsgi")),
    *(
        f"app/hello_django/{name}.py"
        for name in ("__init__", "apps", "cache", "deadline", "env", "health", "middleware")
    ),
    "app/hello_django/storage.py",
    "app/hello_django/management/__init__.py",
    "app/hello_django/management/commands/__init__.py",
    *(f"app/hello_django/management/commands/{name}.py" for name in ("backup_facts", "init", "wait_for_database")),
]
# Written for adopted projects, in adopt/, and where each goes.
WRITTEN = {
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "Dockerfile": "app/Dockerfile",
    "Dockerfile.prod": "app/Dockerfile.prod",
    "install-requirements.py": "app/install-requirements.py",
    "on_docker/settings.py": "app/on_docker/settings.py",
    "on_docker/static.py": "app/on_docker/static.py",
    "on_docker/wsgi.py": "app/on_docker/wsgi.py",
}

FOLDER = "deployment"  # what the files in adopt/ call it

Content = tuple[bytes, int]  # and the file's mode


def changed(repository: Path, target: Path) -> None:
    """Copy what is copied into this folder, changed by the scripts in adopt/, as docs/existing-project.md does it."""
    for source in COPIED:
        (target / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / source, target / source)
    for script in ("app.sed", "stacks.sed"):
        files = [source for source in COPIED if source.startswith("app/") == (script == "app.sed")]
        command = ["sed", "-i", "-s", "-f", str(repository / "adopt" / script), "--", *files]
        subprocess.run(command, cwd=target, check=True)  # noqa: S603


def made_for(project: Project, repository: Path, folder: str, makefile: bool) -> dict[str, Content]:
    """Return every file that the project gets, by its path in the project's folder."""
    made: dict[str, Content] = {}

    def add(target: str, source: Path) -> None:
        executable = source.stat().st_mode & 0o100
        text = for_this(project, target, source.read_text(encoding="utf-8"))
        # In the images it is /opt/deployment for everybody.
        text = re.sub(rf"(?<!/opt/){FOLDER}/", f"{folder}/", text)
        made[target] = (text.encode(), 0o755 if executable else 0o644)

    with tempfile.TemporaryDirectory() as copy:
        changed(repository, Path(copy))
        for source in COPIED:
            add(f"{folder}/{source.replace('hello_django', 'on_docker')}", Path(copy, source))
    for source, target in WRITTEN.items():
        add(f"{folder}/{target}", repository / "adopt" / source)
    if not project.requirements:
        text = "# Your requirements: complete them, or write a requirements.txt and adopt again.\n"
        text += f"{django(project, repository)}\n"
        made[f"{folder}/app/requirements/project.txt"] = (text.encode(), 0o644)
    if makefile:
        add("Makefile", repository / "adopt/Makefile")
    return made


def django(project: Project, repository: Path) -> str:
    """Return a requirement: the series of Django that startproject has written down, or that of the stacks' lock."""
    locked = re.search(r"(?m)^django==(\d+\.\d+)", (repository / "app/requirements/base.txt").read_text())[1]
    return f"django~={project.django or locked}.0"


def for_this(project: Project, target: str, text: str) -> str:
    """Return a file's text with what is this project's own: names, paths, addresses, versions."""
    name = PurePosixPath(target).name
    if name == "Makefile" or name.startswith(("docker-compose", ".env")):
        # Not the folder's name alone: Compose calls what a project has of its own by that, volumes included.
        text = re.sub(r"(?m)^name: django-on-docker$", f"name: {project.name}-dev", text)
        text = text.replace("name: django-on-docker", f"name: {project.name}")
        text = text.replace("hello_django", project.identifier)
    if name.startswith(".env"):
        used = project.settings if name == ".env.dev" else project.production
        text = text.replace("BASE_SETTINGS=mysite.settings", f"BASE_SETTINGS={used}")
        if project.python != PYTHONS[0]:
            text = re.sub(r"#(PYTHON_IMAGE=python:)[\d.]+", rf"\g<1>{project.python}", text)
    if name.startswith("Dockerfile") and "/app/" in target:
        text = text.replace("APP_HOME=/home/app/web", f"APP_HOME={PurePosixPath('/home/app/web') / project.manage}")
        text = text.replace("APP_HOME=/usr/src/app", f"APP_HOME={PurePosixPath('/usr/src/app') / project.manage}")
        files = project.development if name == "Dockerfile" else project.requirements
        files = files or [PurePosixPath(FOLDER, "app/requirements/project.txt")]
        folders: dict[PurePosixPath, list[str]] = {}
        for path in files:
            folders.setdefault(path.parent, []).append(str(path))
        copy = "\n".join(
            f"COPY {' '.join(paths)} ./{folder}/".replace("././", "./") for folder, paths in folders.items()
        )
        text = text.replace("COPY requirements.txt ./", copy)
        text = text.replace("python requirements.txt", f"python {files[0]}")
    if name == "nginx.conf" or target.endswith("on_docker/settings.py"):
        for usual, own in (("/static/", project.static_url), ("/media/", project.media_url)):
            # Addresses alone: /srv/static/ is a folder.
            text = re.sub(rf"(?<!/srv){usual}", own, text)
    return text


def ignored(project: Project, folder: str) -> str:
    """Return the lines for .dockerignore."""
    lines = [
        f"{folder}/*",
        f"!{folder}/app",
        "**/.git",
        "**/.env",
        "**/.env.*",
        "**/.venv",
        "**/__pycache__",
        "**/*.pyc",
    ]
    return "\n".join([*lines, "**/*.sqlite3*", *dict.fromkeys(project.unwanted)]) + "\n"
