"""What an existing Django project is like, as its files say: none of its code runs here."""

import ast
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

# Neither the project's own code nor worth looking into.
SKIPPED = {"node_modules", "site-packages", "__pycache__", "deployment"}
REQUIREMENTS = ("requirements.txt", *(f"requirements/{name}.txt" for name in ("production", "prod", "base", "common")))
DEVELOPMENT = (*(f"requirements/{name}.txt" for name in ("local", "dev", "development")), "requirements-dev.txt")
# The stacks' own first, then newer ones, then older ones.
PYTHONS = ("3.13", "3.14", "3.12", "3.11")
# Variables that the settings of ours set before they import these.
GIVEN = {"SECRET_KEY", "DJANGO_SECRET_KEY", "DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE"}


class Refused(Exception):
    """Why nothing was done, in one line."""


@dataclass
class Project:
    """Paths are relative to `folder`, which is absolute."""

    folder: Path
    manage: PurePosixPath  # the folder of manage.py
    settings: str  # what manage.py names: for development
    production: str  # what wsgi.py or asgi.py names
    requirements: list[
        PurePosixPath
    ]  # the file that pip gets, then those that it includes; none where there is no list
    development: list[PurePosixPath]
    python: str = PYTHONS[0]
    django: str = ""  # "5.2", as startproject has written it into the settings
    static_url: str = "/static/"
    media_url: str = "/media/"
    unwanted: list[str] = field(default_factory=list)  # folders that must not get into an image
    notes: list[str] = field(default_factory=list)  # what is left to do

    @property
    def name(self) -> str:
        """The folder's name, as Compose projects are named."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.folder.name.lower())[:24].strip("-") or "site"
        return slug if slug[0].isalpha() else f"site-{slug}"

    @property
    def identifier(self) -> str:
        """The same, as databases and their users are named."""
        return self.name.replace("-", "_")


def read(folder: Path, settings: str = "", requirements: str = "") -> Project:
    """Return what is in this folder, with these in the place of what would be found. Raises Refused."""
    manage = find_manage(folder)
    named = module_named_in(folder / manage / "manage.py", replaceable=True)
    if not settings and not named:
        raise Refused(f"{folder / manage}/manage.py names no settings module: say which, SETTINGS=mysite.settings")
    used = settings or named[0]
    source = find_module(folder / manage, used)
    production = settings or production_settings(folder / manage, used)
    project = Project(folder, manage, used, production, [], [])
    project.requirements, project.development = find_requirements(folder, manage, requirements)
    values, trees = constants(find_module(folder / manage, production))
    look_at_settings(project, values, [*trees, parse(source)])
    # Development's files are the ones on this machine, and are often elsewhere than production's.
    both = [constants(find_module(folder / manage, name))[0] for name in dict.fromkeys((used, production))]
    sources = [path for values in both for path in sources_of_static_files(project, values)]
    for values in both:
        look_at_files(project, values, sources)
    project.python = find_python(folder)
    for path in walk(folder, 2):
        if (path / "pyvenv.cfg").exists():
            project.unwanted.append(path.relative_to(folder).as_posix())
            continue
        # Such as a database's folder: the engine could not send it either, and the build would end.
        for closed in (one.relative_to(folder) for one in sorted(path.iterdir()) if not readable(one)):
            project.notes.append(f"{closed} cannot be read by you, and stays out of the image")
            keep_out(project, closed)
    look_at_requirements(project)
    look_at_env_files(project)
    return project


def walk(folder: Path, depth: int) -> Iterator[Path]:
    """Yield this folder and those in it, so many levels deep, hidden ones and environments of Python not entered.

    What cannot be read is left out.
    """
    yield folder
    if depth and not (folder / "pyvenv.cfg").exists():
        for path in sorted(folder.iterdir()):
            entered = not path.name.startswith(".") and path.name not in SKIPPED
            if entered and path.is_dir() and not path.is_symlink() and readable(path):
                yield from walk(path, depth - 1)


def readable(path: Path) -> bool:
    """Say whether a file can be read, or a folder listed and entered; a link is sent as it is."""
    return path.is_symlink() or os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))


def keep_out(project: Project, path: PurePath) -> None:
    """Put a path into .dockerignore, or on the list of what is left to do if it would mean something else there."""
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)*", path.as_posix()):
        project.unwanted.append(path.as_posix())
    else:
        project.notes.append(f"put {path} into .dockerignore: it is within your project, and has no plain name")


def find_manage(folder: Path) -> PurePosixPath:
    """Return the folder of manage.py."""
    found = [path for path in walk(folder, 2) if (path / "manage.py").is_file()]
    if not found:
        raise Refused(f"{folder} is no Django project: there is no manage.py in it, nor two folders below")
    if found[0] != folder and len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise Refused(f"{folder} has several projects ({names}): name one of these folders as DEST")
    return PurePosixPath(found[0].relative_to(folder))


def parse(path: Path) -> ast.Module:
    """Return what a file of Python says. Raises Refused where it is none."""
    try:
        return ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        reason = getattr(error, "msg", None) or error
        # A newer one may read it.
        version = "{}.{}".format(*sys.version_info)
        newer = f"; if that is newer syntax: PYTHON=python{PYTHONS[0]}" if fits(version, f"<{PYTHONS[0]}") else ""
        place = f"line {line}: " if line else ""
        raise Refused(f"{path} is not Python {version}: {place}{reason}{newer}") from None


def module_named_in(path: Path, replaceable: bool = False) -> list[str]:
    """Return what this file sets DJANGO_SETTINGS_MODULE to. Raises Refused where another could not take its place."""
    found = []
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.setdefault" and len(node.args) == 2:
            name, value = node.args
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "os.environ['DJANGO_SETTINGS_MODULE']":
            if replaceable:
                raise Refused(
                    f"{path}, line {node.lineno}, lets no other settings in: write os.environ.setdefault() there"
                )
            name, value = ast.Constant("DJANGO_SETTINGS_MODULE"), node.value
        else:
            continue
        if (
            isinstance(name, ast.Constant)
            and name.value == "DJANGO_SETTINGS_MODULE"
            and isinstance(value, ast.Constant)
        ):
            found.append(str(value.value))
    return found


def find_module(root: Path, name: str) -> Path:
    """Return the file of a settings module."""
    base = root.joinpath(*name.split("."))
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            parse(path)
            return path
    raise Refused(f"the settings module {name} is not there: neither {base}.py nor {base}/__init__.py exists")


def production_settings(root: Path, used: str) -> str:
    """Return what wsgi.py or asgi.py of the settings' package names, or else what manage.py names."""
    package = root / used.split(".")[0]
    for path in (package / "wsgi.py", package / "asgi.py", root / "wsgi.py", root / "asgi.py"):
        if path.is_file():
            for name in module_named_in(path):
                find_module(root, name)
                return name
    return used


