"""Deploys, rollbacks and scaling on both production stacks while visitors come: nobody meets an error."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import LABEL, ROOT, Stack, run, wait_for
from lasting import heavy_load, lasting_stack, light_load, set_version, version

pytestmark = pytest.mark.long

OLD_SERVES = "the old version of {kind} serves on"


@pytest.fixture(params=["prod", "uwsgi"])
def site(request: pytest.FixtureRequest, make_stack) -> Iterator[Stack]:
    """Each production stack in turn; what a test changes in its tree's app is undone."""
    stack = lasting_stack(request.param, make_stack)
    app = stack.folder / "app"
    kept = app.with_name("app-kept")
    shutil.copytree(app, kept)
    yield stack
    shutil.rmtree(app)
    kept.rename(app)


def web(stack: Stack) -> list[str]:
    """Return the ids of all containers of web, running or not."""
    return sorted(container["Id"] for container in stack.inspect("web", every=True))


def image(stack: Stack, tag: str = "latest", service: str = "web") -> str:
    return run("docker", "image", "inspect", "--format", "{{.Id}}", f"{stack.project}-{service}:{tag}").stdout


def state(stack: Stack) -> tuple:
    """Return what a deploy that failed must leave as it was."""
    servers = stack.execute("nginx", "grep", "-v", "^#", "/tmp/nginx/servers.conf").stdout
    return web(stack), image(stack), image(stack, service="nginx"), servers, version(stack)


def assert_tidy(stack: Stack, before: tuple) -> None:
    """No container is left over, nginx is back on the name, no lock is left, and all is as it was."""
    assert state(stack) == before
    assert "server web:8000 resolve" in before[3]
    assert not list((stack.folder / ".run").iterdir())
    oneoffs = run("docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}={stack.project}", "--filter",
                  "label=com.docker.compose.oneoff=True").stdout  # fmt: skip
    assert oneoffs == ""


def deploy(stack: Stack, **options) -> subprocess.CompletedProcess[str]:
    return stack.make(f"deploy{stack.suffix}", **options)


