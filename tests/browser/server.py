"""A development server with a database and a media folder of its own, and the browser that looks at it."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "app"
START_SECONDS = 30

# Debian's browser: nothing is downloaded. --no-sandbox because tests run as root in containers.
CHROMIUM = {
    "executable_path": os.environ.get("CHROMIUM", "/usr/bin/chromium"),
    "args": [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ],
}


@contextmanager
def run_site(**variables: str) -> Iterator[str]:
    """Yield the address of a fresh site, started with these variables in its environment.

    Raises TimeoutError, with the server's log, where it does not answer within 30 s.
    """
    folder = Path(tempfile.mkdtemp(prefix="site-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SQL_", "SECRET_KEY"))}
    environment |= {
        "DEBUG": "1",
        "SQL_DATABASE": str(folder / "db.sqlite3"),
        "MEDIA_ROOT": str(folder / "media"),
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    manage = [sys.executable, "manage.py"]
    log = (folder / "log").open("w+")
    try:
        subprocess.run([*manage, "migrate", "--verbosity=0"], cwd=APP, env=environment, check=True)
        command = [*manage, "runserver", "--noreload", str(port)]
        server = subprocess.Popen(command, cwd=APP, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline or server.poll() is not None:
                        raise TimeoutError((folder / "log").read_text()) from None
                    time.sleep(0.1)
            yield f"http://localhost:{port}"
        finally:
            server.terminate()
            server.wait()
    finally:
        log.close()
        shutil.rmtree(folder, ignore_errors=True)