class OfThisFile(ast.NodeTransformer):
    """Puts the path of a file in the place of __file__, which would be another's where its settings are read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Called by visit()."""
        return ast.copy_location(ast.Constant(self._path), node) if node.id == "__file__" else node


def constants(path: Path, seen: frozenset[Path] = frozenset()) -> tuple[dict[str, ast.expr], list[ast.Module]]:
    """Return what a settings file sets at its top level, what it imports with a star included, and what was read."""
    tree = OfThisFile(path).visit(parse(path))
    found: dict[str, ast.expr] = {}
    trees = [tree]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            module = (node.module or "").split(".")
            # Without dots in front it is found from the folder of manage.py, which is above.
            start = (
                path.parents[node.level - 1]
                if node.level
                else next((parent for parent in path.parents if (parent / "manage.py").is_file()), path.parent)
            )
            base = start.joinpath(*module)
            for other in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
                if other.is_file() and other not in seen:
                    more, read_too = constants(other, seen | {path})
                    found |= more
                    trees += read_too
        elif isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found, trees


def strings(node: ast.AST | None) -> list[str]:
    """Return every string within an expression, in order."""
    constants = [part for part in ast.walk(node) if isinstance(part, ast.Constant)] if node else []
    constants.sort(key=lambda part: (part.lineno, part.col_offset))
    return [part.value for part in constants if isinstance(part.value, str)]


def plain(path: Path | None) -> Path | None:
    """Return a path without "..", whose parent would be another folder than it looks."""
    return path and Path(os.path.normpath(path))


