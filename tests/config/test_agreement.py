"""Facts that have to stand in two files are the same in both."""

import ast
import fnmatch
import json
import re
import runpy
from typing import Any

import pytest
import yaml

from nginx_config import templates, value
from repository import ROOT, files, run

PRODUCTION = ("prod", "uwsgi")
COMPOSE = {"dev": "docker-compose.yml", "prod": "docker-compose.prod.yml", "uwsgi": "docker-compose.uwsgi.yml"}


def text(path: str) -> str:
    return (ROOT / path).read_text()


def compose(stack: str) -> dict[str, Any]:
    return yaml.safe_load(text(COMPOSE[stack]))


def env_file(name: str) -> dict[str, str]:
    """Return what an env file sets."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text(name), re.M))


def one(pattern: str, where: str) -> str:
    """Return the only text that this pattern's group finds in this text, however often."""
    found = set(re.findall(pattern, where, re.M))
    assert len(found) == 1, f"{pattern}: {sorted(found)}"
    return found.pop()


def seconds(duration: str) -> float:
    """Return Compose's and nginx's durations in seconds."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)?", duration).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, None: 1}[unit]


def size(amount: str) -> int:
    """Return sizes as Compose, nginx and Redis write them in bytes."""
    number, unit = re.fullmatch(r"(\d+)([kmg]?)b?", amount.lower()).groups()
    return int(number) * 1024 ** ("", "k", "m", "g").index(unit)


def ini(name: str) -> str:
    return one(rf"^{name} = (.*)$", text("app/uwsgi.ini"))


@pytest.fixture(scope="module")
def gunicorn() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "app/gunicorn.conf.py"))


# --- The two production stacks ---

# All that may differ, as PATH or as PATTERN of a path, with how the second one differs.
DIFFERENCES = [
    "name",
    "x-web.environment.REDIS_PASSWORD_FILE",
    "x-web.secrets",
    "services.*.environment.REDIS_PASSWORD_FILE",
    "services.init.networks",
    "services.init.secrets",
    "services.web.secrets",
    "services.web.build.target",
    "services.web.networks",
    "services.web.depends_on.redis.condition",
    "services.web.healthcheck.test",
    "services.db.image",
    "services.db.user",
    "services.db.environment.*",
    "services.db.volumes",
    "services.db.tmpfs",
    "services.db.shm_size",
    "services.db.mem_limit",
    "services.db.healthcheck.test",
    "services.redis.*",
    "services.nginx.configs",
    "services.nginx.environment.HTTPS_PORT",
    "services.nginx.ports",
    "volumes.redis_vol",
    "networks.redis_network.internal",
    "configs.backend.file",
    "secrets.redis_password.file",
]


def flat(node: Any, path: str = "") -> dict[str, str]:
    """Return each leaf of a parsed file by its path; a list is a leaf."""
    if not isinstance(node, dict) or not node:
        return {path: json.dumps(node)}
    return {
        inner: leaf
        for name, child in node.items()
        for inner, leaf in flat(child, f"{path}.{name}" if path else str(name)).items()
    }


def differing() -> set[str]:
    one, other = (
        # The names of the stack's own files.
        {
            path: re.sub(rf"(\.env\.|secrets/(?:tls/)?){stack}\b", r"\1STACK", leaf)
            for path, leaf in flat(compose(stack)).items()
        }
        for stack in PRODUCTION
    )
    return {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)}


def test_production_stacks_differ_only_where_they_must() -> None:
    surplus = {path for path in differing() if not any(fnmatch.fnmatch(path, pattern) for pattern in DIFFERENCES)}
    assert not surplus, "the same in both files, or listed in DIFFERENCES"


def test_each_listed_difference_is_one() -> None:
    for pattern in DIFFERENCES:
        assert fnmatch.filter(differing(), pattern), f"{pattern} is the same in both files"


def test_production_stacks_explain_themselves_alike() -> None:
    """`diff` of the two shows uWSGI, MySQL and Redis: no line is worded differently without a reason."""
    result = run(["diff", COMPOSE["prod"], COMPOSE["uwsgi"]])
    comments = [line for line in result.stdout.splitlines() if re.match(r"[<>] +#", line) and line[2] == " "]
    named = ("uwsgi", "gunicorn", "redis", "nginx/backend", "postgres", "mysql", "tcp", "checkpoint", "disk")
    strange = [line for line in comments if not any(name in line.lower() for name in named)]
    assert not strange


@pytest.mark.parametrize(("stack", "file"), COMPOSE.items())
def test_compose_files_open_with_what_how_and_command(stack: str, file: str) -> None:
    what, how, command, *_ = text(file).splitlines()
    suffix = "" if stack == "dev" else f"-{stack}"
    assert f"http://localhost:{env_file(f'.env.{stack}')['HTTP_PORT']}" in what
    assert how.startswith("# Differs from docker-compose.")
    assert f"`make up{suffix}`" in command
    assert re.search(r"docker compose .*up -d --build$", command)
    if stack != "dev":
        assert f"docker compose --env-file .env.{stack} -f {file} up" in command


# --- Ports ---


@pytest.mark.parametrize("stack", COMPOSE)
def test_published_port(stack: str) -> None:
    port = env_file(f".env.{stack}")["HTTP_PORT"]
    assert one(r"\$\{HTTP_PORT:-(\d+)\}", text(COMPOSE[stack])) == port
    assert port == {"dev": "8000", "prod": "1337", "uwsgi": "1338"}[stack]
    inside = compose(stack)["services"]["web" if stack == "dev" else "nginx"]["ports"][0].rsplit(":", 1)[1]
    if stack != "dev":
        assert inside == value(templates(stack)["listen-http.conf"], "listen").split()[0]


@pytest.mark.parametrize("stack", PRODUCTION)
def test_published_port_of_https(stack: str) -> None:
    port = env_file(f".env.{stack}")["HTTPS_PORT"]
    assert one(r"\$\{HTTPS_PORT:-(\d+)\}", text(COMPOSE[stack])) == port == {"prod": "1443", "uwsgi": "1444"}[stack]
    _, tcp, udp = compose(stack)["services"]["nginx"]["ports"]
    assert udp == f"{tcp}/udp"
    for name in ("listen-https.conf", "http3.conf"):
        assert value(templates(stack)[name], "listen").split()[0] == tcp.rsplit(":", 1)[1]


def test_port_of_the_app(gunicorn: dict[str, Any]) -> None:
    """Where the servers listen, where nginx looks for them, and where the health check asks."""
    port = gunicorn["bind"].rsplit(":", 1)[1]
    assert ini("socket") == f":{port}"
    assert one(r"\bweb:(\d+)\b", "".join(templates("prod").values())) == port
    assert one(r"server web:(\d+) resolve", text("bin/lib/stack.sh")) == port
    assert one(r"else (\d+)$", text("app/healthcheck.py")) == port
    assert compose("prod")["services"]["web"]["healthcheck"]["test"] == ["CMD", "python", "healthcheck.py"]
    assert one(r"runserver\", \"0\.0\.0\.0:(\d+)\"", text("app/Dockerfile")) == port


def test_port_of_uwsgis_health_check() -> None:
    port = ini("http-socket").rsplit(":", 1)[1]
    assert ini("http-socket").startswith("127.0.0.1:"), "plain HTTP stays inside the container"
    assert compose("uwsgi")["services"]["web"]["healthcheck"]["test"][-1] == port
    assert one(r"uwsgi\) health_port=(\d+)", text("bin/lib/stack.sh")) == port


def test_a_deploy_gives_nginx_back_the_server_that_its_template_has() -> None:
    assert one(r"lines='(server web:.*;)'", text("bin/lib/stack.sh")) in text("nginx/servers.conf")


# --- Paths ---


def mounts(stack: str, service: str) -> dict[str, str]:
    """Return a service's mounts: volume or file, and where it is in the container."""
    volumes = compose(stack)["services"][service]["volumes"]
    return dict(volume.removesuffix(":ro").split(":", 1) for volume in volumes)


