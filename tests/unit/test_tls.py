"""TLS in the settings, in nginx's environment, and in the program that keeps the certificate."""

import importlib.util
import json
import re
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from nginx_config import render
from repository import ROOT, run

APP = ROOT / "app"
KEY = "k3y-of-the-tests-" + "0123456789abcdefghijklmnopqrstuvwxyz"
MODES = ("off", "local", "files", "acme")


# --- Django ---


def check(tmp_path: Path, *arguments: str, **variables: str):
    """Run `manage.py check` as a production stack would, without its database."""
    (tmp_path / ".incoming").mkdir(exist_ok=True)
    production = {"DEBUG": "0", "SECRET_KEY": KEY, "MEDIA_ROOT": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    return run([sys.executable, "manage.py", "check", *arguments], env={**production, **variables}, cwd=APP)


@pytest.mark.parametrize("mode", MODES[1:])
def test_with_tls_django_warns_of_nothing(tmp_path: Path, mode: str) -> None:
    result = check(tmp_path, "--deploy", "--fail-level", "WARNING", TLS=mode)
    assert (result.returncode, result.stderr) == (0, "")
    # "preload" alone, which is not for a template to ask.
    assert "no issues (1 silenced)" in result.stdout


def test_hsts_can_be_off_but_not_unnoticed(tmp_path: Path) -> None:
    result = check(tmp_path, "--deploy", "--fail-level", "WARNING", TLS="local", HSTS_SECONDS="0")
    assert result.returncode == 1
    assert "security.W004" in result.stderr


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"TLS": "on"}, "TLS='on' is unknown; use one of off, local, files, acme"),
        ({"TLS": "LOCAL"}, "TLS='LOCAL'"),
        *(({"HSTS_SECONDS": value}, f"HSTS_SECONDS={value!r}") for value in ("-1", "1h", "63072001")),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, variables: dict[str, str], named: str) -> None:
    result = check(tmp_path, **variables)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert named in result.stderr


@pytest.mark.parametrize("mode", MODES)
def test_cookies_and_the_proxys_word(tmp_path: Path, mode: str) -> None:
    names = ["SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "LANGUAGE_COOKIE_SECURE", "SECURE_SSL_REDIRECT"]
    code = f"""
import json
from django.conf import settings
print(json.dumps([settings.SECURE_PROXY_SSL_HEADER, *(getattr(settings, name) for name in {names})]))
"""
    variables = {"DJANGO_SETTINGS_MODULE": "hello_django.settings", "DEBUG": "0", "SECRET_KEY": KEY, "TLS": mode}
    result = run([sys.executable, "-c", code], env=variables, cwd=APP)
    on = mode != "off"
    # Without nginx in front, as in `make run`, anybody could send the header: it counts with TLS alone.
    assert json.loads(result.stdout) == [["HTTP_X_FORWARDED_PROTO", "https"] if on else None, *[on] * len(names)]


# --- nginx ---


@pytest.mark.parametrize("stack", ["prod", "uwsgi"])
@pytest.mark.parametrize("mode", MODES)
def test_nginx_listens_as_tls_says(tmp_path: Path, stack: str, mode: str) -> None:
    folder = tmp_path / "nginx"
    folder.mkdir()
    text = render(stack, folder, TLS=mode, HTTPS_PORT="1443").read_text()
    included = set(re.findall(rf"include {folder}/([\w.-]+);", text))
    if mode == "off":
        assert "listen-http.conf" in included
        assert not included & {"redirect.conf", "listen-https.conf"}
    else:
        assert {"redirect.conf", "listen-https.conf"} <= included
        assert "return 308 https://$host:1443$request_uri;" in (folder / "redirect.conf").read_text()
        assert "quic" not in (folder / "listen-https.conf").read_text()


def test_the_usual_port_is_not_written(tmp_path: Path) -> None:
    render("prod", tmp_path, TLS="acme", HTTPS_PORT="443", HTTP3="1")
    assert "return 308 https://$host$request_uri;" in (tmp_path / "redirect.conf").read_text()
    assert f"include {tmp_path}/http3.conf;" in (tmp_path / "listen-https.conf").read_text()
    assert "'h3=\":443\"; ma=300'" in (tmp_path / "http3.conf").read_text()


@pytest.mark.parametrize(
    ("hosts", "ours", "foreign"),
    [
        ("localhost 127.0.0.1 [::1]", ["localhost", "127.0.0.1", "[::1]"], ["127x0.0.1", "localhost.example", "evil"]),
        ("  .a.example   b.example ", ["a.example", "x.y.a.example", "b.example"], ["xa.example", "x.b.example", ""]),
        ("*", ["anything", "a.b"], []),
    ],
)
def test_only_names_of_the_site_are_redirected(tmp_path: Path, hosts: str, ours: list[str], foreign: list[str]) -> None:
    render("prod", tmp_path, TLS="local", DJANGO_ALLOWED_HOSTS=hosts)
    pattern = re.search(r'"~\*(\^.*\$)" 1;', (tmp_path / "redirect.conf").read_text())[1]
    assert [name for name in ours if not re.search(pattern, name)] == []
    assert [name for name in foreign if re.search(pattern, name)] == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("TLS", ["on", "1", "Local", "off; listen 1"]),
        ("HTTPS_PORT", ["0", "65536", "https", "443;"]),
        ("HSTS_SECONDS", ["-1", "1h", "007", "999999999"]),
        ("HTTP3", ["yes", "2"]),
        ("DJANGO_ALLOWED_HOSTS", ["a.example,b.example", "https://a.example", "a;b", "a(b", "a|b", "$(id)", '"']),
        ("DJANGO_ALLOWED_HOSTS", ["*.example.com", "a.example *.b.example", "a*"]),
    ],
)
def test_a_wrong_value_for_nginx_is_one_line(tmp_path: Path, name: str, values: list[str]) -> None:
    program = (ROOT / "nginx/10-environment.envsh").read_text().replace("/tmp/nginx", str(tmp_path))
    (tmp_path / "environment.envsh").write_text(program)
    for value in values:
        result = run(["sh", "-ec", f". '{tmp_path}/environment.envsh'"], env={name: value})
        assert result.returncode != 0, value
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert name in result.stderr


