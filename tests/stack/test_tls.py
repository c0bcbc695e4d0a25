"""HTTPS on both production stacks: off, a local authority, files of one's own, and ACME with a real authority (Pebble).

Each stack is started once and led through the modes, as its user would: the env file, then `make up-*`.
"""

import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from cryptography import x509

import certificates
from bench import Stack, picture, run, wait_for
from pebble import Pebble

SITE = "site.example"
LOCAL = "localhost 127.0.0.1 [::1]"


class Secure:
    """A stack with TLS, and how to talk to it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.kind = stack.kind
        self.mode = ""
        self.settings: dict[str, str] = {}
        self.trust: str | bool = True
        self.pebble: Pebble | None = None

    def turn(self, mode: str, **settings: str) -> str:
        """Set TLS and the other variables, and run `make up-*` unless that is how it runs; return what it printed."""
        if (mode, settings) == (self.mode, self.settings):
            return ""
        self.stack.set(TLS=mode, **settings)
        self.mode, self.settings = mode, settings
        return self.stack.make(f"up{self.stack.suffix}").stdout

    def get(self, path: str, host: str = "localhost", **options) -> requests.Response:
        """GET over HTTPS with the certificate verified."""
        return requests.get(
            f"https://{host}:{self.stack.https_port}{path}", **({"verify": self.trust, "timeout": 30} | options)
        )

    def certificate(self, name: str = SITE) -> x509.Certificate:
        """Return the certificate that is served, unverified."""
        return x509.load_pem_x509_certificate(self.chain(name)[0].encode())

    def chain(self, name: str = "localhost") -> list[str]:
        """Return all certificates that nginx sends."""
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.stack.https_port}", "-servername", name]
        sent = run(*command, "-showcerts", check=False).stdout
        return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", sent, re.S)

    def state(self) -> dict[str, str]:
        """Return which containers run since when: equal before and after what must not touch them."""
        return {container["Id"]: container["State"]["StartedAt"] for container in self.stack.inspect()}


@pytest.fixture(scope="session")
def secured() -> dict[str, Secure]:
    """The stacks with TLS that have been started so far, by kind."""
    return {}


def secure_once(kind: str, secured: dict[str, Secure], make_stack) -> Secure:
    if kind not in secured:
        stack = make_stack(kind, "tls", own_tree=True)
        app = stack.folder / "app/hello_django"
        shutil.copy(Path(__file__).with_name("pages.py"), app / "pages.py")
        with (app / "urls.py").open("a") as urls:
            urls.write("\nfrom hello_django.pages import pages\n\nurlpatterns += pages\n")
        secured[kind] = Secure(stack)
    return secured[kind]


@pytest.fixture(params=["prod", "uwsgi"], scope="module")
def each(request, secured, make_stack) -> Secure:
    return secure_once(request.param, secured, make_stack)


@pytest.fixture(scope="module")
def local(each: Secure) -> Secure:
    """Each stack in turn with TLS=local and HTTP/3."""
    each.turn("local", HTTP3="1")
    each.trust = str(each.stack.folder / "secrets/tls/authority.crt")
    return each


# --- off ---


def test_off_is_plain_http(stack: Stack) -> None:
    answer = stack.get("/")
    assert answer.status_code == 200
    assert "Strict-Transport-Security" not in answer.headers
    assert "secure" not in answer.headers["Set-Cookie"].lower()
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(stack.https_url, timeout=5, verify=False)  # noqa: S501
    assert "certbot" not in stack.compose("config", "--services").stdout


# --- local ---


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_local_certificate_is_valid_for_every_name(local: Secure, host: str) -> None:
    answer = local.get("/", host)
    assert answer.status_code == 200
    assert re.search(r"csrftoken=.*; Secure", answer.headers["Set-Cookie"])


def test_http_goes_to_https(local: Secure) -> None:
    """And comes out at the same page; what is not a page of this site goes nowhere."""
    stack = local.stack
    answer = stack.get("/?a=b%20c", allow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{stack.https_url}/?a=b%20c"
    # Not for ever, which is a 308's default: TLS can be turned off again.
    assert answer.headers["Cache-Control"] == "max-age=60"
    assert stack.get("/", verify=local.trust).url == f"{stack.https_url}/"
    assert requests.post(f"{stack.url}/", timeout=30, allow_redirects=False).status_code == 308
    assert stack.get("/", headers={"Host": "evil.example"}, allow_redirects=False).status_code == 400
    assert stack.get("/healthz", allow_redirects=False).status_code == 200
    # On a busy machine the database may take longer than it is given.
    assert stack.get("/readyz", allow_redirects=False).status_code in (200, 503)
    assert stack.get("/.well-known/acme-challenge/x", allow_redirects=False).status_code == 404


def test_files_and_error_pages_bind_browsers_too(local: Secure) -> None:
    """HSTS comes once with every answer, whoever made it."""
    sheet = re.search(r"/static/[^\"'<> ]+\.css", local.get("/admin/login/").text)[0]
    for path, status in (("/", 200), ("/admin/login/", 200), (sheet, 200), ("/.git", 404), ("/media/none.txt", 404)):
        answer = local.get(path)
        assert answer.status_code == status, path
        assert answer.headers["Strict-Transport-Security"] == "max-age=60; includeSubDomains", path
        assert status != 200 or answer.headers["Alt-Svc"] == f'h3=":{local.stack.https_port}"; ma=300', path
    assert local.get(sheet).headers["Cache-Control"].endswith("immutable")


def test_upload_over_https(local: Secure) -> None:
    session = requests.Session()
    session.trust_env, session.verify = False, local.trust
    site = local.stack.https_url
    session.get(f"{site}/", timeout=30)
    token = session.cookies["csrftoken"]
    content = picture()
    headers = {"Referer": f"{site}/", "Origin": site, "X-CSRFToken": token}
    files = {"image_file": ("picture.png", content, "image/png")}
    answer = session.post(f"{site}/", files=files, headers=headers, timeout=60)
    assert answer.status_code == 200
    assert answer.url.startswith(f"{site}/")
    links = set(re.findall(r"/media/[^\"'<> ]+\.png", answer.text))
    assert content in [session.get(f"{site}{link}", timeout=30).content for link in links]
    # The form of another site is refused as before.
    headers["Origin"] = "https://evil.example"
    assert session.post(f"{site}/", files=files, headers=headers, timeout=60).status_code == 403


def test_forged_headers_change_nothing(local: Secure) -> None:
    honest = local.get("/pages/who/").json()
    assert honest["secure"] is True
    assert honest["absolute"] == f"{local.stack.https_url}/pages/who/"
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example"}
    told = local.get("/pages/who/", headers=forged | {"Forwarded": "for=203.0.113.9;proto=http"}).json()
    for name in ("secure", "absolute", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_HOST"):
        assert told[name] == honest[name], name
    plain = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Ssl": "on"}
    assert local.stack.get("/pages/who/", headers=plain, allow_redirects=False).status_code == 308


def test_django_has_nothing_left_to_warn_of(local: Secure) -> None:
    command = ["python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    # But "preload", which is not for a template to ask.
    assert "no issues (1 silenced)" in local.stack.execute("web", *command).stdout


def test_protocols_and_ciphers_are_mozillas_intermediate(local: Secure) -> None:
    scan(local)


def test_http2_and_http3(local: Secure) -> None:
    """With curl of the nginx image, on the published port."""
    for option, version in (("--http2", "2"), ("--http3-only", "3")):
        curl = ["curl", "-sS", option, "--cacert", "/ca.crt", "-w", "\n%{http_version} %{http_code}"]
        page = f"{local.stack.https_url}/pages/who/"
        command = ["docker", "run", "--rm", "--network", "host", "-v", f"{local.trust}:/ca.crt:ro"]
        body, _, end = run(*command, "nginx:1.30", *curl, page).stdout.rpartition("\n")
        assert end == f"{version} 200"
        assert json.loads(body)["secure"] is True
        assert json.loads(body)["HTTP_HOST"] == f"localhost:{local.stack.https_port}"


def test_local_certificate_follows_the_names(local: Secure) -> None:
    """A new name gets a new certificate from the same authority, and nginx takes it without a restart of its own."""
    authority = Path(local.trust).read_text()
    before = local.certificate("localhost").serial_number
    local.stack.set(DJANGO_ALLOWED_HOSTS=f"{LOCAL} {SITE} .wild.example")
    told = local.stack.make("certs").stdout
    assert f"made secrets/tls/{local.kind}/fullchain.pem" in told
    for way in ("update-ca-certificates", "security add-trusted-cert", "certutil -addstore", "Firefox"):
        assert way in told
    assert Path(local.trust).read_text() == authority
    names = wait_for(lambda: served_names(local, before), 30, "the new certificate is served")
    assert {SITE, "wild.example", "*.wild.example", "localhost"} <= set(names)
    assert "made" not in local.stack.make("certs").stdout
    assert (local.stack.folder / "secrets/tls/authority.key").stat().st_mode & 0o777 == 0o600
    assert "certificate of" in local.stack.make("doctor", check=False).stdout


def served_names(secure: Secure, before: int) -> list[str]:
    found = secure.certificate("localhost")
    if found.serial_number == before:
        return []
    return found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def scan(secure: Secure) -> None:
    """Scan with sslyze and compare with Mozilla's intermediate recommendation, guidelines 6.0."""
    from sslyze import Scanner, ServerNetworkLocation, ServerScanRequest

    scanner = Scanner()
    place = ServerNetworkLocation("localhost", secure.stack.https_port, ip_address="127.0.0.1")
    scanner.queue_scans([ServerScanRequest(place)])
    (found,) = scanner.get_results()
    assert found.scan_status.name == "COMPLETED", found.connectivity_error_trace
    result = found.scan_result
    accepted = {
        name: {suite.cipher_suite.openssl_name for suite in getattr(result, name).result.accepted_cipher_suites}
        for name in (
            f"{old}_cipher_suites" for old in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")
        )
    }
    # The key is an elliptic curve's: the suites for RSA are for those who bring such a certificate.
    assert accepted.pop("tls_1_2_cipher_suites") == {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    }
    assert accepted.pop("tls_1_3_cipher_suites") == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
    assert set(map(len, accepted.values())) == {0}, accepted
    curves = {curve.name for curve in result.elliptic_curves.result.supported_curves}
    assert curves == {"X25519", "secp256r1", "secp384r1"}
    assert not result.heartbleed.result.is_vulnerable_to_heartbleed
    assert not result.openssl_ccs_injection.result.is_vulnerable_to_ccs_injection
    assert not result.tls_compression.result.supports_compression
    assert not result.tls_1_3_early_data.result.supports_early_data
    assert not result.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos
    assert result.session_renegotiation.result.supports_secure_renegotiation
    assert result.tls_fallback_scsv.result.supports_fallback_scsv
    resumed = result.session_resumption.result
    # A worker tells the client that the handshake is done before it puts the session where the others look for it: on a
    # busy machine one client in a row may be faster.
    assert resumed.session_id_successful_resumptions_count >= resumed.session_id_attempted_resumptions_count - 1 > 0