@contextlib.contextmanager
def begun(stack: Stack, goal: str, line: str) -> Iterator[subprocess.Popen[str]]:
    """Run make in a process group of its own, and go on when it has printed the line."""
    process = subprocess.Popen(
        ["make", goal + stack.suffix],
        cwd=stack.folder,
        env=stack.environment,
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


def test_five_deploys_lose_no_request_of_fifty_thousand(site: Stack) -> None:
    times = []
    with heavy_load(site) as load:
        for number in range(1, 6):
            slow = load.slow_upload(50, 75) if number == 2 else None
            set_version(site, f"deploy {number}")
            result = deploy(site)
            assert version(site) == f"deploy {number}"
            assert load.failures == []
            if slow:
                # It was sent to nginx while the version that it will reach had not been started yet.
                assert slow.is_alive()
            built = re.search(r"(?s)deploy: build.*", result.stdout)
            assert built
            times.append(round(seconds_after_build(site), 1))
        wait_for(lambda: load.total >= 50_000, 240, "50,000 requests")
        wait_for(lambda: load.counts["slow upload"] or load.failures, 120, "the slow upload's answer")
    line = f"{site.kind}: {load.total} requests, {len(load.failures)} failed, {times} s from build to end"
    output = ROOT / "tests/output"
    output.mkdir(exist_ok=True)
    (output / f"deploys-{site.kind}.txt").write_text(f"{line}, slowest answer {load.slowest:.1f} s\n")
    assert load.failures == []
    assert load.counts["slow upload"] == 1
    assert load.counts["upload"] >= 50
    assert load.lost() == []


def seconds_after_build(stack: Stack) -> float:
    """Return how long ago the running image was built: at a deploy's end, how long the rest of it took."""
    created = run(
        "docker", "image", "inspect", "--format", "{{.Metadata.LastTagTime.Unix}}", f"{stack.project}-web:latest"
    )
    return time.time() - int(created.stdout)


@pytest.mark.parametrize("fault", ["exits", "hangs", "unready", "urls", "migration", "build", "disk"])
def test_a_version_that_fails_leaves_the_old_one_serving(site: Stack, fault: str) -> None:
    app = site.folder / "app"
    set_version(site, f"broken: {fault}")
    step, shown = {
        "exits": ("the new version does not get ready", "Error: broken: does not start"),
        "hangs": ("the new version does not get ready (no answer on port", ""),
        "unready": ("the new version does not get ready (/readyz answered 500)", "RuntimeError: broken: readyz"),
        "urls": ("the init service failed", "RuntimeError: broken: urls"),
        "migration": ("the init service failed", "RuntimeError: broken: migration"),
        "build": ("the build failed", "SyntaxError: "),
        "disk": ("the init service failed", "No space left on device"),
    }[fault]
    if fault == "exits":
        append(app / "hello_django/wsgi.py", 'raise RuntimeError("broken: does not start")')
    if fault == "hangs":
        append(app / "hello_django/wsgi.py", "import time\n\ntime.sleep(3600)")
    if fault == "unready":
        append(app / "hello_django/health.py", 'def missing():\n    raise RuntimeError("broken: readyz")')
    if fault == "urls":
        append(app / "hello_django/urls.py", 'raise RuntimeError("broken: urls")')
    if fault == "migration":
        migration(
            app,
            "broken",
            "migrations.RunPython(fail)",
            'def fail(apps, schema_editor):\n    raise RuntimeError("broken: migration")\n',
        )
    if fault == "build":
        append(app / "upload/apps_broken.py", "def (:")
    if fault == "disk":
        append(app / "upload/static/upload/upload.css", "/* another file, with another name */")
        site.execute("web", "sh", "-c", "cat /dev/zero > staticfiles/full", check=False)
    before = state(site)
    with light_load(site) as load:
        # Until it has said why: a machine with much to do needs seconds to load Django.
        result = deploy(site, check=False, DEPLOY_TIMEOUT="15" if fault in ("exits", "unready") else "6")
        assert_tidy(site, before)
    if fault == "disk":
        site.execute("web", "rm", "staticfiles/full")
    assert result.returncode
    assert step in result.stderr, result.stderr
    assert shown in result.stdout + result.stderr
    assert OLD_SERVES.format(kind=site.kind) in result.stderr
    assert ("nothing has changed" in result.stderr) == (fault == "build")
    assert load.failures == []
    assert load.total > 50
    assert load.lost() == []


def test_deploys_that_failed_do_not_cost_the_old_version_its_static_files(site: Stack) -> None:
    set_version(site, "the only one that works")
    deploy(site)
    # As three deploys that failed after init would leave them: newer than that of the version that serves.
    names = [f"staticfiles/staticfiles-{number:012x}.json" for number in range(3)]
    for name in names:
        site.execute("web", "sh", "-c", f"sleep 0.01; echo '{{\"paths\": {{}}}}' > {name}")
    append(site.folder / "app/hello_django/wsgi.py", 'raise RuntimeError("broken: does not start")')
    try:
        assert deploy(site, check=False, DEPLOY_TIMEOUT="6").returncode
        # Workers that start anew read the list of static files anew.
        run("docker", "restart", *web(site))
        wait_for(site.answers, 60, "the old version answers")
        page = site.get("/")
        assert page.status_code == 200
        for path in re.findall(r'"(/static/[^"]+)"', page.text):
            assert site.get(path).status_code == 200, path
    finally:
        site.execute("web", "rm", "-f", *names)


@pytest.mark.parametrize("goal", ["up", "build", "deploy", "rollback", "scale", "destroy"])
def test_another_copy_of_the_folder_asks_before_it_takes_over(site: Stack, goal: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(site.folder, other, ignore=shutil.ignore_patterns("app-kept", "backups"))
    before = state(site)
    result = run("make", f"{goal}{site.suffix}", "N=2", cwd=other, env=site.environment, check=False)
    if goal == "rollback" and "no previous version" in result.stderr:
        return
    assert result.returncode
    assert f"{site.project} was started in {site.folder}, and this is {other}." in result.stderr
    assert "nobody is there to ask" in result.stderr
    assert state(site) == before


def append(path: Path, text: str) -> None:
    """Add lines to a file of the stack's tree."""
    path.write_text((path.read_text() if path.exists() else "") + f"\n{text}\n")


def migration(app: Path, name: str, operation: str, before: str = "") -> None:
    """Write the next migration of the upload app into the stack's tree."""
    folder = app / "upload/migrations"
    last = sorted(path.stem for path in folder.glob("0*.py"))[-1]
    text = (
        "from django.db import migrations, models\n\n"
        f"{before}\n\nclass Migration(migrations.Migration):\n"
        f'    dependencies = [("upload", "{last}")]\n    operations = [{operation}]\n'
    )
    (folder / f"{int(last[:4]) + 1:04}_{name}.py").write_text(text)


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("deploy: build", signal.SIGINT),
        ("deploy: migrate", signal.SIGINT),
        ("deploy: start 1 new", signal.SIGINT),
        ("deploy: start 1 new", signal.SIGTERM),
    ],
)
def test_a_deploy_that_is_interrupted_changes_nothing(site: Stack, line: str, sent: signal.Signals) -> None:
    set_version(site, f"interrupted at {line}")
    before = state(site)
    with light_load(site) as load, begun(site, "deploy", line) as process:
        os.killpg(process.pid, sent)
        rest = process.stdout.read()
        assert process.wait(60)
        assert_tidy(site, before)
    assert OLD_SERVES.format(kind=site.kind) in rest
    assert load.failures == []
    assert load.lost() == []


