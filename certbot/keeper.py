"""keeper.py [alive|status]: keep a certificate for DOMAIN from an ACME authority; certbot does the talking.

Without a word it runs for ever: ask, sleep, ask again. What came of it is in one line in the log and in STATUS.
`alive` is the health check: exit 1 if the loop has missed its own time. `status` prints that line, exit 1 on failure.
A SIGHUP asks again at once.
Needs certbot, and the volumes and variables that the compose files give it.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

CONFIG = Path("/etc/letsencrypt")
STATUS = CONFIG / "status.json"
# Failures wait longer each time: authorities lock out who asks too often (Let's Encrypt: five failures an hour).
FIRST_RETRY = 900


def setting(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def command(server: str) -> list[str]:
    """Return certbot's command line: it asks the authority only for a certificate that is missing, due or changed."""
    words = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--cert-name", "site", "--server", server]
    words += ["--webroot", "--webroot-path", "/srv/acme", "--keep-until-expiring", "--renew-with-new-domains"]
    words += ["--config-dir", str(CONFIG), "--work-dir", "/tmp/certbot", "--logs-dir", "/tmp/certbot"]  # noqa: S108
    email = setting("ACME_EMAIL")
    words += ["--email", email] if email else ["--register-unsafely-without-email"]
    renewal = CONFIG / "renewal/site.conf"
    # The certificate of another authority, a trial one for example, does not count.
    if renewal.exists() and f"server = {server}\n" not in renewal.read_text():
        words.append("--force-renewal")
    for name in setting("DOMAIN").split():
        words += ["--domain", name]
    return words


def reason(output: str) -> str:
    """Return the one line of certbot's output that says what went wrong."""
    details = re.findall(r"^\s*Detail: (.+)$", output, re.MULTILINE)
    if details:
        return "; ".join(dict.fromkeys(details))
    skipped = (
        "Saving debug log",
        "Ask for help",
        "Some challenges have failed",
        "See the logfile",
        "An unexpected error",
    )
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.strip().startswith(skipped)]
    return lines[-1] if lines else "certbot said nothing"


def ask() -> str:
    """Run certbot; return what went wrong, or nothing."""
    environment = dict(os.environ)
    authority = setting("ACME_CA_FILE")
    if authority:
        environment["REQUESTS_CA_BUNDLE"] = f"/etc/acme/{authority}"
    words = command(setting("ACME_SERVER", "https://acme-v02.api.letsencrypt.org/directory"))
    try:
        result = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return "the authority did not finish within 10 minutes"
    return reason(result.stdout + result.stderr) if result.returncode else ""


def valid_until() -> str:
    """Return the end date of the certificate, or nothing where there is none."""
    try:
        from cryptography import x509

        certificate = x509.load_pem_x509_certificate((CONFIG / "live/site/fullchain.pem").read_bytes())
    except (OSError, ValueError):
        return ""
    return f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


def wait_after(failures: int) -> float:
    """Return the seconds until the next look, a little more at random so that not all of the world asks at once."""
    regular = int(setting("ACME_CHECK_SECONDS", "43200"))
    if failures:
        return min(FIRST_RETRY * 2 ** (failures - 1), regular) * random.uniform(1, 1.2)  # noqa: S311
    return regular * random.uniform(0.9, 1.1)  # noqa: S311


def describe(status: dict[str, str]) -> str:
    """Return the line that says how things are."""
    until = (
        f"; the certificate is valid until {status['until']}" if status["until"] else "; there is no certificate yet"
    )
    if "error" not in status:
        return f"{status['names']}: the authority is being asked{until}"
    what = f"failed: {status['error']}" if status["error"] else "is well"
    return f"{status['names']} {what}{until}; next try {status['next'][:19].replace('T', ' ')} UTC"


def note(pause: float, **more: str) -> None:
    """Write down how things are and when that changes; say it unless there is nothing new."""
    then = datetime.now(UTC) + timedelta(seconds=pause)
    status = {"names": setting("DOMAIN"), "until": valid_until(), "next": then.isoformat()} | more
    # Whose words these are: a new container's settings may be others.
    status["by"] = socket.gethostname()
    STATUS.with_suffix(".new").write_text(json.dumps(status))
    STATUS.with_suffix(".new").replace(STATUS)
    if more:
        print(describe(status), flush=True)


def run() -> None:
    """Ask for ever."""
    wake = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: wake.set())
    # As process 1 of a container this program has no default for it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    failures = 0
    while True:
        wake.clear()
        note(0)
        error = ask()
        failures = failures + 1 if error else 0
        pause = wait_after(failures)
        note(pause, error=error)
        wake.wait(pause)


def main() -> None:
    if sys.argv[1:] == []:
        return run()
    try:
        status = json.loads(STATUS.read_text())
        if status["by"] != socket.gethostname():
            raise ValueError
    except (OSError, ValueError):
        sys.exit("certbot starts")
    if sys.argv[1:] == ["alive"]:
        # Ten minutes are the most that a try takes.
        overdue = datetime.now(UTC) - datetime.fromisoformat(status["next"])
        sys.exit("overdue" if overdue > timedelta(minutes=11) else None)
    print(describe(status))
    sys.exit(1 if status.get("error", "trying") else None)


if __name__ == "__main__":
    main()
