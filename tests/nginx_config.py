"""nginx's configuration as a container renders it, without a container."""

import re
import shutil
from pathlib import Path

from repository import ROOT, run

# Where nginx.conf is rendered, and what replaces its parts in the uWSGI stack.
RENDERED = "/tmp/nginx"
BACKENDS = {"prod": ROOT / "nginx/backend.conf", "uwsgi": ROOT / "compose/nginx/backend.conf"}


def templates(stack: str) -> dict[str, str]:
    """Return the templates of one production stack by the names that they are rendered under."""
    dockerfile = (ROOT / "nginx/Dockerfile").read_text()
    copied = re.findall(r"^COPY (?:--chmod=644 )?(\S+) /etc/nginx/templates/(\S+)\.template$", dockerfile, re.M)
    found = {target: (ROOT / "nginx" / source).read_text() for source, target in copied}
    assert {"nginx.conf", "backend.conf"} <= set(found)
    return {**found, "backend.conf": BACKENDS[stack].read_text()}


def render(stack: str, folder: Path, **variables: str) -> Path:
    """Write the configuration of one production stack into a folder and return the path of its nginx.conf."""
    program = (ROOT / "nginx/10-environment.envsh").read_text().replace(RENDERED, str(folder))
    (folder / "environment.envsh").write_text(program)
    result = run(["sh", "-ec", f". '{folder}/environment.envsh'; env"], env=variables)
    assert result.returncode == 0, result.stderr
    values = dict(line.split("=", 1) for line in result.stdout.splitlines() if line.startswith("NGX_"))
    for name, text in templates(stack).items():
        text = re.sub(r"\$\{(NGX_\w+)\}", lambda match: values[match[1]], text)
        (folder / name).write_text(text.replace(f"{RENDERED}/", f"{folder}/"))
    shutil.copytree(ROOT / "nginx/errors", folder / "errors", dirs_exist_ok=True)
    return folder / "nginx.conf"


def value(text: str, directive: str) -> str:
    """Return the arguments of a directive that stands exactly once in this text."""
    found = re.findall(rf"^\s*{directive}\s+([^;]+);", text, re.M)
    assert len(found) == 1, f"{directive}: {found}"
    return found[0]