def test_from_the_move_on_a_deploy_is_finished_whatever_interrupts_it(site: Stack) -> None:
    set_version(site, f"finished {time.time()}")
    before = state(site)
    with light_load(site) as load, begun(site, "deploy", "deploy: stop the old") as process:
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
        process.wait(60)
        after = state(site)
    assert len(after[0]) == 1
    assert after[0] != before[0]
    assert "server web:8000 resolve" in after[3]
    assert after[4].startswith("finished")
    assert load.failures == []
    assert load.lost() == []


def test_of_two_deploys_at_once_the_second_is_refused(site: Stack) -> None:
    set_version(site, f"two at once {time.time()}")
    with light_load(site) as load, begun(site, "deploy", "deploy: build") as process:
        for goal in ("deploy", "up"):
            result = site.make(f"{goal}{site.suffix}", check=False)
            assert result.returncode
            assert re.search(rf": deploy {site.kind} is under way \(process \d+\): wait for it", result.stderr)
        process.stdout.read()
        assert process.wait(120) == 0
    assert version(site).startswith("two at once")
    assert len(web(site)) == 1
    assert load.failures == []


@pytest.mark.parametrize("goal", ["deploy", "rollback", "up"])
def test_nothing_migrates_while_a_backup_dumps(site: Stack, goal: str, tmp_path: Path) -> None:
    if goal == "rollback":
        set_version(site, f"to go back from {time.time()}")
        deploy(site)
    before = state(site)
    # What holds the lock is known by its name.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/backup").write_text("read -r line\n")
    with subprocess.Popen(["sh", "bin/backup", site.kind], cwd=tmp_path, stdin=subprocess.PIPE) as dumping:
        lock = site.folder / f".run/{site.project}.dump"
        lock.symlink_to(str(dumping.pid))
        result = site.make(f"{goal}{site.suffix}", check=False)
        lock.unlink()
        dumping.stdin.close()
    assert f"backup {site.kind} is under way (process {dumping.pid}): wait for it" in result.stderr
    assert_tidy(site, before)


def test_a_container_that_somebody_has_stopped_is_not_taken_for_a_new_one(site: Stack) -> None:
    site.make(f"scale{site.suffix}", N="2")
    run("docker", "stop", sorted(site.inspect("web"), key=lambda found: found["Created"])[1]["Id"])
    set_version(site, f"beside a stopped one {time.time()}")
    deploy(site)
    assert version(site).startswith("beside a stopped one")
    assert len(web(site)) == 1


def test_a_deploy_that_is_killed_after_the_move_can_be_rolled_back(site: Stack) -> None:
    before = state(site)
    set_version(site, f"killed after the move {time.time()}")
    with begun(site, "deploy", "deploy: stop the old") as process:
        os.killpg(process.pid, signal.SIGKILL)
    site.make(f"rollback{site.suffix}")
    assert version(site) == before[4]
    assert image(site) == before[1]
    # Forward again: the version that the folder has.
    site.make(f"rollback{site.suffix}")
    assert len(web(site)) == 1
    assert not list((site.folder / ".run").iterdir())


