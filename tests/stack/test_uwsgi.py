"""What only the uWSGI stack has: MySQL, Redis, uWSGI's own faults. And the app's tests on each database server."""

import json
import re
import time
import uuid
from pathlib import Path

import pytest
import requests

from bench import Stack, run, wait_for

TITLE = "猫咪🐈和朋友们 — ünïcödé"


def mysql(stack: Stack, statement: str, user: str = "root", check: bool = True, database: str = "") -> str:
    """Run SQL inside the database's container; return its rows, or what it complains of."""
    secret = "db_root_password" if user == "root" else "db_password"
    script = f'MYSQL_PWD=$(cat /run/secrets/{secret}) exec mysql -h 127.0.0.1 -N -B -u "$0" -e "$1" $2'
    result = stack.execute("db", "sh", "-c", script, user, statement, database, check=check)
    return result.stdout + ("" if check else result.stderr)


def redis(stack: Stack, *command: str) -> str:
    """Run a Redis command inside its container."""
    script = 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) exec redis-cli "$@"'
    return stack.execute("redis", "sh", "-c", script, "sh", *command).stdout


def sign_in(stack: Stack) -> requests.Session:
    """Make an account and sign in with it."""
    user, password = f"user-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    stack.python(
        f"from django.contrib.auth.models import User; User.objects.create_superuser('{user}', '', '{password}')"
    )
    session = requests.Session()
    session.get(stack.url + "/admin/login/", timeout=30)
    form = {"username": user, "password": password, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    page = session.post(stack.url + "/admin/login/?next=/admin/", data=form, headers={"Origin": stack.url}, timeout=30)
    assert page.url == stack.url + "/admin/"
    return session


def signed_in(stack: Stack, session: requests.Session) -> bool:
    return session.get(stack.url + "/admin/", timeout=30).url == stack.url + "/admin/"


# --- MySQL ---


def test_mysql_is_set_as_my_cnf_says(uwsgi: Stack) -> None:
    names = ["@@character_set_server", "@@collation_server", "@@global.time_zone", "@@global.transaction_isolation"]
    names += ["@@log_bin", "@@secure_file_priv", "@@skip_name_resolve"]
    values = mysql(uwsgi, f"SELECT {', '.join(names)}").rstrip("\n").split("\t")
    assert values == ["utf8mb4", "utf8mb4_0900_ai_ci", "+00:00", "READ-COMMITTED", "0", "NULL", "1"]
    assert "STRICT_TRANS_TABLES" in mysql(uwsgi, "SELECT @@global.sql_mode")


def test_djangos_connections_are_set_as_they_should(uwsgi: Stack) -> None:
    found = uwsgi.python(
        "from django.db import connection; import json\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('SELECT @@transaction_isolation, @@sql_mode, @@time_zone, @@character_set_client,"
        " @@character_set_connection, @@character_set_results, TIMESTAMPDIFF(SECOND, NOW(), UTC_TIMESTAMP())')\n"
        "    print(json.dumps(cursor.fetchone()))"
    )
    isolation, mode, zone, *sets, shift = json.loads(found)
    assert isolation == "READ-COMMITTED"
    assert "STRICT_TRANS_TABLES" in mode
    assert zone == "+00:00"
    assert sets == ["utf8mb4"] * 3
    assert abs(shift) <= 1


def test_every_column_holds_every_character(uwsgi: Stack) -> None:
    columns = mysql(
        uwsgi,
        "SELECT DISTINCT character_set_name FROM information_schema.columns "
        "WHERE table_schema = 'hello_django_uwsgi' AND character_set_name IS NOT NULL",
    )
    assert columns.split() == ["utf8mb4"]


def test_titles_and_times_round_trip(stack: Stack) -> None:
    name = f"标题-{uuid.uuid4().hex[:8]}-🐈.png"
    assert stack.upload(name=name).status_code == 200
    found = stack.python(
        "from upload.models import Picture; from django.utils import timezone; import json\n"
        f"Picture.objects.filter(name={name!r}).update(title={TITLE!r})\n"
        f"picture = Picture.objects.get(title={TITLE!r}, name={name!r})\n"
        "age = timezone.now() - picture.uploaded_at\n"
        "print(json.dumps([picture.title, picture.name, age.total_seconds(), str(picture.uploaded_at.tzinfo)]))"
    )
    title, kept, age, zone = json.loads(found)
    assert (title, kept, zone) == (TITLE, name, "UTC")
    assert -5 < age < 300
    if stack.kind == "uwsgi":
        # In the table itself: four bytes for the cat, not a question mark.
        where = f"WHERE title = '{TITLE}' LIMIT 1"
        stored = mysql(stack, f"SET NAMES utf8mb4; SELECT HEX(title) FROM hello_django_uwsgi.upload_picture {where}")  # noqa: S608
        assert bytes.fromhex(stored.strip()).decode() == TITLE


def test_too_long_a_value_is_an_error(uwsgi: Stack) -> None:
    """Without strict mode it would be cut off, and nobody told."""
    result = uwsgi.python(
        "from django.contrib.auth.models import Group; from django.db.utils import DataError\n"
        "try: Group.objects.create(name='x' * 151)\n"
        "except DataError as error: print('refused', error.args[0])"
    )
    assert result.strip() == "refused 1406"


def test_mysql_users(uwsgi: Stack) -> None:
    users = [line.split("\t") for line in mysql(uwsgi, "SELECT user, host, plugin FROM mysql.user").splitlines()]
    people = {user for user, _, _ in users if not user.startswith("mysql.")}
    assert people == {"root", "hello_django"}
    assert {plugin for user, _, plugin in users} == {"caching_sha2_password"}


DENIED = {
    "prod": [
        "CREATE DATABASE planted",
        "CREATE ROLE planted",
        "SELECT * FROM pg_authid",
        "SELECT pg_read_file('/etc/passwd')",
        "ALTER SYSTEM SET max_connections = 1",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
    "uwsgi": [
        "CREATE DATABASE planted",
        "CREATE USER planted IDENTIFIED BY 'x'",
        "SELECT * FROM mysql.user",
        "DROP DATABASE mysql",
        "SET GLOBAL max_connections = 1",
        "SELECT 1 INTO OUTFILE '/tmp/planted'",
    ],
}


def test_apps_user_has_its_own_database_only(stack: Stack) -> None:
    denied = DENIED[stack.kind]
    code = (
        "from django.db import connection, DatabaseError\n"
        f"for statement in {denied!r}:\n"
        "    try:\n"
        "        with connection.cursor() as cursor: cursor.execute(statement)\n"
        "        print('ALLOWED', statement)\n"
        "    except DatabaseError as error: print('denied', str(error).split(chr(10))[0])"
    )
    lines = stack.python(code).splitlines()
    assert len(lines) == len(denied)
    for line in lines:
        assert line.startswith("denied"), line
        assert re.search("denied|permission|must be|not have", line[7:]), line
    if stack.kind == "uwsgi":
        grants = mysql(stack, "SHOW GRANTS", user="hello_django").splitlines()
        assert len(grants) == 2
        assert grants[0].startswith("GRANT USAGE ON *.* TO")
        assert grants[1].startswith("GRANT ALL PRIVILEGES ON `hello\\\\_django\\\\_uwsgi`.* TO") or grants[
            1
        ].startswith("GRANT ALL PRIVILEGES ON `hello_django_uwsgi`.* TO")


def test_mysql_killed_while_initialising(make_stack) -> None:
    """Half a database on the volume: the next start must not take it for a whole one."""
    stack = make_stack("uwsgi", "killed", own_tree=True)
    stack.make("secrets", "build-uwsgi")
    stack.compose("up", "--detach", "--no-deps", "db")
    volume = ["docker", "run", "--rm", "--volume", f"{stack.project}_db_vol:/data:ro", "--network", "none"]
    image = stack.container("db")["Config"]["Image"]
    # The data dictionary is there, the users are not.
    wait_for(lambda: stack.execute("db", "test", "-s", "/var/lib/mysql/mysql.ibd", check=False).returncode == 0, 60)
    assert stack.container("db")["State"]["Health"]["Status"] == "starting"
    stack.compose("kill", "db")
    listed = run(*volume, "--entrypoint", "ls", image, "-A", "/data").stdout
    assert "mysql.ibd" in listed
    result = stack.make("up-uwsgi", check=False, UP_TIMEOUT="150")
    assert result.returncode == 0, result.stderr[-3000:]
    assert stack.upload(name="killed.png").status_code == 200
    # And with a wrong password for the volume that now exists: refused once, by name.
    path = stack.folder / "secrets/uwsgi/db_password"
    path.chmod(0o600)
    path.write_text("x" * 40)
    path.chmod(0o444)
    refused = stack.make("up-uwsgi", check=False, UP_TIMEOUT="60")
    assert refused.returncode != 0
    assert re.search(r"service '(init|db)' of uwsgi", refused.stderr)
    assert "Access denied" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "x" * 40 not in refused.stderr


# --- Redis ---


def test_redis_needs_its_password(uwsgi: Stack) -> None:
    assert "NOAUTH" in uwsgi.execute("redis", "redis-cli", "ping").stdout
    assert "WRONGPASS" in uwsgi.execute("redis", "redis-cli", "-a", "wrong", "ping", check=False).stderr
    assert redis(uwsgi, "ping").strip() == "PONG"


def test_redis_is_set_as_its_file_says(uwsgi: Stack) -> None:
    values = redis(uwsgi, "config", "get", "maxmemory*", "appendonly").split()
    settings = dict(zip(values[::2], values[1::2], strict=True))
    assert int(settings["maxmemory"]) == 96 << 20
    assert settings["maxmemory-policy"] == "allkeys-lfu"
    assert settings["appendonly"] == "no"


@pytest.mark.parametrize("secret", [None, ""], ids=["missing", "empty"])
def test_redis_without_its_password_says_so_and_ends(uwsgi: Stack, tmp_path: Path, secret: str | None) -> None:
    """Never a Redis that anybody may use."""
    mounts = ["--volume", f"{uwsgi.folder}/compose/redis:/etc/redis:ro"]
    if secret is not None:
        (tmp_path / "redis_password").write_text(secret)
        mounts += ["--volume", f"{tmp_path}/redis_password:/run/secrets/redis_password:ro"]
    image = uwsgi.container("redis")["Config"]["Image"]
    command = ["--rm", "--user", "redis", "--network", "none", *mounts, image, "sh", "/etc/redis/start.sh"]
    result = run("docker", "run", *command, check=False, timeout=60)
    assert result.returncode == 1
    output = (result.stdout + result.stderr).strip()
    assert len(output.splitlines()) == 1, output
    assert "/run/secrets/redis_password is missing or empty" in output
    assert "make secrets" in output


def test_pages_are_cached_in_redis(rigged_uwsgi: Stack) -> None:
    rigged_uwsgi.upload(name="cached.png")
    redis(rigged_uwsgi, "flushall")
    assert redis(rigged_uwsgi, "dbsize").strip() == "0"
    first = rigged_uwsgi.get("/").text
    assert int(redis(rigged_uwsgi, "dbsize")) > 0
    # The same for the next visitor, but for the token of his form.
    second = rigged_uwsgi.get("/").text
    token = r'name="csrfmiddlewaretoken" value="\w+"'
    assert re.sub(token, "", first) == re.sub(token, "", second)
    assert int(re.search(r"keyspace_hits:(\d+)", redis(rigged_uwsgi, "info", "stats"))[1]) > 0


def test_list_is_right_at_once_after_an_upload(stack: Stack) -> None:
    """In every worker, although it is cached."""
    for _ in range(5):
        name = f"{uuid.uuid4().hex}.png"
        for _ in range(4):
            assert name not in stack.get("/").text
        stack.upload(name=name)
        assert all(name in stack.get("/").text for _ in range(6))


def test_sessions_outlive_redis(rigged_uwsgi: Stack) -> None:
    session = sign_in(rigged_uwsgi)
    rigged_uwsgi.compose("restart", "redis")
    wait_for(rigged_uwsgi.answers, 60, "ready again")
    assert signed_in(rigged_uwsgi, session)
    # Even if all that it had is lost.
    redis(rigged_uwsgi, "flushall")
    assert signed_in(rigged_uwsgi, session)
    assert not signed_in(rigged_uwsgi, requests.Session())


def test_redis_keeps_its_cache_across_a_restart(rigged_uwsgi: Stack) -> None:
    key = uuid.uuid4().hex
    redis(rigged_uwsgi, "set", key, "warm")
    rigged_uwsgi.compose("restart", "redis")
    wait_for(rigged_uwsgi.answers, 60, "ready again")
    assert redis(rigged_uwsgi, "get", key).strip() == "warm"


def test_redis_stopped(rigged_uwsgi: Stack) -> None:
    stack = rigged_uwsgi
    session = sign_in(stack)
    began = {service: stack.container(service)["State"]["StartedAt"] for service in ("web", "db", "nginx")}
    before = stack.logs("web").count("Redis is away")
    stack.compose("stop", "redis")
    for _ in range(40):
        assert stack.get("/").status_code == 200
    name = f"{uuid.uuid4().hex}.png"
    assert stack.upload(name=name).status_code == 200
    assert name in stack.get("/").text
    assert signed_in(stack, session)
    not_ready = stack.get("/readyz")
    assert (not_ready.status_code, not_ready.text) == (503, "missing: cache\n")
    # Once in each of the two to four workers, not once a request.
    assert 1 <= stack.logs("web").count("Redis is away") - before <= 4
    assert stack.secret("redis_password") not in stack.logs("web")
    stack.compose("start", "redis")
    wait_for(stack.answers, 60, "ready again")
    redis(stack, "flushall")
    wait_for(lambda: stack.get("/").ok and int(redis(stack, "dbsize")) > 0, 30, "Redis is used again")
    wait_for(lambda: "Redis is back" in stack.logs("web"), what="the log says so")
    assert {service: stack.container(service)["State"]["StartedAt"] for service in began} == began


def test_redis_that_hangs(rigged_uwsgi: Stack) -> None:
    """It takes connections and answers nothing: each worker finds out once, not each request."""
    container = rigged_uwsgi.container("redis")["Id"]
    rigged_uwsgi.get("/")
    run("docker", "pause", container)
    try:
        began = time.monotonic()
        for _ in range(20):
            assert rigged_uwsgi.get("/", timeout=20).status_code == 200
        assert time.monotonic() - began < 40
        assert rigged_uwsgi.get("/readyz", timeout=20).text == "missing: cache\n"
    finally:
        run("docker", "unpause", container)
    wait_for(rigged_uwsgi.answers, 60, "ready again")


# --- uWSGI ---


def test_worker_past_its_memory_limit_is_replaced_between_requests(rigged_uwsgi: Stack) -> None:
    stack = rigged_uwsgi
    began = stack.container("web")["State"]["StartedAt"]
    answer = stack.get("/pages/grow/260/")
    assert answer.status_code == 200
    fat = answer.json()["process"]

    def gone() -> bool:
        found = stack.get("/pages/who/")
        assert found.status_code == 200
        return stack.execute("web", "test", "-d", f"/proc/{fat}", check=False).returncode != 0

    wait_for(gone, 60, "the fat worker has left")
    assert stack.get("/pages/who/").json()["process"] != fat
    state = stack.container("web")["State"]
    assert (state["StartedAt"], state["OOMKilled"]) == (began, False)


def test_the_queue_is_as_long_as_it_is_set(uwsgi: Stack) -> None:
    """uWSGI reads what it cannot use as 0, and a burst is refused then."""
    (length,) = re.findall(r"(?m)^listen = (\d+)$", (uwsgi.folder / "app/uwsgi.ini").read_text())
    assert f"listen backlog is limited to {length} connections" in uwsgi.logs("web")


def test_uwsgi_logs_no_request_and_writes_no_file(uwsgi: Stack) -> None:
    mark = uuid.uuid4().hex
    uwsgi.get(f"/?{mark}")
    uwsgi.get(f"/missing-{mark}/")
    wait_for(lambda: f"/missing-{mark}/" in uwsgi.logs("web"), what="Django's warning")
    # Just Django's own line on what was missing.
    assert uwsgi.logs("web").count(mark) == 1
    files = uwsgi.execute("web", "find", "/tmp", "-type", "f", "-size", "+0").stdout
    assert files == ""


# --- The app's own tests, on the servers that it runs with ---


def test_apps_own_tests(stack: Stack) -> None:
    """As the database's own administrator, because tests make a database of their own."""
    tests = f"{stack.folder}/app/upload/tests:/home/app/web/upload/tests:ro"
    secret = f"{stack.folder}/secrets/{stack.kind}/db_root_password:/run/root_password:ro"
    user = {"prod": "postgres", "uwsgi": "root"}[stack.kind]
    environment = ["--env", f"SQL_USER={user}", "--env", "SQL_PASSWORD_FILE=/run/root_password", "--env", "REDIS_URL="]
    command = ["run", "--rm", "--no-deps", "-T", "--volume", tests, "--volume", secret, *environment, "web"]
    result = stack.compose(*command, "python", "manage.py", "test", "upload", "--noinput", check=False)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-5000:]
    assert int(re.search(r"Ran (\d+) tests?", output)[1]) >= 20