def where(node: ast.AST | None, values: dict[str, ast.expr], depth: int = 20) -> Path | None:
    """Return the path that an expression means, relative where it begins with a name, None where nothing says it."""

    def joined(*parts: ast.AST) -> Path | None:
        paths = [where(part, values, depth - 1) for part in parts]
        return Path(*paths) if paths and None not in paths else None  # type: ignore[arg-type]

    match node:
        case _ if not depth:
            return None
        case ast.Constant(value=Path() | str() as path):
            return Path(path)
        case ast.Name(id=name):
            return where(values.get(name), values, depth - 1)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return joined(left, right)
        case ast.Attribute(value=of, attr="parent"):
            path = joined(of)
            return path and path.parent
        case ast.Subscript(value=ast.Attribute(value=of, attr="parents"), slice=ast.Constant(value=int(number))):
            path = joined(of)
            return path.parents[number] if path and number < len(path.parents) else None
        case ast.Call(func=ast.Attribute(value=of, attr="joinpath"), args=parts):
            return joined(of, *parts)
        case ast.Call(func=ast.Attribute(value=of, attr="resolve")):
            return plain(joined(of))
        case ast.Call(func=ast.Attribute(value=of, attr="absolute")):
            return joined(of)
        case ast.Call(func=func, args=[*parts]) if re.search(r"(^|\.)dirname$", ast.unparse(func)):
            path = joined(*parts)
            return path and path.parent
        case ast.Call(func=func, args=[*parts]) if re.search(r"(^|\.)(abspath|realpath|normpath)$", ast.unparse(func)):
            return plain(joined(*parts))
        case ast.Call(func=func, args=[*parts]) if re.search(r"(^|\.)(join|Path|str|fspath)$", ast.unparse(func)):
            return joined(*parts)
        case ast.Call(args=parts, keywords=keywords):
            # It asks the environment, and the default is last.
            defaults = [word.value for word in keywords if word.arg == "default"] or parts[1:]
            return joined(defaults[-1]) if defaults else None
    return None


def look_at_settings(project: Project, values: dict[str, ast.expr], trees: list[ast.Module]) -> None:
    """Take from the settings what nginx, the images and the list of what is left to do depend on."""
    for name in ("static", "media"):
        node = values.get(f"{name.upper()}_URL")
        given = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
        url = f"/{given.strip('/')}/" if given else ""
        if re.fullmatch(r"(/[A-Za-z0-9_-]+)+/", url):
            setattr(project, f"{name}_url", url)
        elif node and given != "":
            project.notes.append(
                f"{name.upper()}_URL is {ast.unparse(node)}: in production it is /{name}/, which nginx serves"
            )
    if project.media_url.startswith(project.static_url) or project.static_url.startswith(project.media_url):
        project.notes.append(
            f"MEDIA_URL {project.media_url} is within STATIC_URL or around it: in production it is /media/"
        )
        project.media_url = "/media/"
    hosts = [host for host in strings(values.get("ALLOWED_HOSTS")) if re.fullmatch(r"\.?[\w.-]+\.\w+", host)]
    if hosts:
        project.notes.append(f"put {' '.join(hosts)} of your ALLOWED_HOSTS into DJANGO_ALLOWED_HOSTS of the env files")
    application = strings(values.get("WSGI_APPLICATION"))
    root = project.folder / project.manage
    wsgi = application and root.joinpath(*application[0].split(".")[:-1]).with_suffix(".py").is_file()
    # Anywhere, because lists of apps are put together in many ways.
    named = {text for tree in trees for text in strings(tree)}
    if not wsgi or "ASGI_APPLICATION" in values or named & {"channels", "daphne"}:
        project.notes.append("your project is for ASGI: both stacks speak WSGI, so websockets have no server here")
    packages = {root / project.settings.split(".")[0], root / project.production.split(".")[0]}
    if any(name.startswith("CELERY_") for name in values) or any((one / "celery.py").is_file() for one in packages):
        project.notes.append("your project has Celery: the stacks run no worker and no beat, so tasks wait")
    if needed := sorted(set().union(*map(required, trees)) - GIVEN):
        project.notes.append(
            f"your settings ask the environment for {', '.join(needed)}: put them into the env files, or own.env"
        )
    for engine in strings(values.get("DATABASES")):
        if re.fullmatch(r"(\w+\.)+(backends?\.\w+|postgresql_backend|backend)", engine) and not re.fullmatch(
            r"django\.db\.backends\.(postgresql|mysql|sqlite3|oracle)", engine
        ):
            project.notes.append(
                f"your database's engine is {engine}: the stacks set Django's plain ones; to keep it, add it to "
                "ENGINES in app/on_docker/settings.py, and name it as SQL_ENGINE"
            )
    for tree in trees:
        if match := re.search(r"using Django (\d+\.\d+)", ast.get_docstring(tree) or ""):
            project.django = match[1]


def here(project: Project, path: Path) -> Path:
    """Return where a path of the settings is: one that begins with a name, from the folder of manage.py."""
    return Path(os.path.normpath(project.folder / project.manage / path))


def sources_of_static_files(project: Project, values: dict[str, ast.expr]) -> list[Path]:
    """Return what STATICFILES_DIRS has, as far as the settings say where that is."""
    node = values.get("STATICFILES_DIRS")
    parts = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    # One with a prefix is a pair.
    paths = [where(part.elts[-1] if isinstance(part, ast.Tuple) and part.elts else part, values) for part in parts]
    return [here(project, path) for path in paths if path]


