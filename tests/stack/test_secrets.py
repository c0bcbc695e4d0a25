"""Generated secrets: in their files and nowhere else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import Stack, run

NAMES = {
    "dev": {"db_password"},
    "prod": {"secret_key", "db_password", "db_root_password"},
    "uwsgi": {"secret_key", "db_password", "db_root_password", "redis_password"},
}


def has_none(stack: Stack, text: str, where: str) -> None:
    """Assert that no secret of the stack is in the text, without printing one if it is."""
    assert text, f"{where} is empty: nothing was looked at"
    assert set(stack.secrets) == NAMES[stack.kind]
    for name, value in stack.secrets.items():
        assert len(value) >= 40
        found = value in text
        assert not found, f"{where} shows {name}"


@pytest.fixture
def clone(make_stack) -> Iterator[Stack]:
    """A tree of its own, without secrets."""
    return make_stack("prod", "clone", own_tree=True)


def secret_files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() for path in (folder / "secrets").rglob("*") if path.is_file()
    }


def test_inspect(stack: Stack) -> None:
    has_none(stack, json.dumps(stack.inspect(every=True)), "docker inspect")


def test_inspect_of_images_networks_and_volumes(stack: Stack) -> None:
    for kind in ("network", "volume"):
        label = f"label=com.docker.compose.project={stack.project}"
        names = run("docker", kind, "ls", "--quiet", "--filter", label).stdout.split()
        has_none(stack, run("docker", kind, "inspect", *names).stdout, f"docker {kind} inspect")
    images = {container["Image"] for container in stack.inspect(every=True)}
    has_none(stack, run("docker", "image", "inspect", *images).stdout, "docker image inspect")


def test_history(stack: Stack) -> None:
    for container in stack.inspect(every=True):
        history = run("docker", "history", "--no-trunc", "--format", "json", container["Image"]).stdout
        has_none(stack, history, f"docker history of {container['Name']}")


def test_config(stack: Stack) -> None:
    has_none(stack, stack.compose("config").stdout, "docker compose config")
    has_none(stack, stack.make(f"config{stack.suffix}").stdout, "make config")


def test_process_lists(stack: Stack) -> None:
    for container in stack.inspect():
        has_none(stack, run("docker", "top", container["Id"], "-eo", "pid,args").stdout, f"top {container['Name']}")
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        has_none(stack, stack.execute(service, "sh", "-c", "cat /proc/[0-9]*/cmdline").stdout, f"cmdline of {service}")


def test_environment_of_processes(stack: Stack) -> None:
    """What a crash report or a debug page would print. (The database images export what they read, to nobody else.)"""
    for service in {"prod": ["web", "nginx"], "uwsgi": ["web", "nginx", "redis"]}[stack.kind]:
        has_none(stack, stack.execute(service, "sh", "-c", "cat /proc/1/environ").stdout, f"environment of {service}")
    for container in stack.inspect():
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        has_none(stack, stack.execute(service, "env").stdout, f"environment of what runs in {service}")


def test_process_lists_while_starting(rigged: Stack) -> None:
    """The first start makes databases and users, with passwords that must not be arguments of anything."""
    assert any("manage.py init" in line for line in rigged.seen)
    has_none(rigged, "\n".join(rigged.seen), "a process of the first start")


def test_logs(stack: Stack) -> None:
    has_none(stack, stack.logs(), "docker compose logs")


def test_files_are_readable_to_containers_and_closed_to_other_users(clone: Stack) -> None:
    clone.make("secrets")
    assert (clone.folder / "secrets").stat().st_mode & 0o777 == 0o700
    for kind, names in NAMES.items():
        found = {path.name for path in (clone.folder / "secrets" / kind).iterdir()}
        assert found == names
        for name in names:
            path = clone.folder / "secrets" / kind / name
            assert path.stat().st_mode & 0o777 == 0o444
            assert re.fullmatch("[A-Za-z0-9]{40,}", path.read_text())
    key = (clone.folder / "secrets/prod/secret_key").read_text()
    assert len(key) == 64


def test_git_ignores_them(clone: Stack) -> None:
    clone.make("secrets")
    run("git", "init", "--quiet", str(clone.folder))
    listed = run("git", "-C", str(clone.folder), "ls-files", "--others", "--exclude-standard").stdout.split()
    assert "Makefile" in listed
    assert [name for name in listed if name.startswith("secrets")] == []


def test_two_clones_share_none(make_stack) -> None:
    clones = [make_stack("prod", f"clone{number}", own_tree=True) for number in (1, 2)]
    for clone in clones:
        clone.make("secrets")
    first, second = (set(secret_files(clone.folder).values()) for clone in clones)
    # All differ within one clone as well: no password opens two doors.
    assert len(first) == len(second) == sum(len(names) for names in NAMES.values())
    assert not first & second


def test_make_secrets_keeps_what_is_there(clone: Stack) -> None:
    assert "made secrets/prod/secret_key" in clone.make("secrets").stdout
    before = secret_files(clone.folder)
    assert "made" not in clone.make("secrets").stdout
    assert secret_files(clone.folder) == before
    # Only what is missing or empty is made.
    (clone.folder / "secrets/prod/secret_key").unlink()
    (clone.folder / "secrets/uwsgi/redis_password").chmod(0o600)
    (clone.folder / "secrets/uwsgi/redis_password").write_text("")
    clone.make("secrets")
    after = secret_files(clone.folder)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"secrets/prod/secret_key", "secrets/uwsgi/redis_password"}
    assert len(after["secrets/uwsgi/redis_password"]) == 40