@pytest.mark.parametrize("goal", ["up", "deploy"])
def test_what_a_killed_deploy_leaves_is_put_in_order_by_the_next_command(site: Stack, goal: str) -> None:
    kept = (site.folder / "app/hello_django/version.py").read_text()
    # What runs is what is in the folder, or `up` would have something to do.
    deploy(site)
    before = state(site)
    with light_load(site) as load:
        set_version(site, f"killed before {goal}")
        # A version that takes long to start, so that the kill comes in time.
        append(site.folder / "app/hello_django/wsgi.py", "import time\n\ntime.sleep(30)")
        with begun(site, "deploy", "deploy: start 1 new") as process:
            wait_for(lambda: len(web(site)) == 2, 30, "the new container")
            os.killpg(process.pid, signal.SIGKILL)
        assert version(site) == before[4]
        (site.folder / "app/hello_django/wsgi.py").write_text(
            (site.folder / "app-kept/hello_django/wsgi.py").read_text()
        )
        (site.folder / "app/hello_django/version.py").write_text(kept)
        result = site.make(f"{goal}{site.suffix}")
        if goal == "up":
            assert_tidy(site, before)
        else:
            assert len(web(site)) == 1
            assert "server web:8000 resolve" in state(site)[3]
    assert "the last deploy was killed: putting in order what it left" in result.stdout
    assert load.failures == []
    assert load.lost() == []


def test_rollback_scale_and_up_lose_no_request(site: Stack) -> None:
    threads = {"prod": "GUNICORN_THREADS", "uwsgi": "UWSGI_THREADS"}[site.kind]
    site.set(**{threads: "3"})
    set_version(site, "old")
    deploy(site)
    # nginx reads the same file.
    site.make(f"up{site.suffix}")
    with light_load(site, uploads=2) as load:
        set_version(site, "new")
        deploy(site)
        assert version(site) == "new"
        for expected in ("old", "new"):
            site.make(f"rollback{site.suffix}")
            assert version(site) == expected
            unchanged_by_up(site)
            assert version(site) == expected
        site.make(f"scale{site.suffix}", N="3")
        unchanged_by_up(site, 3)
        set_version(site, "three of them")
        deploy(site)
        assert version(site) == "three of them"
        unchanged_by_up(site, 3)
        site.make(f"scale{site.suffix}", N="1")
        unchanged_by_up(site, 1)
    assert load.failures == []
    assert load.lost() == []
    # Three threads in each of two workers at least, and both databases take 100.
    result = site.make(f"scale{site.suffix}", check=False, N="20")
    assert result.returncode
    workers = min(max(int(site.execute("web", "nproc").stdout), 2), 4)
    refused = rf"N=20 is more than \d+: each has up to {3 * workers} connections to the database"
    assert re.search(refused, result.stderr), result.stderr
    unchanged_by_up(site, 1)
    site.set(**{threads: "2"})
    site.make(f"up{site.suffix}")
    for wrong in ("", "0", "21", "x"):
        result = site.make(f"scale{site.suffix}", check=False, N=wrong)
        assert result.returncode
        assert f"N='{wrong}' is not a number from 1 to 20" in result.stderr


def test_another_secret_key_by_a_deploy(site: Stack) -> None:
    path = site.folder / f"secrets/{site.kind}/secret_key"
    before = path.read_text()
    # What runs is what is in the folder, or `up` would have something to do.
    deploy(site)
    path.unlink()
    with light_load(site, uploads=0) as load:
        result = site.make(f"up{site.suffix}")
        assert "up: what runs keeps the secrets that it has" in result.stdout
        assert site.execute("web", "cat", "/run/secrets/secret_key").stdout == before
        path.unlink()
        result = deploy(site)
        assert f"made secrets/{site.kind}/secret_key" in result.stdout
        assert path.read_text() != before
        assert site.execute("web", "cat", "/run/secrets/secret_key").stdout == path.read_text()
    assert load.failures == []


def unchanged_by_up(stack: Stack, count: int = 1) -> None:
    """Run `make up-*` and see that no container is replaced, no count changed."""
    before = sorted(stack.ids())
    assert len(web(stack)) == count
    result = stack.make(f"up{stack.suffix}")
    assert sorted(stack.ids()) == before, f"{version(stack)}\n{result.stdout[-6000:]}"


