"""Starting, failing to start, stopping, and going on while something is away."""

import re
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from bench import Stack, run, wait_for

KEY = "k3y-of-the-tests-0123456789abcdefghijklmnopqrstuvwxyz"
DATABASE = {"prod": "django.db.backends.postgresql", "uwsgi": "django.db.backends.mysql"}


@pytest.fixture(scope="module")
def slow_start(make_stack) -> Iterator[tuple[Stack, "subprocess.Popen[str]", float]]:
    """A first start whose database takes 60 s before it begins, under way in the background from here on."""
    stack = make_stack("prod", "slow", own_tree=True)
    path = stack.folder / stack.file
    text, count = re.subn(
        r"(?m)^    user: postgres$",
        '    user: postgres\n    entrypoint: ["sh", "-c", "sleep 60; exec docker-entrypoint.sh postgres"]',
        path.read_text(),
    )
    assert count == 1
    path.write_text(text)
    # Built before the clock starts.
    stack.make("secrets", "build-prod")
    began = time.monotonic()
    with subprocess.Popen(
        ["make", "up-prod"], cwd=stack.folder, env=stack.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            yield stack, process, began
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def clone(make_stack) -> Stack:
    """A production stack in a tree of its own that tests start, break and mend; each leaves it mended."""
    return make_stack("prod", "clone", own_tree=True)


def fails(stack: Stack, *named: str, within: float = 150, **variables: str) -> str:
    """Assert that `make up-*` gives up in time, saying all of this, without stack trace and secret."""
    began = time.monotonic()
    result = stack.make(f"up{stack.suffix}", check=False, **variables)
    assert time.monotonic() - began < within
    assert result.returncode != 0
    output = result.stdout + result.stderr
    for words in named:
        assert words in output, output[-3000:]
    assert "Traceback" not in output
    for value in stack.secrets.values():
        assert value not in output
    return output


def changed(path: Path, old: str, new: str) -> Callable[[], None]:
    """Replace the only occurrence of a text in a file; return what undoes it."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return lambda: path.write_text(text) and None


def started_at(stack: Stack) -> dict[str, str]:
    """Return when each running container was started, by its id."""
    return {container["Id"]: container["State"]["StartedAt"] for container in stack.inspect()}


# --- Starting ---


def test_slow_database_is_waited_for(slow_start) -> None:
    stack, process, _ = slow_start
    wait_for(lambda: stack.ids("db"), 60, "the container of the database")
    assert process.poll() is None
    # Nothing that needs the database runs yet.
    assert not stack.ids("web")
    assert not stack.ids("nginx")


def test_up_twice_changes_nothing(stack: Stack) -> None:
    before = started_at(stack)
    assert len(before) >= 3
    result = stack.make(f"up{stack.suffix}")
    assert started_at(stack) == before
    assert result.stdout.rstrip().endswith(f"{stack.kind} is up: {stack.url}")


def test_make_prints_what_it_runs(stack: Stack) -> None:
    result = stack.make(f"ps{stack.suffix}")
    command = f"docker compose --env-file {stack.env_file} -f {stack.file} ps --all"
    assert result.stdout.splitlines()[0] == command
    for service in ("web", "db", "nginx", "init"):
        assert f"{stack.project}-{service}-1" in result.stdout


def test_deployment_check_passes_in_the_image(stack: Stack) -> None:
    check = ["python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    assert "no issues" in stack.execute("web", *check).stdout
    # It is not deaf: only what needs HTTPS is silenced.
    loud = stack.compose("exec", "-T", "--env", "DEBUG=1", "web", *check, check=False)
    assert loud.returncode == 1
    assert "security.W018" in loud.stderr


def test_no_migration_is_missing(stack: Stack) -> None:
    stack.execute("web", "python", "manage.py", "makemigrations", "--check", "--dry-run")
    stack.execute("web", "python", "manage.py", "migrate", "--check")


def test_make_manage_and_tables(stack: Stack) -> None:
    version = stack.make(f"manage{stack.suffix}", "ARGS=version").stdout
    assert re.search(r"(?m)^5\.2\.\d+$", version)
    assert "upload_picture" in stack.make(f"tables{stack.suffix}").stdout
    assert f"{stack.project}_db_vol" in stack.make(f"volumes{stack.suffix}").stdout


@pytest.mark.parametrize(
    ("quota", "said", "expected"),
    [(50_000, "", 2), (100_000, "", 2), (300_000, "", 3), (250_000, "", 3), (1_600_000, "", 4), (100_000, "7", 7)],
)
def test_workers_follow_the_cpu_limit(stack: Stack, quota: int, said: str, expected: int) -> None:
    """Not --cpus, which the engine compares with the machine's."""
    limit = ["--cpu-period", "100000", "--cpu-quota", str(quota), "--network", "none"]
    image = stack.container("web")["Image"]
    count = run(
        "docker", "run", "--rm", *limit, f"--env=WEB_CONCURRENCY={said}", image, "sh", "-c", "echo $WEB_CONCURRENCY"
    ).stdout
    assert int(count) == expected


def test_as_many_workers_as_cpus(stack: Stack) -> None:
    listed = "for process in /proc/[0-9]*; do tr '\\0' ' ' < $process/cmdline; echo; done 2> /dev/null"
    lines = stack.execute("web", "sh", "-c", listed).stdout.splitlines()
    server = {"prod": "gunicorn", "uwsgi": "uwsgi"}[stack.kind]
    count = len([line for line in lines if server in line and "for process" not in line])
    workers = min(max(int(stack.execute("web", "nproc").stdout), 2), 4)
    # And the master.
    assert count == workers + 1, lines


# --- Clones and passwords of all sorts ---


@pytest.mark.parametrize("kind", ["prod", "uwsgi"])
def test_a_private_clone_with_passwords_of_ones_own_starts(kind: str, make_stack) -> None:
    """As a clone under umask 077 is, and with what people write into secrets/ themselves."""
    fresh = make_stack(kind, "private", own_tree=True)
    run("chmod", "-R", "go=", str(fresh.folder))
    secrets = fresh.folder / "secrets" / kind
    secrets.mkdir(parents=True)
    # Not MySQL's: the official image puts that into SQL as it stands.
    own = secrets / {"prod": "db_password", "uwsgi": "redis_password"}[kind]
    own.write_text(r"""it's \new "quoted" $HOME #1""")
    own.chmod(0o444)
    try:
        fresh.start()
        assert fresh.get("/readyz").status_code == 200
        fresh.upload().raise_for_status()
        assert fresh.get("/static/upload/upload.css").status_code == 200
        assert "MB" in fresh.execute("nginx", "cat", "/usr/share/nginx/errors/413.html").stdout
    finally:
        fresh.remove()


# --- Wrong settings ---

WRONG_SETTINGS = [
    ({"DEBUG": "maybe"}, "DEBUG='maybe'"),
    ({"SECRET_KEY": ""}, "SECRET_KEY is missing"),
    ({"SECRET_KEY": "changeme"}, "SECRET_KEY is too short or a placeholder"),
    ({"SECRET_KEY_FILE": "/run/secrets/nothing"}, "SECRET_KEY_FILE='/run/secrets/nothing' cannot be read"),
    ({"SECRET_KEY_FILE": "/dev/null"}, "SECRET_KEY_FILE='/dev/null' is empty"),
    ({"SQL_ENGINE": "oracle"}, "SQL_ENGINE='oracle'"),
    ({"SQL_PORT": "99999"}, "SQL_PORT='99999'"),
    ({"MAX_UPLOAD_MB": "many"}, "MAX_UPLOAD_MB='many'"),
    ({"DJANGO_ALLOWED_HOSTS": "a.example,b.example"}, "DJANGO_ALLOWED_HOSTS"),
    ({"REDIS_URL": "redis"}, "REDIS_URL"),
]


def start_image(image: str, variables: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run an image by itself, hardened like its service, until it ends."""
    options = ["--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL"]
    environment = [f"--env={name}={value}" for name, value in variables.items()]
    return run("docker", "run", *options, *environment, image, *command, check=False, timeout=60)


@pytest.mark.parametrize(("variables", "named"), WRONG_SETTINGS, ids=[wrong[1][:30] for wrong in WRONG_SETTINGS])
def test_wrong_setting_is_one_line(stack: Stack, variables: dict[str, str], named: str) -> None:
    good = {"SECRET_KEY": KEY, "SQL_ENGINE": DATABASE[stack.kind], "SQL_PASSWORD": KEY, "DATABASE": "server"}
    result = start_image(stack.container("web")["Image"], good | variables, "python", "manage.py", "init")
    assert result.returncode == 1
    assert len((result.stdout + result.stderr).strip().splitlines()) == 1, result.stderr
    assert named in result.stderr
    assert KEY not in result.stderr


def test_server_with_a_wrong_setting_ends(stack: Stack) -> None:
    """The servers themselves, without the init service before them: no loop of dying workers."""
    variables = {"SECRET_KEY": KEY, "SQL_ENGINE": DATABASE[stack.kind], "MAX_UPLOAD_MB": "many"}
    container = stack.container("web")
    result = start_image(container["Image"], variables, *container["Config"]["Cmd"])
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert output.count("settings: MAX_UPLOAD_MB='many' is not a whole number from 1 to 1024") == 1
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "variables",
    [
        {"MAX_UPLOAD_MB": "many"},
        {"UPLOAD_RATE": "fast"},
        {"UPLOAD_RATE": "0/m"},
        {"LOGIN_RATE": "1/h"},
        {"UPLOAD_BURST": "-1"},
        {"LOGIN_BURST": "x"},
        {"REQUEST_TIMEOUT": "1m"},
        {"TRUSTED_PROXIES": "10.0.0.0/8; return 200;"},
    ],
    ids=str,
)
def test_nginx_with_a_wrong_setting_is_one_line(prod: Stack, variables: dict[str, str]) -> None:
    result = start_image(prod.container("nginx")["Image"], variables)
    assert result.returncode == 1
    (name,) = variables
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("nginx: ")]
    assert name in line


@pytest.mark.parametrize("limit", ["1", "8", "1024"])
def test_nginx_and_django_read_the_same_limit(prod: Stack, limit: str) -> None:
    """One number, two programs: a limit that one takes for another would be a 413 without reason."""
    show = "grep client_max_body_size /tmp/nginx/nginx.conf"
    script = f". /docker-entrypoint.d/10-environment.envsh; echo $NGX_MAX_UPLOAD_MB $NGX_MAX_BODY_MB; # {show}"
    image = prod.container("nginx")["Image"]
    command = ["--rm", "--network", "none", "--tmpfs", "/tmp", "--env", f"MAX_UPLOAD_MB={limit}", "--entrypoint", "sh"]
    assert run("docker", "run", *command, image, "-c", script).stdout.split() == [str(int(limit)), str(int(limit) + 1)]
    ask = ["python", "-c", "from hello_django import settings; print(settings.MAX_UPLOAD_MB)"]
    web = start_image(prod.container("web")["Image"], {"SECRET_KEY": KEY, "MAX_UPLOAD_MB": limit}, *ask)
    assert int(web.stdout) == int(limit)


# --- A clone that fails to start ---


def test_broken_env_file_stops_the_start(clone: Stack) -> None:
    undo = changed(clone.folder / ".env.prod", "\nMAX_UPLOAD_MB=25\n", "\nMAX_UPLOAD_MB=many\n")
    output = fails(clone, "service 'init' of prod", "MAX_UPLOAD_MB='many'")
    assert "service 'db'" not in output
    undo()
    clone.make("up-prod")
    assert clone.answers()


def test_wrong_password_for_a_volume_that_exists(clone: Stack) -> None:
    """As after restoring a folder without its secrets: the database keeps the password that it was made with."""
    clone.make("up-prod")
    path = clone.folder / "secrets/prod/db_password"
    right = path.read_text()
    path.chmod(0o600)
    path.write_text("x" * 40)
    path.chmod(0o444)
    try:
        fails(clone, "service 'init' of prod", "password authentication failed")
    finally:
        path.chmod(0o600)
        path.write_text(right)
        path.chmod(0o444)
    clone.make("up-prod")
    assert clone.answers()


def test_service_that_never_gets_healthy(clone: Stack) -> None:
    undo = changed(
        clone.folder / clone.file, 'test: ["CMD-SHELL", "pg_isready', 'test: ["CMD-SHELL", "false && pg_isready'
    )
    clone.compose("down")
    try:
        output = fails(clone, "service 'db' of prod", UP_TIMEOUT="8", within=90)
    finally:
        undo()
    # With its last lines.
    assert "database system" in output.partition("service 'db'")[2]
    assert "make ps-prod" in output
    clone.make("up-prod")
    assert clone.answers()


def test_port_that_is_taken(clone: Stack) -> None:
    clone.make("down-prod")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("0.0.0.0", clone.port))
        taken.listen()
        output = fails(clone, "HTTP_PORT in .env.prod")
    (line,) = [line for line in output.splitlines() if line.startswith("up: ")]
    assert str(clone.port) in line
    clone.make("up-prod")
    assert clone.answers()


def test_down_keeps_the_data_and_destroy_asks(clone: Stack) -> None:
    clone.make("up-prod")
    name = f"{uuid.uuid4().hex}.png"
    assert clone.upload(name=name).status_code == 200
    clone.make("down-prod")
    assert not clone.inspect(every=True)
    clone.make("up-prod")
    assert clone.get(f"/media/{name}").status_code == 200
    assert name in clone.get("/").text

    before = started_at(clone)
    refused = clone.make("destroy-prod", check=False)
    assert refused.returncode != 0
    assert "Nothing was done" in refused.stderr
    assert started_at(clone) == before

    # Another clone has other passwords, and no container says whose the data is.
    clone.make("down-prod")
    secrets = clone.folder / "secrets/prod"
    secrets.rename(kept := secrets.with_name("kept"))
    for goal in ("up-prod", "destroy-prod"):
        refused = clone.make(goal, check=False)
        assert refused.returncode != 0
        assert f"{clone.project} has data on this machine, and {clone.folder} has no secrets/prod" in refused.stderr
    assert not secrets.exists()
    kept.rename(secrets)

    clone.make("destroy-prod", YES="1")
    assert not clone.inspect(every=True)
    volumes = run("docker", "volume", "ls", "--quiet", "--filter", f"name={clone.project}_").stdout
    assert volumes == ""
    clone.make("up-prod")
    assert clone.get(f"/media/{name}").status_code == 404
    assert name not in clone.get("/").text


def test_flush_asks_and_keeps_the_tables(clone: Stack) -> None:
    clone.make("up-prod")
    name = f"{uuid.uuid4().hex}.png"
    clone.upload(name=name)
    refused = clone.make("flush-prod", check=False)
    assert refused.returncode != 0
    assert "Nothing was done" in refused.stderr
    assert name in clone.get("/").text
    clone.make("flush-prod", YES="1")
    page = clone.get("/")
    assert page.status_code == 200
    assert name not in page.text
    assert "upload_picture" in clone.make("tables-prod").stdout


def test_raw_commands_of_the_tutorial(clone: Stack) -> None:
    """After `make secrets` nothing of ours is needed."""
    clone.make("destroy-prod", YES="1")

    def compose(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "-f", "docker-compose.prod.yml", *words]
        return run(*command, cwd=clone.folder, env=clone.environment)

    compose("up", "-d", "--build")
    wait_for(clone.answers, 60, "the stack answers")
    assert (
        "No migrations to apply" in compose("exec", "-T", "web", "python", "manage.py", "migrate", "--noinput").stdout
    )
    assert "static files" in compose("exec", "-T", "web", "python", "manage.py", "collectstatic", "--no-input").stdout
    assert clone.upload(name="raw.png").status_code == 200
    wait_for(lambda: '"method":"POST"' in compose("logs").stdout, what="nginx's line of the upload")
    compose("down", "-v")
    assert not clone.inspect(every=True)


# --- Something is away ---


def test_database_that_goes_away_and_comes_back(rigged: Stack) -> None:
    before = started_at(rigged)
    rigged.compose("stop", "db")
    not_ready = rigged.get("/readyz")
    assert (not_ready.status_code, not_ready.text) == (503, "missing: database\n")
    assert rigged.get("/healthz").status_code == 200
    page = rigged.get("/")
    assert page.status_code == 503
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Retry-After"]
    for words in ("Traceback", "OperationalError", "hello_django", "5432", "3306"):
        assert words not in page.text
    asked = rigged.get("/", headers={"Accept": "application/json"})
    assert asked.status_code == 503
    assert asked.json()["error"]["code"]
    # The pages of Django itself, which know nothing of outages.
    assert rigged.get("/admin/login/").status_code in (200, 500, 503)
    rigged.compose("start", "db")
    wait_for(rigged.answers, 60, "ready again")
    assert rigged.get("/").status_code == 200
    assert rigged.upload(name="after.png").status_code == 200
    # By itself: only the database was started anew.
    after = started_at(rigged)
    assert len({id for id in before if after[id] != before[id]}) == 1
    for value in rigged.secrets.values():
        assert value not in rigged.logs("web")


def test_database_that_hangs(rigged: Stack) -> None:
    """Nothing is refused, nothing answers: the worst kind of outage. /readyz has its answer after 2 s all the same."""
    database = rigged.container("db")["Id"]
    rigged.upload(name="before.png")
    run("docker", "pause", database)
    try:
        not_ready = rigged.get("/readyz")
        assert (not_ready.status_code, not_ready.text) == (503, "missing: database\n")
        assert not_ready.elapsed.total_seconds() < 8
        assert rigged.get("/healthz", timeout=20).status_code == 200
        page = rigged.get("/", timeout=60)
        assert page.status_code in (503, 504)
        assert "Traceback" not in page.text
    finally:
        run("docker", "unpause", database)
    wait_for(rigged.answers, 60, "ready again")
    wait_for(lambda: rigged.answers("/"), 60, "the page is back")
    assert rigged.upload(name="after-hang.png").status_code == 200


def test_web_that_moves_to_another_address(rigged: Stack) -> None:
    network = f"{rigged.project}_nginx_network"

    def address() -> str:
        return rigged.container("web")["NetworkSettings"]["Networks"][network]["IPAddress"]

    before = address()
    rigged.compose("stop", "web")
    page = rigged.get("/")
    assert page.status_code in (502, 503, 504)
    assert "The site is not available" in page.text
    assert page.headers["Retry-After"]
    rigged.compose("rm", "--force", "web")
    # Somebody else takes the old address.
    image = rigged.container("nginx")["Image"]
    squatter = run(
        "docker", "run", "--detach", "--rm", "--network", network, "--label",
        f"com.docker.compose.project={rigged.project}", "--entrypoint", "sleep", image, "300",
    ).stdout.strip()  # fmt: skip
    try:
        rigged.compose("up", "--detach", "--no-deps", "--no-build", "web")
        wait_for(rigged.answers, 30, "nginx finds web")
        assert address() != before
        assert {rigged.get("/healthz").status_code for _ in range(50)} == {200}
    finally:
        run("docker", "rm", "--force", squatter)


# --- Requests that hang ---


def test_request_that_never_ends(rigged: Stack) -> None:
    """The client gets a 504 page, the worker is replaced, the log names the URL, the other workers go on."""
    stack = rigged
    words = {"prod": "was sent SIGKILL", "uwsgi": "Respawned uWSGI worker"}[stack.kind]
    path = f"/pages/slow/300/?{uuid.uuid4().hex}"
    respawned = stack.logs("web").count(words)
    answers: list[requests.Response] = []
    thread = threading.Thread(target=lambda: answers.append(stack.get(path)))
    thread.start()
    wait_for(lambda: f"slow begins: {path}" in stack.logs("web"), what="the request has begun")
    while thread.is_alive():
        assert stack.get("/pages/who/").status_code == 200
        time.sleep(0.1)
    (page,) = answers
    assert page.status_code == 504
    assert "The site is not available" in page.text
    # REQUEST_TIMEOUT of the rigged stacks is 10 s.
    assert 9 < page.elapsed.total_seconds() < 30

    def harakiri() -> list[str]:
        # Requests go on meanwhile, to each thread of each worker: they must not put it off.
        ask_all()
        return [line for line in stack.logs("web").splitlines() if "HARAKIRI" in line and path in line]

    def ask_all() -> None:
        threads = [threading.Thread(target=stack.answers, args=["/pages/who/"]) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    wait_for(harakiri, 60, "the URL in the log")
    wait_for(lambda: stack.logs("web").count(words) > respawned, 30, "a new worker")
    assert all(stack.get("/pages/who/").status_code == 200 for _ in range(20))


# --- Stopping ---


def test_requests_under_way_are_finished(rigged: Stack) -> None:
    """Gunicorn's and uWSGI's answer to `docker stop`, and so to every deploy."""
    answers: list[requests.Response] = []
    marks = [uuid.uuid4().hex for _ in range(3)]

    def ask(mark: str) -> None:
        answers.append(rigged.get(f"/pages/slow/3/?{mark}"))

    threads = [threading.Thread(target=ask, args=[mark]) for mark in marks]
    for thread in threads:
        thread.start()
    wait_for(lambda: all(f"slow begins: /pages/slow/3/?{mark}" in rigged.logs("web") for mark in marks))
    began = time.monotonic()
    rigged.compose("stop", "web")
    assert time.monotonic() - began < 28
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 3
    assert all(answer.text.startswith("slow done in") for answer in answers)
    state = rigged.container("web")["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def test_everything_stops_by_itself(rigged: Stack) -> None:
    """Inside the grace period, exit code 0: nobody is killed, no connection to the database is torn."""
    rigged.upload(name="stop.png")
    rigged.get("/readyz")
    # Other tests have stopped the database under web before.
    before = len(rigged.logs("db"))
    rigged.compose("stop")
    for container in rigged.inspect(every=True):
        assert (container["Name"], container["State"]["ExitCode"]) == (container["Name"], 0)
    logs = rigged.logs("db")[before:]
    assert logs
    # Postgres's words, then MySQL's.
    assert "unexpected EOF" not in logs
    assert "terminating connection" not in logs
    assert "Aborted connection" not in logs


def test_slow_database_has_come_up(slow_start) -> None:
    stack, process, began = slow_start
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert time.monotonic() - began > 60
    assert output.rstrip().endswith(f"prod is up: {stack.url}")
    assert stack.upload(name="slow.png").status_code == 200
