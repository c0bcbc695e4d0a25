"""Every file through the linter for its kind. A rule that is switched off has its reason beside it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nginx_config
from repository import ROOT, files, run, shell_programs, tool

HADOLINT_OFF = {
    "DL3008": "a pinned Debian package can't be installed any more once Debian has corrected it",
    "DL3066": "the user app is made in the same image, so its name always resolves",
    "DL4006": "dash has no pipefail; the build checks what such a pipe makes",
}
YAMLLINT = """
extends: default
rules:
  # Health checks are one command, which a line break would cut.
  line-length: {max: 140}
  # One document a file; nothing here starts one with ---.
  document-start: disable
  # `on:` of a workflow is a key, not a boolean.
  truthy: {check-keys: false}
  # {condition: service_healthy} in one line, and one space before a version's comment.
  braces: {max-spaces-inside: 0}
  comments: {min-spaces-from-content: 1}
"""
GIXY_OFF = {
    "hsts_header": "HSTS_SECONDS starts small, because nobody can take a year back",
    "low_keepalive_requests": "means clients' connections; ours is of those to Gunicorn, which nginx itself closes",
}
YAML = ("*.yml", "*.yaml")


def passes(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a linter; fail with what it says."""
    result = run(command, cwd=cwd)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}"
    return result.stdout


def test_ruff() -> None:
    passes(tool("ruff"), "check", "--no-cache", *files("*.py"))


def test_ruff_format() -> None:
    passes(tool("ruff"), "format", "--no-cache", "--check", *files("*.py"))


def test_hadolint() -> None:
    dockerfiles = files("Dockerfile*")
    assert {Path("app/Dockerfile.prod"), Path("nginx/Dockerfile")} < set(dockerfiles)
    passes(tool("hadolint"), *(f"--ignore={rule}" for rule in HADOLINT_OFF), *dockerfiles)


def test_every_rule_that_is_off_is_needed() -> None:
    found = run([tool("hadolint"), "--format", "json", *files("Dockerfile*")]).stdout
    assert set(HADOLINT_OFF) <= {problem["code"] for problem in json.loads(found)}


def test_shellcheck() -> None:
    programs = shell_programs()
    expected = {"bin/test", ".ci/run", "app/entrypoint.prod.sh", "nginx/10-environment.envsh", "compose/redis/start.sh"}
    assert expected <= {str(path) for path in programs}
    # A part that others source has no first line that names its shell.
    parts = [path for path in programs if not (ROOT / path).read_text().startswith("#!")]
    passes(tool("shellcheck"), "--external-sources", *(path for path in programs if path not in parts))
    if parts:
        passes(tool("shellcheck"), "--external-sources", "--shell=sh", *parts)


@pytest.mark.parametrize("path", shell_programs(), ids=str)
def test_shell_program_opens_as_agreed(path: Path) -> None:
    """POSIX sh that stops at the first error, and says first what it does."""
    text = (ROOT / path).read_text()
    shebang, comment = [*text.splitlines(), ""][:2] if text.startswith("#!") else ("", text.splitlines()[0])
    assert comment.startswith("# ")
    if path.parts[:2] == ("tests", "images"):
        # Stand-ins keep the official images' contract, and those run what is mounted into them with bash.
        assert shebang in ("#!/bin/sh", "#!/bin/bash")
    elif path.parts[:2] == ("bin", "lib"):
        assert not shebang, "a part that others source is no program"
    else:
        assert shebang == "#!/bin/sh"
        # Where it is sourced, by nginx's image, the options are those of the image.
        assert path.suffix == ".envsh" or "\nset -eu\n" in text


@pytest.mark.parametrize("tls", ["off", "acme"])
@pytest.mark.parametrize("stack", nginx_config.BACKENDS)
def test_gixy(stack: str, tls: str, tmp_path: Path) -> None:
    variables = {"TRUSTED_PROXIES": "10.0.0.0/8", "UPLOAD_RATE": "5/s", "TLS": tls, "HTTP3": "1"}
    config = nginx_config.render(stack, tmp_path, **variables)
    assert "${NGX_U" not in config.read_text(), "every placeholder is filled in"
    gixy = [tool("gixy")]
    passes(*gixy, "--skips", ",".join(GIXY_OFF), "-f", "text", config)
    if stack == "prod":
        # It reads the backend too, or it would not find what is planted there.
        with (tmp_path / "backend.conf").open("a") as backend:
            backend.write("proxy_set_header Host $http_host;\n")
        assert "host_spoofing" in run([*gixy, "-f", "text", config]).stdout


def test_yamllint() -> None:
    passes(sys.executable, "-m", "yamllint", "--strict", "-d", YAMLLINT, *files(*YAML))


@pytest.mark.parametrize("path", files("docker-compose*.yml"), ids=str)
def test_compose_accepts_the_file(path: Path, docker_compose: list[str]) -> None:
    """As the tutorials call it, without --env-file, and as Make does, with it."""
    stack = {"docker-compose.yml": "dev"}.get(str(path)) or path.suffixes[0].removeprefix(".")
    passes(*docker_compose, "-f", path, "config", "--quiet")
    passes(*docker_compose, "--env-file", f".env.{stack}", "-f", path, "config", "--quiet")


def test_compose_schema() -> None:
    passes(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *files("docker-compose*.yml"))


def test_workflow_schema() -> None:
    workflows = files(".github/workflows/*.yml")
    assert workflows
    passes(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *workflows)
    passes(tool("check-jsonschema"), "--builtin-schema", "custom.github-workflows-require-timeout", *workflows)


def test_zizmor() -> None:
    passes(tool("zizmor"), "--offline", "--pedantic", ".github/workflows")


def test_djlint() -> None:
    templates = files("app/*/templates/*.html", "app/*/templates/*/*.html", "nginx/errors/*.html")
    assert templates
    passes(tool("djlint"), "--lint", *templates)


def test_error_pages_for_programs_are_json() -> None:
    pages = files("nginx/errors/*.json")
    assert {page.stem for page in pages} == {page.stem for page in files("nginx/errors/*.html")}
    for page in pages:
        # nginx fills these in, as numbers.
        text = (ROOT / page).read_text().replace("MAX_UPLOAD_MB", "25").replace("RETRY_AFTER", "5")
        assert isinstance(json.loads(text), dict)


def test_a_linter_that_finds_something_fails(tmp_path: Path) -> None:
    """None of them is called in a way that is always content."""
    (tmp_path / "x.py").write_text("import os\n")
    (tmp_path / "x.sh").write_text("#!/bin/sh\necho $1\n")
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp\n")
    (tmp_path / "x.yml").write_text("a:   1\na: 2\n")
    (tmp_path / "x.html").write_text("<img src='x.png'><button>a</button>\n")
    (tmp_path / "nginx.conf").write_text("http { server { location ~ /a(.*) { return 302 http://x$1; } } }\n")
    for command in (
        [tool("ruff"), "check", "--no-cache", "x.py"],
        [tool("shellcheck"), "x.sh"],
        [tool("hadolint"), *(f"--ignore={rule}" for rule in HADOLINT_OFF), "Dockerfile"],
        [sys.executable, "-m", "yamllint", "--strict", "-d", YAMLLINT, "x.yml"],
        [tool("djlint"), "--lint", "x.html"],
        [tool("gixy"), "--skips", ",".join(GIXY_OFF), "nginx.conf"],
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "x.yml"],
    ):
        result: subprocess.CompletedProcess[str] = run(command, cwd=tmp_path)
        assert result.returncode not in (0, 127), f"{command[0]} found nothing"