def look_at_files(project: Project, values: dict[str, ast.expr], sources: list[Path]) -> None:
    """Find the folders of uploads and of collected files, and SQLite's files, which must not get into an image."""
    databases = [
        {key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)}
        for node in ast.walk(values.get("DATABASES", ast.Constant(None)))
        if isinstance(node, ast.Dict)
    ]
    files = [one.get("NAME") for one in databases if "sqlite3" in " ".join(strings(one.get("ENGINE")))]
    # Those that are none.
    files = [name for name in files if not any(one.startswith((":memory:", "file:")) for one in strings(name))]
    for node in filter(None, (values.get("STATIC_ROOT"), values.get("MEDIA_ROOT"), *files)):
        path = where(node, values)
        if not path:
            project.notes.append(f"is {ast.unparse(node)} within your project? Then it belongs into .dockerignore")
            continue
        path = here(project, path)
        # Elsewhere on the disk, or a folder with all of the code in it.
        code = project.folder / project.manage
        if project.folder not in path.parents or path == code or path in code.parents:
            continue
        mixed = any(path == source or path in source.parents or source in path.parents for source in sources)
        path = path.relative_to(project.folder)
        if ".sqlite3" in path.name:  # of which none gets in anyway
            continue
        if mixed:
            project.notes.append(
                f"{path} is within STATICFILES_DIRS or around it, and what is there gets into the image: use another "
                "folder, or put what must not into .dockerignore"
            )
        else:
            keep_out(project, path)


def required(tree: ast.Module) -> set[str]:
    """Return the variables without which these settings stop: os.environ["X"], env("X"), config("X")."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "environ"):
            name: ast.expr = node.slice
        elif isinstance(node, ast.Call) and re.fullmatch(r"(env|config)(\.\w+)?", ast.unparse(node.func)):
            if len(node.args) != 1 or any(word.arg == "default" for word in node.keywords):
                continue
            name = node.args[0]
        else:
            continue
        if isinstance(name, ast.Constant) and re.fullmatch(r"[A-Z][A-Z0-9_]*", str(name.value)):
            found.add(str(name.value))
    return found


def included(folder: Path, file: PurePosixPath) -> list[PurePosixPath]:
    """Return a requirements file and those that it includes, each once."""
    found: list[PurePosixPath] = []
    waiting = [file]
    while waiting:
        path = waiting.pop(0)
        try:
            text = (folder / path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise Refused(f"{folder / path} is not UTF-8 (PowerShell's > writes UTF-16): save it as that") from None
        except OSError:
            raise Refused(f"{folder / path} cannot be read, and your requirements include it") from None
        found.append(path)
        for name in re.findall(r"(?m)^\s*(?:-r|-c|--requirement|--constraint)[ =]*([^\s#]+)", text):
            # Not resolve(): these are paths within DEST, whatever that is a link to.
            other = (folder / path.parent / name).resolve()
            if not other.is_relative_to(folder.resolve()):
                raise Refused(f"{folder / path} includes {name}, which is outside of {folder}")
            relative = PurePosixPath(other.relative_to(folder.resolve()))
            if relative not in found and relative not in waiting:
                waiting.append(relative)
    return found


def asks_for_django(folder: Path, files: list[PurePosixPath]) -> bool:
    return any(re.search(r"(?mi)^django\b(?!-)", (folder / path).read_text(encoding="utf-8-sig")) for path in files)


def given_in(folder: Path, given: str) -> PurePosixPath:
    """Return the file that REQUIREMENTS names, from the project's folder or, as DEST is, from the current one."""
    for path in (folder / given, Path(given)):
        # Nothing else is sent to where images are built.
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return PurePosixPath(path.resolve().relative_to(folder.resolve()))
    raise Refused(f"REQUIREMENTS={given} is no file in {folder}: name one within it, as requirements/live.txt")


def declared_in(path: Path) -> dict[str, Any]:
    """Return what pyproject.toml says. Raises Refused where pip would install something else than it means."""
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path} is no TOML: {error}") from None
    if declared.get("tool", {}).get("uv", {}).get("sources"):
        raise Refused(
            f"{path} has [tool.uv.sources], which pip does not read: "
            "`uv export --no-dev --no-emit-project --no-hashes -o requirements.txt`, then again"
        )
    return declared