# --- files ---


@pytest.fixture(scope="module")
def chain() -> list[certificates.Certificate]:
    """A root, an intermediate, and a leaf for SITE."""
    root = certificates.make("Test root")
    middle = certificates.make("Test intermediate", root)
    return [root, middle, certificates.make("leaf", middle, (SITE, "localhost"))]


def put(secure: Secure, fullchain: str | None, key: str | None) -> None:
    folder = secure.stack.folder / "compose/nginx/ssl"
    for name, content in (("fullchain.pem", fullchain), ("privkey.pem", key)):
        path = folder / name
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
            path.chmod(0o600)


@pytest.fixture(scope="module")
def files(each: Secure, chain, tmp_path_factory) -> Secure:
    """Each stack in turn with TLS=files."""
    root, middle, leaf = chain
    put(each, leaf.pem + middle.pem, leaf.key())
    each.turn("files", HTTP3="0", DJANGO_ALLOWED_HOSTS=f"{LOCAL} {SITE}")
    trust = tmp_path_factory.mktemp("root") / "root.pem"
    trust.write_text(root.pem)
    each.trust = str(trust)
    return each


def test_own_files_are_served_with_their_chain(files: Secure, chain) -> None:
    assert files.chain() == [chain[2].pem, chain[1].pem]
    answer = files.get("/pages/who/")
    assert answer.json()["secure"] is True
    assert "Alt-Svc" not in answer.headers
    assert files.stack.get("/", allow_redirects=False).status_code == 308