@pytest.mark.parametrize("stack", PRODUCTION)
def test_static_and_media(stack: str) -> None:
    dockerfile = text("app/Dockerfile.prod")
    home = one(r"\bAPP_HOME=(\S+)", dockerfile)
    settings = text("app/hello_django/settings.py")
    nginx = templates(stack)["nginx.conf"]
    for volume, folder, name in (("static_vol", "staticfiles", "static"), ("media_vol", "mediafiles", "media")):
        assert f'BASE_DIR / "{folder}"' in settings
        assert f"$APP_HOME/{folder}" in dockerfile
        assert mounts(stack, "web")[volume] == mounts(stack, "init")[volume] == f"{home}/{folder}"
        assert f"alias {mounts(stack, 'nginx')[volume]}/" in nginx
        assert f'{name.upper()}_URL = "/{name}/"' in settings
        assert re.search(rf"location [^{{]*/{name}/", nginx)
    assert one(r"^#MEDIA_ROOT=(.*)$", text(f".env.{stack}")) == f"{home}/mediafiles"
    assert f'ENTRYPOINT ["{home}/entrypoint.prod.sh"]' in dockerfile


def test_paths_of_development() -> None:
    home = one(r"^WORKDIR (\S+)", text("app/Dockerfile"))
    assert mounts("dev", "web")["./app"] == home
    assert one(r"^#MEDIA_ROOT=(.*)$", text(".env.dev")) == f"{home}/mediafiles"