def find_requirements(
    folder: Path, manage: PurePosixPath, given: str
) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """Return the requirements for production and for development; both are empty where the project lists none."""
    if given:
        path = given_in(folder, given)
        if path.suffix == ".toml":
            declared_in(folder / path)
            return [path], [path]
        files = included(folder, path)
        return files, files
    places = dict.fromkeys((PurePosixPath("."), manage))

    def first(names: tuple[str, ...]) -> list[PurePosixPath]:
        lists = [
            included(folder, place / name) for place in places for name in names if (folder / place / name).is_file()
        ]
        return next((files for files in lists if asks_for_django(folder, files)), [])

    production = first(REQUIREMENTS)
    for place in places:
        path = folder / place / "pyproject.toml"
        if production or not path.is_file():
            continue
        declared = declared_in(path)
        if declared.get("project", {}).get("dependencies"):
            production = [place / "pyproject.toml"]
        elif declared.get("tool", {}).get("poetry", {}).get("dependencies"):
            raise Refused(
                f"{path} lists dependencies for Poetry alone: `poetry export -o requirements.txt`, then again"
            )
    for place in places:
        if not production and (folder / place / "Pipfile").is_file():
            raise Refused(f"{folder / place}/Pipfile: `pipenv requirements > requirements.txt`, then again")
    return production, first(DEVELOPMENT) or production


def look_at_requirements(project: Project) -> None:
    if not project.requirements:
        project.notes.append(
            "your project has no list of requirements: app/requirements/project.txt is one, complete it"
        )
    for path in dict.fromkeys([*project.requirements, *project.development]):
        for lock in ("uv.lock", "poetry.lock", "pdm.lock") if path.suffix == ".toml" else ():
            if (project.folder / path.parent / lock).is_file():
                project.notes.append(
                    f"{path.parent / lock} is not read, and {path} says the versions: to have the lock's, export it to "
                    "requirements.txt, and adopt again"
                )
        text = (project.folder / path).read_text(encoding="utf-8")
        if path.suffix == ".txt" and (
            match := re.search(r"(?m)^\s*((-e|--editable)[ =].*|\.{1,2}(/.*)?|file:.*)$", text)
        ):
            project.notes.append(f"{path} has {match[1]!r}, and the image is built from lists alone: take it out")
        if path.suffix in (".txt", ".toml") and re.search(r"(?m)^[^#\n]*\bgit\+", text):
            project.notes.append(
                f"{path} has packages from git, which the image has not: install git in the builders of "
                "app/Dockerfile.prod, and in app/Dockerfile"
            )


def look_at_env_files(project: Project) -> None:
    """Name what a .env has, which .dockerignore keeps out of the image; never what it says."""
    for path in dict.fromkeys((PurePosixPath(".env"), project.manage / ".env")):
        file = project.folder / path
        if not file.is_file() or not readable(file):
            continue
        text = file.read_text(encoding="utf-8-sig", errors="replace")
        # A value of several lines, such as a key, can look like a name on its last one.
        text = re.sub(r"""(?s)(=[ \t]*)("(?:[^"\\]|\\.)*"|'[^']*')""", r"\1", text)
        names = dict.fromkeys(re.findall(r"(?m)^[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=", text))
        if left := [name for name in names if name not in GIVEN]:
            project.notes.append(
                f"your {path} does not get into the image: put {', '.join(left)} into the env files, or own.env"
            )


def find_python(folder: Path) -> str:
    """Return the version of Python for the images: what the project names, or the stacks' own."""
    for name in (".python-version", "runtime.txt"):
        if (folder / name).is_file():
            match = re.match(r"(?:python-)?(\d+\.\d+)", (folder / name).read_text(encoding="utf-8", errors="replace"))
            if match and match[1] in PYTHONS:
                return match[1]
    path = folder / "pyproject.toml"
    try:
        wanted = str(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["requires-python"])
    except (OSError, KeyError, ValueError):
        return PYTHONS[0]
    return next((version for version in PYTHONS if fits(version, wanted)), PYTHONS[0])


def fits(version: str, wanted: str) -> bool:
    """Say whether a version such as "3.13" is within `requires-python`, of which patch versions are not looked at."""
    number = tuple(map(int, version.split(".")))
    for sign, minor in re.findall(r"(~=|==|!=|>=|<=|<|>)\s*(\d+(?:\.\d+)?)", wanted):
        other = (*map(int, minor.split(".")), 0)[:2]
        # ~=3.11 is from there to below 4; ==3.12.* is that alone; <3.13 and <=3.12.9 are what they look like.
        right = {
            "~=": number >= other and number[0] == other[0],
            "==": number == other,
            "!=": number != other,
            ">=": number >= other,
            ">": number >= other,
            "<=": number <= other,
            "<": number < other,
        }
        if not right[sign]:
            return False
    return True
