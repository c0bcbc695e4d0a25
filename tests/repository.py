"""Where the repository is, what is in it, and how to run a program of it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Beside the Python that runs the tests: the linters that tests/requirements.txt installs.
TOOLS = Path(sys.executable).parent
GENERATED = {".git", ".venv", ".venv-test", "__pycache__", "secrets", "backups", "mediafiles", "staticfiles"}


def files(*patterns: str) -> list[Path]:
    """Return the repository's own files that match one of the patterns (all by default), sorted, relative to ROOT.

    What git ignores is left out; what is not committed yet is in.
    """
    if shutil.which("git") and (ROOT / ".git").exists():
        # safe.directory: in a container the checkout often belongs to another user.
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        found = {Path(name) for name in listed if name}
    else:
        found = {path.relative_to(ROOT) for path in ROOT.rglob("*")}
        found = {path for path in found if not GENERATED.intersection(path.parts)}
    return sorted(
        path for path in found if (ROOT / path).is_file() and (not patterns or any(map(path.match, patterns)))
    )


def shell_programs() -> list[Path]:
    """Return every sh program of the repository: by its suffix, or else by its first line."""
    programs = []
    for path in files():
        with (ROOT / path).open("rb") as file:
            first = file.readline(100)
        if path.suffix in (".sh", ".envsh") or (first.startswith(b"#!") and first.strip().endswith(b"sh")):
            programs.append(path)
    return programs


def tool(name: str) -> str:
    """Return the path of a linter."""
    return str(TOOLS / name)


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout: float = 120,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal and return what it printed; its exit code is the caller's business.

    env is added to a clean environment, in which no variable of the caller changes the result.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**clean_environment(), **(env or {})},
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A group of its own, so that nothing which it started outlives a time-out.
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(stdin, timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def clean_environment() -> dict[str, str]:
    """Return what programs need to find each other, the package index and a home: nothing that is a setting of ours."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "SSL_CERT_FILE")
    prefixes = ("PIP_", "UV_", "http_", "https_", "HTTP_", "HTTPS_", "no_", "NO_", "REQUESTS_")
    proxies = {"HTTP_PORT", "HTTPS_PORT"}
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or (name.startswith(prefixes) and name not in proxies)
    }