def test_what_is_mounted_exists() -> None:
    for stack in COMPOSE:
        for service, settings in compose(stack)["services"].items():
            for source in mounts(stack, service) if "volumes" in settings else ():
                # bin/secrets makes it.
                if source == f"./secrets/tls/{stack}":
                    continue
                assert (ROOT / source).exists() if source.startswith("./") else source in compose(stack)["volumes"]


@pytest.mark.parametrize(
    ("sent", "status", "again"),
    [
        ("0", "502", True),
        ("0, 0", "502, 502", True),
        ("-", "502", True),
        ("5123", "502", False),
        ("0, 5123", "502, 502", False),
        ("0, 812", "504, 504", False),
        ("0 : 0", "502 : 502", True),
    ],
)
def test_what_is_sent_a_second_time(sent: str, status: str, again: bool) -> None:
    """Only what no container has got a byte of: with two of them nginx's variables are lists."""
    rules = re.search(r'map "([^"]*)" \$give_up \{(.*?)\n    \}', text("nginx/nginx.conf"), re.S)
    value = rules[1].replace("$upstream_bytes_sent", sent).replace("$upstream_status", status)
    patterns = re.findall(r'"~(.*?)" ("?\w*"?);', rules[2])
    assert len(patterns) == 2
    result = next((result for pattern, result in patterns if re.search(pattern, value)), "502")
    assert (result == '""') == again


def test_hashed_names() -> None:
    """Django makes them, the storage keeps them, nginx serves them as immutable, and hides the lists of them."""
    hashed = one(r'HASHED = re.compile\(r"\\\.(.*)\\\."\)', text("app/hello_django/storage.py"))
    nginx = text("nginx/nginx.conf")
    assert f"\\.{hashed}\\." in nginx
    manifest = one(r'manifest_name = f"(.*)"$', text("app/hello_django/storage.py")).format(**{"release()": "0" * 12})
    hidden = one(r'location ~ "(.*staticfiles.*)" \{', nginx)
    assert re.search(hidden, f"/static/{manifest}")
    assert re.search(hidden, "/static/css/.site.css.12")
    assert not re.search(hidden, "/static/css/site.0123456789ab.css")


# --- Images ---


def test_base_images() -> None:
    """One tag for each, in Dockerfiles, Compose files, env files and the programs that make or look for them."""
    tags: dict[str, set[str]] = {}
    everywhere = [*files("docker-compose*.yml", ".env.*"), *files("bin/*"), *files("Dockerfile*")]
    for path in everywhere:
        if path.parts[0] != "tests":
            for name, tag in re.findall(
                r"^[^#]*?\b([A-Z]+_IMAGE)(?::-|=)([a-z][\w./-]*:[\w.-]+)", text(str(path)), re.M
            ):
                tags.setdefault(name, set()).add(tag)
            for name, tag in re.findall(r"\$\{([A-Z]+_IMAGE):-([a-z][\w./-]*:[\w.-]+)\}", text(str(path))):
                tags.setdefault(name, set()).add(tag)
            for name, tag in re.findall(r"^#([A-Z]+_IMAGE)=(.+)$", text(str(path)), re.M):
                tags.setdefault(name, set()).add(tag)
    assert set(tags) == {"PYTHON_IMAGE", "NGINX_IMAGE", "POSTGRES_IMAGE", "MYSQL_IMAGE", "REDIS_IMAGE"}
    assert all(len(found) == 1 for found in tags.values()), tags
    made = one(r"^default='(.*)'$", text("bin/base-images")).split()
    assert set(made) == {tag for found in tags.values() for tag in found}