def test_new_files_take_the_old_ones_place_without_a_restart(files: Secure, chain) -> None:
    before = files.state()
    leaf = certificates.make("leaf", chain[1], (SITE, "localhost"))
    put(files, leaf.pem + chain[1].pem, leaf.key())
    files.stack.make(f"up{files.stack.suffix}")
    wait_for(lambda: files.chain()[0] == leaf.pem, 30, "the new certificate is served")
    assert files.state() == before


def wrong_files(chain: list[certificates.Certificate]) -> dict[str, tuple[str | None, str | None, str]]:
    """Return what can be wrong with the two files, and the words that have to name it."""
    root, middle, leaf = chain
    late = certificates.make("leaf", middle, (SITE,), end=timedelta(hours=-1))
    early = certificates.make("leaf", middle, (SITE,), begin=timedelta(days=1))
    other = certificates.make("leaf", middle, ("other.example",))
    nameless = certificates.make("leaf", middle)
    old_middle = certificates.make("Old intermediate", root, end=timedelta(hours=-1))
    of_old = certificates.make("leaf", old_middle, (SITE,))
    return {
        "no chain file": (None, leaf.key(), "there is no compose/nginx/ssl/fullchain.pem"),
        "no key file": (leaf.pem + middle.pem, None, "there is no compose/nginx/ssl/privkey.pem"),
        "empty": ("", leaf.key(), "no certificate in PEM form"),
        "garbage": ("garbage", leaf.key(), "no certificate in PEM form"),
        "key is garbage": (leaf.pem + middle.pem, "garbage", "no private key"),
        "key has a password": (leaf.pem + middle.pem, leaf.key(b"password"), "without a password"),
        "other key": (leaf.pem + middle.pem, other.key(), "is not the key of"),
        "chain upside down": (middle.pem + leaf.pem, leaf.key(), "is not the key of"),
        "expired": (late.pem + middle.pem, late.key(), "has expired"),
        "not yet valid": (early.pem + middle.pem, early.key(), "not valid before"),
        "no chain": (leaf.pem, leaf.key(), "has no chain: append the certificate of 'CN=Test intermediate'"),
        "broken chain": (leaf.pem + root.pem, leaf.key(), "the chain is broken"),
        "expired intermediate": (of_old.pem + old_middle.pem, of_old.key(), "'CN=Old intermediate'"),
        "other name": (other.pem + middle.pem, other.key(), f"is not for {SITE}, but for DNS:other.example"),
        "no name": (nameless.pem + middle.pem, nameless.key(), "names no host"),
    }