def test_the_accepted_words_are_the_same_everywhere() -> None:
    assert f'"{", ".join(MODES[:-1])} or {MODES[-1]}"'.strip('"') in (ROOT / "nginx/10-environment.envsh").read_text()
    assert " | ".join(MODES) in (ROOT / "bin/tls").read_text()
    for stack in ("prod", "uwsgi"):
        assert "\nTLS=off\nCOMPOSE_PROFILES=${TLS}\n" in re.sub("\n#.*", "", (ROOT / f".env.{stack}").read_text())


# --- bin/lib/tls.sh ---


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("TLS=local", "local"),
        ("TLS = local", "default"),
        ("#TLS=local", "default"),
        ("TLS=", "default"),
        ('TLS="local"  ', "local"),
        ("TLS='local' # mine", "local"),
        ("TLS=local # mine", "local"),
        ("TLS=off\nTLS=files", "files"),
        ("XTLS=files", "default"),
        ("TLS=a#b", "a#b"),
    ],
)
def test_env_files_are_read_as_compose_does(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / ".env.prod").write_text(f"{line}\n")
    code = f"stack=prod; . '{ROOT}/bin/lib/tls.sh'; value TLS default"
    assert run(["sh", "-euc", code], cwd=tmp_path).stdout == f"{value}\n"


# --- certbot/keeper.py ---


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("keeper", ROOT / "certbot/keeper.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CONFIG", tmp_path)
    monkeypatch.setattr(module, "STATUS", tmp_path / "status.json")
    for name in ("ACME_EMAIL", "ACME_SERVER", "ACME_CHECK_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOMAIN", "a.example b.example")
    return module


def test_failures_wait_longer_each_time_and_never_ask_too_often(keeper: ModuleType) -> None:
    for failures in range(1, 12):
        wait = keeper.wait_after(failures)
        # Let's Encrypt locks a name out after five failures within an hour.
        assert 900 <= wait <= 43200 * 1.2
        assert wait >= min(900 * 2 ** (failures - 1), 43200)
    assert len({keeper.wait_after(0) for _ in range(20)}) > 15, "there is no jitter"
    assert all(38_880 <= keeper.wait_after(0) <= 47_520 for _ in range(50))


def test_what_went_wrong_is_one_line(keeper: ModuleType) -> None:
    output = """Saving debug log to /tmp/certbot/letsencrypt.log
Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: a.example
  Type:   connection
  Detail: 192.0.2.1: Fetching http://a.example/: Timeout
Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org."""
    assert keeper.reason(output) == "192.0.2.1: Fetching http://a.example/: Timeout"
    assert keeper.reason("An unexpected error occurred:\nError: no route\nAsk for help or so") == "Error: no route"
    assert keeper.reason("") == "certbot said nothing"


def test_the_command_names_every_domain(keeper: ModuleType, tmp_path: Path) -> None:
    words = " ".join(keeper.command("https://ca.example/dir"))
    assert "--domain a.example --domain b.example" in words
    assert "--register-unsafely-without-email" in words
    assert "--force-renewal" not in words
    (tmp_path / "renewal").mkdir()
    (tmp_path / "renewal/site.conf").write_text("[renewalparams]\nserver = https://ca.example/dir\n")
    assert "--force-renewal" not in keeper.command("https://ca.example/dir")
    assert "--force-renewal" in keeper.command("https://other.example/dir")


def test_the_status_is_of_this_container_alone(
    keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends(word: str) -> object:
        monkeypatch.setattr(sys, "argv", ["keeper.py", word])
        with pytest.raises(SystemExit) as raised:
            keeper.main()
        return raised.value.code

    assert ends("status") == "certbot starts"
    keeper.note(900, error="no route")
    assert "a.example b.example failed: no route; there is no certificate yet; next try 20" in capsys.readouterr().out
    assert (ends("status"), ends("alive")) == (1, None)
    keeper.note(900, error="")
    assert (ends("status"), ends("alive")) == (None, None)
    keeper.note(0)
    assert (ends("status"), ends("alive")) == (1, None)
    status = json.loads(keeper.STATUS.read_text())
    status["next"] = (datetime.now(UTC) - timedelta(minutes=12)).isoformat()
    keeper.STATUS.write_text(json.dumps(status))
    assert ends("alive") == "overdue"
    assert status["by"] == socket.gethostname()
    keeper.STATUS.write_text(json.dumps(status | {"by": "another"}))
    assert ends("status") == "certbot starts"