def test_users() -> None:
    for stack in PRODUCTION:
        user = compose(stack)["services"]["nginx"]["user"]
        assert one(r"^USER (.*)$", text("nginx/Dockerfile")) == user
        assert f"chown {user} " in text("nginx/Dockerfile")


# --- Limits and times ---


def test_upload_limit() -> None:
    limits = {env_file(f".env.{stack}")["MAX_UPLOAD_MB"] for stack in COMPOSE}
    limits.add(one(r'MAX_UPLOAD_MB", (\d+)', text("app/hello_django/settings.py")))
    limits.add(one(r"MAX_UPLOAD_MB:-(\d+)\}", text("nginx/10-environment.envsh")))
    assert len(limits) == 1, limits
    least, most = re.search(
        r'MAX_UPLOAD_MB", \d+, least=(\d+), most=(\d+)', text("app/hello_django/settings.py")
    ).groups()
    assert f'number MAX_UPLOAD_MB "${{MAX_UPLOAD_MB:-25}}" {most}' in text("nginx/10-environment.envsh")
    for stack in COMPOSE:
        assert f"in MB ({least} to {most})" in text(f".env.{stack}")


def test_nginx_closes_idle_connections_before_the_server_does(gunicorn: dict[str, Any]) -> None:
    """The other way round, a POST can meet a connection that is just being closed: a 502."""
    upstream = re.search(r"upstream \w+ \{(.*?)\n    \}", text("nginx/nginx.conf"), re.S)[1]
    assert gunicorn["keepalive"] > seconds(value(upstream, "keepalive_timeout"))


def test_requests_under_way_finish_before_docker_kills(gunicorn: dict[str, Any]) -> None:
    assert gunicorn["graceful_timeout"] < seconds(compose("prod")["services"]["web"]["stop_grace_period"])
    for name in ("reload-mercy", "worker-reload-mercy"):
        assert int(ini(name)) < seconds(compose("uwsgi")["services"]["web"]["stop_grace_period"])


def test_what_headers_nginx_accepts_uwsgi_can_carry() -> None:
    """nginx reads the line of the request and its headers into these; what it adds itself is well under 16 KB."""
    found = re.findall(r"^\s*large_client_header_buffers (\d+) (\w+);", text("nginx/nginx.conf"), re.M)
    number, each = found[0] if found else ("4", "8k")
    assert int(number) * size(each) + 16 * 1024 < int(ini("buffer-size")) <= 65535


def test_redis_leaves_room_for_a_snapshot() -> None:
    limit = size(str(compose("uwsgi")["services"]["redis"]["mem_limit"]))
    assert size(one(r"^maxmemory (\S+)$", text("compose/redis/redis.conf"))) * 2 <= limit


def test_health_checks_allow_for_the_first_start() -> None:
    for stack in PRODUCTION:
        for name, service in compose(stack)["services"].items():
            if name != "init":
                check = service["healthcheck"]
                assert seconds(check["start_interval"]) <= 0.5 < seconds(check["timeout"]) < seconds(check["interval"])
                assert seconds(check["start_period"]) >= (120 if name == "db" else 30)


# --- Databases ---


@pytest.mark.parametrize(
    ("stack", "database", "user"), [("prod", "POSTGRES_DB", "APP_USER"), ("uwsgi", "MYSQL_DATABASE", "MYSQL_USER")]
)
def test_database_and_user(stack: str, database: str, user: str) -> None:
    app, server = env_file(f".env.{stack}"), env_file(f".env.{stack}.db")
    assert (server[database], server[user]) == (app["SQL_DATABASE"], app["SQL_USER"])


def test_database_and_user_of_development() -> None:
    app, server = env_file(".env.dev"), compose("dev")["services"]["db"]["environment"]
    assert (server["POSTGRES_DB"], server["POSTGRES_USER"]) == (app["SQL_DATABASE"], app["SQL_USER"])
    assert (
        f"-U {app['SQL_USER']} -d {app['SQL_DATABASE']}" in compose("dev")["services"]["db"]["healthcheck"]["test"][1]
    )
    shell = f"psql --username={app['SQL_USER']} --dbname={app['SQL_DATABASE']}"
    assert one(r"^dev_sql := (.*)$", text("Makefile")) == shell