CASES = list(wrong_files([certificates.make("root"), certificates.make("middle"), certificates.make("leaf")]))


# Nothing in these depends on the stack, and one of them is enough.
@pytest.mark.parametrize("each", ["prod"], indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_certificate_is_one_line_and_touches_nothing(files: Secure, chain, case: str) -> None:
    fullchain, key, words = wrong_files(chain)[case]
    put(files, fullchain, key)
    refused(files, words)


def test_an_unreadable_file_is_one_line(files: Secure, chain) -> None:
    put(files, chain[2].pem + chain[1].pem, None)
    (files.stack.folder / "compose/nginx/ssl/privkey.pem").mkdir()
    refused(files, "compose/nginx/ssl/privkey.pem cannot be read")
    put(files, None, None)


@pytest.mark.parametrize("each", ["prod"], indirect=True)
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TLS": "on"}, "TLS='on' is unknown; use off, local, files or acme"),
        ({"TLS": "acme", "DOMAIN": ""}, "TLS=acme needs DOMAIN"),
        ({"TLS": "acme", "DOMAIN": "https://site.example"}, "DOMAIN has 'https://site.example'"),
        ({"TLS": "acme", "DOMAIN": "localhost"}, "full names alone"),
        ({"TLS": "acme", "DOMAIN": "192.0.2.1"}, "full names alone"),
        ({"TLS": "acme", "DOMAIN": "other.example"}, "'other.example', which DJANGO_ALLOWED_HOSTS lacks"),
        ({"TLS": "acme", "DOMAIN": SITE, "ACME_EMAIL": "me"}, "ACME_EMAIL='me'"),
        (
            {"TLS": "acme", "DOMAIN": SITE, "ACME_SERVER": "http://ca.example/dir"},
            "ACME_SERVER='http://ca.example/dir'",
        ),
        ({"TLS": "acme", "DOMAIN": SITE, "ACME_CA_FILE": "none.pem"}, "ACME_CA_FILE='none.pem'"),
        ({"TLS": "local", "DJANGO_ALLOWED_HOSTS": "*"}, "DJANGO_ALLOWED_HOSTS=*"),
        ({"TLS": "off", "DJANGO_ALLOWED_HOSTS": "*.site.example"}, "DJANGO_ALLOWED_HOSTS has '*.site.example'"),
        ({"TLS": "local", "HSTS_SECONDS": "1y"}, "HSTS_SECONDS='1y'"),
        ({"TLS": "local", "HTTP3": "yes"}, "HTTP3='yes'"),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_one_line_and_touches_nothing(files: Secure, variables: dict[str, str], words: str) -> None:
    path = files.stack.folder / files.stack.env_file
    saved = path.read_text()
    files.stack.set(**variables)
    try:
        refused(files, words)
    finally:
        path.write_text(saved)


def refused(secure: Secure, words: str) -> None:
    """Assert that `make up-*` ends with one line that has these words, and that everything runs on as it was."""
    before = secure.state()
    result = secure.stack.make(f"up{secure.stack.suffix}", check=False)
    assert result.returncode != 0
    assert "docker compose" not in result.stdout
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, result.stderr
    assert words in lines[0]
    assert secure.state() == before
    assert secure.get("/healthz").status_code == 200


# --- acme ---

ACME = {"DOMAIN": SITE, "ACME_EMAIL": "me@site.example", "ACME_CA_FILE": "pebble.pem", "HTTP3": "0"}


@pytest.fixture(scope="module")
def acme(each: Secure, tmp_path_factory) -> Iterator[Secure]:
    """Each stack in turn with TLS=acme and an authority that is down; `acme.pebble.start()` brings it up."""
    pebble = Pebble(each.stack, tmp_path_factory.mktemp("pebble"), SITE, f"www.{SITE}")
    shutil.copy(pebble.folder / "ca.pem", each.stack.folder / "certbot/authority/pebble.pem")
    each.pebble = pebble
    hosts = f"{LOCAL} .{SITE} {pebble.REFUSED}"
    settings = {"DJANGO_ALLOWED_HOSTS": hosts, "ACME_SERVER": pebble.directory, "ACME_CHECK_SECONDS": "600"}
    each.told = each.turn("acme", **ACME, **settings)
    yield each
    pebble.stop()


@contextlib.contextmanager
def at_home(name: str) -> Iterator[None]:
    """Make a name mean this machine, for requests of this process."""
    real = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **options: real("127.0.0.1" if host == name else host, *rest, **options)
    try:
        yield
    finally:
        socket.getaddrinfo = real


def certbot(secure: Secure) -> str:
    """Return what certbot's keeper says of its last try."""
    return secure.stack.execute("certbot", "python", "keeper.py", "status", check=False).stdout


def try_again(secure: Secure) -> str:
    """Wake the keeper, wait for its next line, and return it."""
    before = certbot(secure)
    secure.stack.compose("kill", "--signal", "HUP", "certbot")

    def told() -> str:
        now = certbot(secure)
        return now if now != before and "being asked" not in now else ""

    return wait_for(told, 90, "certbot tries again")


def test_the_site_starts_while_the_authority_is_down(acme: Secure) -> None:
    assert "failed: " in acme.told
    assert "there is no certificate yet; next try 20" in acme.told
    assert f"is up: https://{SITE}:" in acme.told
    assert acme.certificate().subject.rfc4514_string() == "CN=placeholder"
    assert acme.get("/pages/who/", verify=False).json()["secure"] is True
    doctor = acme.stack.make("doctor", check=False).stdout
    assert re.search(r"WRONG certbot: site\.example failed: .*next try 20\d\d-", doctor)
    assert "has no certificate yet, a placeholder serves" in doctor
    assert "failed: " in acme.stack.logs("certbot")


def test_the_first_certificate_needs_no_restart(acme: Secure) -> None:
    before = acme.state()
    acme.pebble.start()
    acme.trust = acme.pebble.root()
    assert "is well; the certificate is valid until" in try_again(acme)
    wait_for(lambda: acme.certificate().subject.rfc4514_string() != "CN=placeholder", 30, "nginx serves it")
    with at_home(SITE):
        assert acme.get("/pages/who/", SITE).json()["absolute"].startswith(f"https://{SITE}:")
    assert len(acme.chain(SITE)) == 2
    assert acme.state() == before
    doctor = acme.stack.make("doctor", check=False).stdout
    assert re.search(r"ok    certificate of \w+ \(TLS=acme\) valid until", doctor)
    assert "ok    certbot: site.example is well" in doctor


def test_certbot_is_hardened_and_its_keys_are_its_own(acme: Secure) -> None:
    container = acme.stack.container("certbot")
    host = container["HostConfig"]
    assert container["Config"]["User"] == "101:101"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert 0 < host["Memory"] <= 1 << 30
    assert 0 < host["PidsLimit"] <= 200
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert container["State"]["Health"]["Status"] == "healthy"
    assert not any(container["NetworkSettings"]["Ports"].values())
    assert not any("docker.sock" in mount["Source"] for mount in container["Mounts"])
    networks = {name.removeprefix(f"{acme.stack.project}_") for name in container["NetworkSettings"]["Networks"]}
    assert networks == {"acme_network"}
    # The account's key and each certificate's.
    find = "find /etc/letsencrypt -type f \\( -name 'privkey*' -o -name private_key.json \\) -printf '%m %U\\n'"
    modes = acme.stack.execute("certbot", "sh", "-c", find).stdout.split("\n")
    assert len(modes) >= 3
    assert {mode for mode in modes if mode} <= {"600 101", "400 101"}
    readers = [c for c in acme.stack.inspect() if any(m["Destination"] == "/etc/letsencrypt" for m in c["Mounts"])]
    found = {
        c["Config"]["Labels"]["com.docker.compose.service"]: m["RW"]
        for c in readers
        for m in c["Mounts"]
        if m["Destination"] == "/etc/letsencrypt"
    }
    assert found == {"certbot": True, "nginx": False}


def test_a_refused_order_keeps_the_old_certificate(acme: Secure) -> None:
    """The authority does not like one of the names. Afterwards, without it, all is well again."""
    before = acme.certificate()
    settings = acme.settings
    told = acme.turn("acme", **settings | {"DOMAIN": f"{SITE} {acme.pebble.REFUSED}"})
    assert "failed: " in told
    assert "next try 20" in told
    assert acme.certificate() == before
    assert acme.get("/healthz", verify=False).status_code == 200
    assert "WRONG certbot" in acme.stack.make("doctor", check=False).stdout
    assert "is well" in acme.turn("acme", **settings)


def test_a_revoked_certificate_is_replaced(acme: Secure) -> None:
    """The authority says so when certbot asks it whether to renew, which is as often as the authority wants it."""
    before = acme.certificate()
    server = f"--server {acme.pebble.directory} --config-dir /etc/letsencrypt --work-dir /tmp/r --logs-dir /tmp/r"
    revoke = f"certbot revoke --non-interactive --cert-name site --no-delete-after-revoke {server}"
    acme.stack.execute("certbot", "sh", "-c", f"REQUESTS_CA_BUNDLE=/etc/acme/pebble.pem {revoke}")
    # As if those hours had passed.
    acme.stack.execute("certbot", "sed", "-i", "/ari_retry_after/d", "/etc/letsencrypt/renewal/site.conf")
    assert "is well" in try_again(acme)
    wait_for(lambda: acme.certificate() != before, 30, "a new certificate is served")


@pytest.mark.parametrize("each", ["prod"], indirect=True)
def test_certbot_leaves_with_acme(acme: Secure) -> None:
    settings = acme.settings
    acme.turn("off")
    assert acme.stack.inspect("certbot", every=True) == []
    assert "is well" in acme.turn("acme", **settings)


def test_an_authority_that_goes_away_does_no_harm(acme: Secure) -> None:
    acme.pebble.fall_silent()
    before = acme.certificate()
    told = acme.turn("acme", **acme.settings | {"DOMAIN": f"{SITE} www.{SITE}"})
    assert "failed: " in told
    assert re.search(r"valid until 20.*; next try 20", told)
    assert acme.certificate() == before


@pytest.mark.parametrize("each", ["prod"], indirect=True)
def test_renewal_under_load_loses_no_request(acme: Secure) -> None:
    """Certificates of 40 s, from a new authority: at least two of them are taken over under load."""
    pebble = acme.pebble
    pebble.start("hasty", seconds=40)
    acme.turn("acme", **acme.settings | {"DOMAIN": SITE, "ACME_SERVER": pebble.directory, "ACME_CHECK_SECONDS": "4"})
    trust = ssl.create_default_context(cafile=pebble.root())
    wait_for(lambda: verifies(acme, trust), 60, "a certificate of the new authority is served")
    before = acme.state()
    seen = {acme.certificate().serial_number}
    with Load(acme.stack.https_port, trust) as load:
        wait_for(lambda: seen.add(acme.certificate().serial_number) or len(seen) > 2, 120, "two renewals")
        # The workers of before the last one leave.
        time.sleep(6)
    assert load.failures == []
    assert load.count > 500
    assert acme.state() == before


def verifies(secure: Secure, trust: ssl.SSLContext) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = Connection(secure.stack.https_port, trust)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


class Connection(http.client.HTTPSConnection):
    """A connection to SITE on this machine, with the certificate verified."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", port, timeout=20, context=trust)
        self.trust = trust

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self.trust.wrap_socket(self.sock, server_hostname=SITE)


class Load:
    """While it is entered: requests on fresh connections and on kept ones; each failure is one in `failures`."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self.failures: list[str] = []
        self.count = 0
        self._stop = threading.Event()
        self._make: Callable[[], Connection] = lambda: Connection(port, trust)
        self._threads = [threading.Thread(target=self._work, args=(keep,)) for keep in (True, True, False)]

    def _work(self, keep: bool) -> None:
        connection = self._make()
        while not self._stop.wait(0.02):
            try:
                connection.request("GET", "/healthz", headers={"Host": SITE})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
                # What nginx announces, clients keep to.
                if not keep or answer.getheader("Connection") == "close":
                    connection.close()
            except Exception as error:
                self.failures.append(repr(error))
                connection.close()
            self.count += 1

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
