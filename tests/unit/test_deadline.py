"""A worker with a request that hangs ends itself, and says which; others come meanwhile and change nothing."""

import signal
import subprocess
import sys
import textwrap

from repository import ROOT, clean_environment

PROGRAM = textwrap.dedent("""
    import logging, threading, time
    from hello_django import deadline

    logging.basicConfig(format="%(message)s")

    def django(environ, start_response):
        if environ["PATH_INFO"] == "/hangs/":
            time.sleep(60)
        return [b"ok"]

    deadline.django = django

    def ask(path):
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "REQUEST_URI": f"{path}?x=1", "HTTP_X_REQUEST_ID": "f00"}
        return deadline.application(environ, lambda *_: None)

    threading.Thread(target=ask, args=[PATH], daemon=True).start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert ask("/quick/") == [b"ok"]
        time.sleep(0.01)
    print("lived on")
""")


def start(path: str, seconds: int) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.replace("PATH]", f"{path!r}]").replace("SECONDS", str(seconds))
    environment = clean_environment() | {"HARAKIRI": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT / "app", env=environment, capture_output=True, text=True, timeout=60)


def test_a_request_that_hangs_ends_the_worker() -> None:
    result = start("/hangs/", 30)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert "lived on" not in result.stdout
    assert "HARAKIRI: no answer after 1 s to GET /hangs/?x=1" in result.stderr
    # And where it hangs.
    assert "in django" in result.stderr
    assert "/quick/" not in result.stderr


def test_what_is_loaded_is_kept_from_the_garbage_collector() -> None:
    program = "import gc; from hello_django import deadline; print(gc.get_freeze_count(), len(gc.get_objects()))"
    environment = clean_environment() | {"HARAKIRI": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(
        command, cwd=ROOT / "app", env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    frozen, left = map(int, result.stdout.split())
    assert frozen > 10_000 > left


def test_without_the_entrypoint_one_line_says_so() -> None:
    command = [sys.executable, "-c", "import hello_django.deadline"]
    environment = clean_environment() | {"PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, cwd=ROOT / "app", env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode
    assert "Traceback" not in result.stderr
    assert "HARAKIRI is missing: entrypoint.prod.sh sets it" in result.stderr


def test_quick_requests_end_nothing() -> None:
    result = start("/quick/", 4)
    assert (result.returncode, result.stdout) == (0, "lived on\n"), result.stderr