@pytest.mark.parametrize("stack", COMPOSE)
def test_engine_host_and_port(stack: str) -> None:
    settings = env_file(f".env.{stack}")
    assert settings["SQL_HOST"] in compose(stack)["services"]
    kind = "mysql" if stack == "uwsgi" else "postgres"
    assert settings["DATABASE"] == kind
    assert settings["SQL_ENGINE"] == f"django.db.backends.{kind.replace('postgres', 'postgresql')}"
    port = one(rf'"{settings["SQL_ENGINE"]}": \{{\s+"PORT": (\d+)', text("app/hello_django/settings.py"))
    assert settings["SQL_PORT"] == port


def test_redis_is_found() -> None:
    assert env_file(".env.uwsgi")["REDIS_URL"].startswith("redis://redis:")
    assert "redis" in compose("uwsgi")["services"]


@pytest.mark.parametrize("stack", COMPOSE)
def test_secrets_are_made_used_and_read(stack: str) -> None:
    made = set(one(rf'^\s+{stack}\) names="(.*)" ;;', text("bin/secrets")).split())
    declared = compose(stack)["secrets"]
    assert made == set(declared)
    services = compose(stack)["services"].values()
    assert made == {name for service in services for name in service.get("secrets", ())}
    for name, secret in declared.items():
        assert secret["file"] == f"./secrets/{stack}/{name}"
    for service in services:
        for variable, path in service.get("environment", {}).items():
            if variable.endswith("_FILE"):
                assert path.removeprefix("/run/secrets/") in service["secrets"]


# --- Make ---


def targets() -> set[str]:
    """Return every target that the Makefile declares."""
    database = run(["make", "--print-data-base", "--question", "--no-builtin-rules", "help"]).stdout
    # The other such lines are the text of `define`.
    phony = max(re.findall(r"^\.PHONY: ([^$\n]*)$", database, re.M), key=len).split()
    assert {"up", "up-prod", "up-uwsgi", "run"} <= set(phony)
    return set(phony)


def helped() -> dict[str, str]:
    """Return the targets that `make` prints, each with its line."""
    found: dict[str, str] = {}
    for line in run(["make"]).stdout.splitlines():
        if line.startswith("  "):
            *names, description = re.split(r"\s{2,}", line.strip())
            assert names, line
            assert description[0].islower() or " " in description, line
            for name in names:
                assert name not in found, f"{name} is there twice"
                found[name] = description
    return found


def test_help_names_each_target_and_no_other() -> None:
    assert set(helped()) == targets() - {"help", "engine"}


def test_help_fits_a_terminal() -> None:
    assert max(map(len, run(["make"]).stdout.splitlines())) <= 120


def test_each_target_of_make_can_be_expanded() -> None:
    for target in sorted(targets()):
        result = run(["make", "--dry-run", target])
        assert result.returncode == 0, result.stderr


def test_targets_start_with_a_check_of_the_engine() -> None:
    """All that speak to Docker: without an engine they say in one line what to do."""
    for target in sorted(targets()):
        planned = run(["make", "--dry-run", target]).stdout.splitlines()
        if any(
            re.match(r"docker |bin/(up|standalone|base-images|deploy|rollback|scale|backup|restore)\b", line)
            for line in planned
        ):
            assert planned[0] == "bin/need-engine", target


def test_what_deletes_asks_first() -> None:
    for target in targets():
        planned = run(["make", "--dry-run", target]).stdout
        if re.search(r"down --volumes|flush --noinput", planned):
            assert re.search(r"bin/ask .*\n.*(down --volumes|flush --noinput)", planned), target


def test_adopted_projects_get_the_same_database_options() -> None:
    ours, theirs = (engines(path) for path in ("app/hello_django/settings.py", "adopt/on_docker/settings.py"))
    # No stack runs on SQLite, which is for `make run` alone.
    del ours["django.db.backends.sqlite3"]
    assert theirs == ours


def engines(path: str) -> dict[str, Any]:
    """Return the value of ENGINES in a settings module, which is read and not run."""
    for node in ast.parse(text(path)).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "ENGINES" for target in targets):
            return ast.literal_eval(node.value)
    pytest.fail(f"{path} has no ENGINES")