def test_rollback_says_when_there_is_nothing_to_go_back_to(site: Stack) -> None:
    previous = f"{site.project}-web:previous"
    run("docker", "tag", previous, f"{site.project}-web:kept")
    run("docker", "image", "rm", previous)
    result = site.make(f"rollback{site.suffix}", check=False)
    run("docker", "tag", f"{site.project}-web:kept", previous)
    assert result.returncode
    assert "there is no previous version" in result.stderr


def test_rollback_after_up_goes_back_to_what_ran_before_it(site: Stack) -> None:
    set_version(site, "deployed")
    deploy(site)
    set_version(site, "by up")
    site.make(f"up{site.suffix}")
    assert version(site) == "by up"
    site.make(f"rollback{site.suffix}")
    assert version(site) == "deployed"


def test_scaling_puts_nothing_into_service_that_was_only_built(site: Stack) -> None:
    set_version(site, "runs")
    deploy(site)
    set_version(site, "built")
    site.make(f"build{site.suffix}")
    result = site.make(f"scale{site.suffix}", N="2", check=False)
    assert result.returncode
    assert "scale: what was built last is not what runs" in result.stderr
    assert len(web(site)) == 1
    assert version(site) == "runs"


def test_a_container_that_ends_again_and_again_is_replaced_by_a_deploy(site: Stack) -> None:
    labels = site.container("web")["Config"]["Labels"] | {"com.docker.compose.container-number": "2"}
    given = [f"--label={name}={value}" for name, value in labels.items()]
    name = f"{site.project}-web-2"
    command = ["docker", "run", "--detach", "--restart", "always", "--name", name, *given, "--entrypoint", "false"]
    run(*command, f"{site.project}-web")

    def waits() -> bool:
        """Whether Docker waits before its next try; after seven that is 13 s, the time that a deploy needs to begin."""
        state = json.loads(run("docker", "inspect", name).stdout)[0]
        return state["State"]["Restarting"] and state["RestartCount"] >= 7

    wait_for(waits, 60, "Docker has tried it seven times")
    with light_load(site, uploads=0) as load:
        deploy(site)
    assert load.failures == []
    unchanged_by_up(site, 2)
    site.make(f"scale{site.suffix}", N="1")


def test_the_example_of_expand_and_contract_in_the_documentation(make_stack) -> None:
    site = lasting_stack("prod", make_stack)
    app = site.folder / "app"
    models = (app / "upload/models.py").read_text()
    document = (Path(__file__).parents[2] / "docs/production.md").read_text()
    # The example's operations, as they stand there.
    expand, forget, contract = re.findall(r"(?s)    operations = \[\n(.*?)\n    \]\n", document)
    field = "    note = models.CharField(max_length=200, null=True)\n"
    assert field.strip() in document
    marker = "    uploaded_at = "
    shutil.copytree(app, app.with_name("app-kept"))
    try:
        with light_load(site, uploads=2) as load:
            (app / "upload/models.py").write_text(models.replace(marker, field + marker))
            migration(app, "note", expand)
            steps(site, "expanded")
            (app / "upload/models.py").write_text(models)
            migration(app, "forget_note", forget)
            steps(site, "not used any more")
            migration(app, "drop_note", contract)
            steps(site, "contracted")
        assert load.failures == []
        assert load.lost() == []
        table = "from django.db import connection as c; print(c.introspection.get_table_description(c.cursor(), '{}'))"
        assert "'note'" not in site.python(table.format("upload_picture"))
    finally:
        # The database has had these migrations: they stay, as in real life.
        for path in (app / "upload/migrations").glob("0*.py"):
            shutil.copy(path, app.with_name("app-kept") / "upload/migrations" / path.name)
        shutil.rmtree(app)
        app.with_name("app-kept").rename(app)


def steps(stack: Stack, name: str) -> None:
    """Deploy; then see that the version before can live with the database as it is now."""
    set_version(stack, name)
    deploy(stack)
    assert version(stack) == name
    stack.make(f"rollback{stack.suffix}")
    assert stack.upload().status_code == 200
    stack.make(f"rollback{stack.suffix}")
    assert version(stack) == name
