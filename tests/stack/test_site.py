"""What a visitor meets, on both production stacks, through nginx: uploads, static files, bad input, forged headers."""

import gzip
import json
import re
import socket
import uuid
from html.parser import HTMLParser
from http.client import HTTPConnection
from urllib.parse import quote, urljoin, urlsplit

import pytest
import requests

from bench import Stack, picture, wait_for

LIMIT_MB = 25
FORGED = "203.0.113.7"


class Page(HTMLParser):
    """The addresses that a page links to and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img") and values.get("src"):
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(values["href"])


def raw(stack: Stack, request: bytes, seconds: float = 10) -> bytes:
    """Send these bytes as they are; return everything that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", stack.port), seconds) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def raw_get(stack: Stack, target: str) -> tuple[int, bytes]:
    """GET a target that no client would send as it is; return status and body."""
    answer = raw(stack, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def plant(stack: Stack, **files: str) -> None:
    """Write files below the volumes, as the app's user: name=content, where name is relative to the code's folder."""
    stack.python(
        "from pathlib import Path\n"
        f"for name, content in {files!r}.items():\n"
        "    path = Path(name); path.parent.mkdir(parents=True, exist_ok=True); path.write_text(content)"
    )


def remove(stack: Stack, *names: str) -> None:
    """Remove what was planted."""
    stack.execute("web", "rm", "-rf", *names)


def media_link(page: requests.Response) -> str:
    """Return the address of the uploaded file that a page shows."""
    links = [link for link in Page(page.text).links if urlsplit(link).path.startswith("/media/")]
    assert links, page.text
    return links[0]


def in_access_log(stack: Stack, mark: str) -> dict:
    """Wait for the only request whose address has this mark to be in nginx's log, and return its line."""

    def found() -> list[dict]:
        return [line for line in stack.access_log() if mark in line["uri"]]

    (line,) = wait_for(found, what=f"{mark} in nginx's log")
    return line


# --- Uploads ---


@pytest.mark.parametrize(
    ("format", "extension", "type"),
    [
        ("PNG", "png", "image/png"),
        ("JPEG", "jpg", "image/jpeg"),
        ("GIF", "gif", "image/gif"),
        ("WEBP", "webp", "image/webp"),
    ],
)
def test_picture_comes_back_unchanged(stack: Stack, format: str, extension: str, type: str) -> None:
    content = picture(format)
    name = f"{uuid.uuid4().hex}.{extension}"
    page = stack.upload(content, name, type)
    assert page.status_code == 200
    link = media_link(page)
    assert link == f"/media/{name}"
    served = stack.get(link)
    assert served.status_code == 200
    assert served.content == content
    # By its extension, never guessed, and harmless if somebody opens it on its own.
    assert served.headers["Content-Type"] == type
    assert served.headers["X-Content-Type-Options"] == "nosniff"
    assert served.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_large_picture_comes_back_unchanged(stack: Stack) -> None:
    """More than nginx's and Django's buffers in memory, more than the 2 MB that the tutorial's nginx refuses."""
    content = picture("PNG", (1600, 1600))
    assert len(content) > 7_000_000
    page = stack.upload(content, "large.png")
    assert page.status_code == 200
    assert stack.get(media_link(page)).content == content


def test_program_gets_json(stack: Stack) -> None:
    answer = stack.upload(name="program.png", accept="application/json")
    assert answer.status_code == 201
    facts = answer.json()
    assert stack.get(facts["url"]).content == picture()
    assert stack.get(facts["page_url"]).status_code == 200
    thumbnail = stack.get(facts["thumbnail_url"])
    assert thumbnail.headers["Content-Type"] == "image/webp"
    assert thumbnail.content[8:12] == b"WEBP"


@pytest.mark.parametrize(
    ("content", "name", "type"),
    [
        (b"hello", "note.png", "image/png"),
        (b"<script>alert(1)</script>", "page.html", "text/html"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "x.svg", "image/svg+xml"),
        (b"", "empty.png", "image/png"),
        (picture()[:200], "cut.png", "image/png"),
    ],
    ids=["text", "html", "svg", "empty", "truncated"],
)
def test_no_picture_is_refused_on_the_form(stack: Stack, content: bytes, name: str, type: str) -> None:
    name = f"{uuid.uuid4().hex}-{name}"
    page = stack.upload(content, name, type)
    assert 400 <= page.status_code < 500
    assert name[:12] in page.text
    assert 'name="image_file"' in page.text
    assert stack.get(f"/media/{name}").status_code == 404
    kept = stack.execute("web", "find", "mediafiles", "-name", f"*{name[:32]}*").stdout
    assert kept == ""


@pytest.mark.parametrize(
    "megabytes", [LIMIT_MB + 0.5, LIMIT_MB + 5], ids=["just over: Django answers", "far over: nginx answers"]
)
def test_too_large_a_file_names_the_limit(stack: Stack, megabytes: float) -> None:
    content = b"\x89PNG\r\n\x1a\n" + bytes(int(megabytes * 2**20))
    for accept in ("text/html", "application/json"):
        answer = stack.upload(content, "huge.png", accept=accept)
        assert answer.status_code == 413
        assert f"{LIMIT_MB} MB" in answer.text
        assert answer.headers["Content-Type"].startswith(accept)
    assert answer.json()["error"]["code"] == "too_large"
    incoming = stack.execute("web", "sh", "-c", "ls -A mediafiles/.incoming").stdout
    assert incoming == ""


def test_cross_origin_post_is_refused(stack: Stack) -> None:
    """The token is right; the page that sends it is somebody else's."""
    for headers in ({"Origin": "http://evil.example"}, {"Origin": f"http://localhost:{stack.port + 1}"}):
        session = requests.Session()
        session.get(stack.url + "/")
        headers |= {"X-CSRFToken": session.cookies["csrftoken"]}
        files = {"image_file": ("a.png", picture(), "image/png")}
        assert session.post(stack.url + "/", files=files, headers=headers).status_code == 403
    # No token at all.
    files = {"image_file": ("a.png", picture(), "image/png")}
    assert requests.post(stack.url + "/", files=files).status_code == 403
    # The site's own origin has a port that no setting names: stack.upload() sends it, and passes.
    assert stack.port not in (80, 443, 1337, 1338)
    assert stack.upload(name="own-origin.png").status_code == 200


# --- What nginx serves from the volumes, and what it doesn't ---


def test_only_pictures_are_served_from_media(stack: Stack) -> None:
    names = [
        ".hidden.png",
        ".incoming/half.png",
        "thumbs/.hidden.webp",
        "page.html",
        "page.svg",
        "picture.png.html",
        "picture.php",
        "noextension",
        ".env",
        "deep/.git/config",
        "deep/.git/x.png",
    ]
    marks = {f"mediafiles/planted/{name}": f"planted {name}" for name in names}
    marks |= {"mediafiles/.planted.png": "planted", "mediafiles/.incoming/planted.png": "planted"}
    marks["mediafiles/planted/control.png"] = "control"
    plant(stack, **marks)
    try:
        assert stack.get("/media/planted/control.png").text == "control"
        for path in sorted(marks.keys() - {"mediafiles/planted/control.png"}):
            answer = stack.get(path.replace("mediafiles", "/media"))
            assert answer.status_code == 404, path
            assert "planted" not in answer.text, path
    finally:
        remove(stack, "mediafiles/planted", "mediafiles/.planted.png", "mediafiles/.incoming/planted.png")


def test_no_folder_is_listed(stack: Stack) -> None:
    stack.upload(name="listed.png")
    for path in ("/media/", "/media/thumbs/", "/media/thumbs", "/media", "/static/", "/static/admin/", "/static/admin"):
        answer = stack.get(path)
        assert answer.status_code in (403, 404), path
        assert "listed" not in answer.text
        assert "Index of" not in answer.text


@pytest.mark.parametrize(
    "target",
    [
        "/media/../../../etc/passwd",
        "/media/..%2f..%2f..%2fetc%2fpasswd",
        "/media/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/media../etc/passwd",
        "/media..%2fstatic/admin/css/base.css",
        "/media/x.png/../../../../etc/passwd",
        "/static/../../etc/passwd",
        "/static../media/x.png",
        "/static..%2f..%2fetc/passwd",
        "/static/admin/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/media//etc/passwd",
        "/media/\\..\\..\\etc\\passwd",
        "/media/x%00.png",
        "//etc/passwd",
        "/.env",
        "/.git/config",
        "/static/.env",
    ],
)
def test_paths_lead_nowhere_else(stack: Stack, target: str) -> None:
    status, body = raw_get(stack, target)
    assert status in (400, 403, 404), body[:300]
    assert b"root:" not in body


def test_lists_of_static_files_are_not_served(stack: Stack) -> None:
    listed = stack.execute("web", "sh", "-c", "ls staticfiles/staticfiles-*.json").stdout.split()
    assert listed
    for path in listed:
        assert stack.get("/" + path.replace("staticfiles/", "static/", 1)).status_code == 404
    # What collectstatic is writing at this moment.
    half = "staticfiles/planted/.half.0123456789ab.css.7", "staticfiles/planted/.half.css.7", "staticfiles/.half.css"
    plant(stack, **dict.fromkeys(half, "half"), **{"staticfiles/planted/control.css": "control"})
    try:
        assert stack.get("/static/planted/control.css").text == "control"
        for path in half:
            assert stack.get(path.replace("staticfiles", "/static")).status_code == 404, path
    finally:
        remove(stack, "staticfiles/planted", "staticfiles/.half.css")


def test_a_static_name_without_hash_is_not_kept_for_ever(stack: Stack) -> None:
    answer = stack.get("/static/admin/css/base.css")
    assert answer.status_code == 200
    assert "immutable" not in answer.headers.get("Cache-Control", "")


def test_previous_releases_static_files_are_kept_then_forgotten(stack: Stack) -> None:
    """A page from before a deploy still loads; after three more, its files make room."""
    old, orphan = "planted/old.0123456789ab.css", "planted/orphan.ba9876543210.css"
    manifests = [f"staticfiles/staticfiles-planted{number}.json" for number in range(3)]
    listing = json.dumps({"paths": {"planted/old.css": old}, "version": "1.1", "hash": ""})
    plant(
        stack, **{f"staticfiles/{old}": "old", f"staticfiles/{old}.gz": "", f"staticfiles/{orphan}": "orphan"},
        **{manifests[0]: listing},
    )  # fmt: skip
    try:
        stack.execute("web", "python", "manage.py", "collectstatic", "--noinput")
        assert stack.get(f"/static/{old}", headers={"Accept-Encoding": "identity"}).text == "old"
        assert stack.get(f"/static/{orphan}").status_code == 404
        empty = json.dumps({"paths": {}, "version": "1.1", "hash": ""})
        plant(stack, **dict.fromkeys(manifests[1:], empty))
        stack.execute("web", "python", "manage.py", "collectstatic", "--noinput")
        # nginx asks each second whether a file is still the same one, and all this may have taken less.
        wait_for(lambda: stack.get(f"/static/{old}").status_code == 404, 10, f"{old} is forgotten")
        # The running release's own are all there.
        for path in Page(stack.get("/admin/login/").text).loaded:
            assert stack.get(path).status_code == 200, path
    finally:
        remove(stack, "staticfiles/planted", *manifests)
        stack.execute("web", "python", "manage.py", "collectstatic", "--noinput")


# --- The admin ---


def test_admin_loads_all_its_files_from_nginx(stack: Stack) -> None:
    paths = set(Page(stack.get("/admin/login/").text).loaded) | set(Page(stack.get("/").text).loaded)
    paths = {path for path in paths if not path.startswith("/media/")}
    assert any(path.endswith(".css") for path in paths)
    assert any(path.endswith(".js") for path in paths)
    pending, seen = list(paths), set()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        assert re.fullmatch(r"/static/.+\.[0-9a-f]{12}\.\w+", path), path
        plain = stack.get(path, headers={"Accept-Encoding": "identity"})
        assert plain.status_code == 200, path
        assert plain.headers["Cache-Control"] == "public, max-age=31536000, immutable", path
        assert plain.headers["X-Content-Type-Options"] == "nosniff", path
        assert "Content-Encoding" not in plain.headers, path
        if path.endswith((".css", ".js", ".svg")):
            assert "Accept-Encoding" in plain.headers["Vary"], path
            with requests.get(stack.url + path, headers={"Accept-Encoding": "gzip"}, stream=True) as packed:
                assert packed.headers["Content-Encoding"] == "gzip", path
                body = packed.raw.read(decode_content=False)
            assert gzip.decompress(body) == plain.content, path
            assert len(body) < len(plain.content) or len(plain.content) < 200, path
        if path.endswith(".css"):
            pending += [
                urljoin(path, link).partition("#")[0]
                for link in re.findall(r"""url\(["']?([^"')]+)["']?\)""", plain.text)
                if not link.startswith("data:")
            ]
    assert len(seen) > 5
    # nginx alone has answered: no upstream is in its log, where only what it did not find is.
    gone = f"/static/{uuid.uuid4().hex}.0123456789ab.css"
    assert stack.get(gone).status_code == 404
    assert in_access_log(stack, gone)["upstream"] == ""
    assert [line for line in stack.access_log() if line["uri"] in seen] == []


def test_icon_of_pages_that_name_none(stack: Stack) -> None:
    answer = stack.get("/favicon.ico")
    assert [step.status_code for step in answer.history] == [302]
    assert re.search(r"/static/upload/icon\.[0-9a-f]{12}\.svg$", answer.url)
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, "image/svg+xml")


def test_sign_in_to_the_admin(stack: Stack) -> None:
    user, password = f"admin-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    variables = ["--env", f"DJANGO_SUPERUSER_PASSWORD={password}", "--env", f"DJANGO_SUPERUSER_USERNAME={user}"]
    create = ["python", "manage.py", "createsuperuser", "--noinput", "--email", "admin@example.com"]
    stack.compose("exec", "-T", *variables, "web", *create)
    stack.upload(name="admin.png")
    session = requests.Session()
    assert session.get(stack.url + "/admin/").url.startswith(stack.url + "/admin/login/")
    form = {"username": user, "password": "wrong", "next": "/admin/"}
    headers = {"Origin": stack.url, "Referer": stack.url + "/admin/login/"}
    form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
    refused = session.post(stack.url + "/admin/login/", data=form, headers=headers)
    assert "sessionid" not in session.cookies
    assert "errornote" in refused.text
    welcome = session.post(stack.url + "/admin/login/", data=form | {"password": password}, headers=headers)
    assert welcome.url == stack.url + "/admin/"
    assert user in welcome.text
    cookie = next(cookie for cookie in session.cookies if cookie.name == "sessionid")
    assert cookie.has_nonstandard_attr("HttpOnly")
    pictures = session.get(stack.url + "/admin/upload/picture/")
    assert pictures.status_code == 200
    assert "admin.png" in pictures.text
    for path in Page(pictures.text).loaded:
        assert session.get(urljoin(stack.url, path)).status_code == 200, path


# --- Hosts, health, logs ---


def test_unknown_host_is_refused(stack: Stack) -> None:
    for host in ("evil.example", "localhost.evil.example", f"evil.example:{stack.port}", "localhost:1337@evil"):
        answer = stack.get("/", headers={"Host": host})
        assert answer.status_code == 400, host
        assert "evil" not in answer.text
        assert "Traceback" not in answer.text
    for host in ("localhost", f"127.0.0.1:{stack.port}", "[::1]:9"):
        assert stack.get("/", headers={"Host": host}).status_code == 200, host


def test_request_without_host_is_refused(stack: Stack) -> None:
    assert raw(stack, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_health_needs_no_host_and_leaves_no_line(stack: Stack) -> None:
    mark, control = f"mark{uuid.uuid4().hex}", f"control{uuid.uuid4().hex}"
    for path in ("/healthz", "/readyz"):
        for host in ("evil.example", "10.0.0.1", "localhost"):
            answer = stack.get(f"{path}?{mark}", headers={"Host": host, "User-Agent": mark})
            assert (answer.status_code, answer.text) == (200, "ok\n"), (path, host)
            assert answer.headers["Cache-Control"] == "no-store"
    assert stack.get(f"/missing/?{control}").status_code == 404
    wait_for(lambda: control in stack.logs("nginx"), what="the other request in nginx's log")
    logs = stack.logs("nginx", "web")
    assert mark not in logs
    assert "healthz" not in logs
    assert "readyz" not in logs


def test_request_id_is_the_same_in_both_logs(stack: Stack) -> None:
    path = f"/missing-{uuid.uuid4().hex}/"
    forged = "0" * 32
    assert stack.get(path, headers={"X-Request-ID": forged}).status_code == 404
    line = in_access_log(stack, path)
    assert line["status"] == 404
    assert re.fullmatch("[0-9a-f]{32}", line["request_id"])
    assert line["request_id"] != forged
    (django,) = wait_for(lambda: [text for text in stack.logs("web").splitlines() if path in text])
    assert f"[{line['request_id']}]" in django
    assert line["upstream_status"] == "404"
    assert 0 <= line["seconds"] < 30


def test_log_lines_cannot_be_forged(stack: Stack) -> None:
    """Each line of nginx's log is one JSON object, whatever a client sends."""
    mark = uuid.uuid4().hex
    agent = f'{mark}","status":999,"x":"\\"é'
    stack.get(f"/{mark}%22%0a%7b/", headers={"User-Agent": agent.encode(), "Referer": '"}\\'})
    line = in_access_log(stack, mark)
    assert line["status"] == 404
    assert line["agent"].startswith(f'{mark}","status":999')
    bad = [text for text in stack.logs("web").splitlines() if mark in text]
    assert len(bad) == 1


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_forged_client_address_is_ignored(stack: Stack, header: str) -> None:
    path = f"/missing-{uuid.uuid4().hex}/"
    stack.get(path, headers={header: FORGED})
    assert in_access_log(stack, path)["client"] != FORGED


def test_forged_protocol_is_ignored(stack: Stack) -> None:
    """Believed, it would make every form fail the origin check."""
    session = requests.Session()
    session.headers["X-Forwarded-Host"] = "evil.example"
    for name, value in (("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on"), ("X-Forwarded-Protocol", "ssl")):
        session.headers[name] = value
    page = stack.upload(name="forged.png", session=session)
    assert page.status_code == 200
    assert page.url.startswith(stack.url)


def test_what_proxies_say_of_a_client_is_said_by_nginx_alone(rigged: Stack) -> None:
    """An app with USE_X_FORWARDED_HOST would write links to wherever the client wants."""
    names = ("X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X-Real-IP")
    told = rigged.get("/pages/who/", headers=dict.fromkeys(names, "8.8.8.8")).json()
    assert told["HTTP_X_REAL_IP"] == told["HTTP_X_FORWARDED_FOR"]
    forwarded = {name for name in told if "FORWARDED" in name}
    assert forwarded == {"HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_nothing_can_be_sent_to_health(stack: Stack, path: str) -> None:
    assert stack.get(path).status_code == 200
    assert requests.post(stack.url + path, data=b"x" * 2000, timeout=10).status_code == 413


def test_trusted_proxy_is_believed(rigged: Stack) -> None:
    """TRUSTED_PROXIES of the rigged stack holds the address that this test comes from."""
    headers = {"X-Forwarded-For": FORGED, "X-Forwarded-Proto": "https", "X-Request-ID": "0" * 32}
    told = rigged.get("/pages/who/", headers=headers).json()
    assert told["HTTP_X_FORWARDED_FOR"] == FORGED
    assert told["HTTP_X_FORWARDED_PROTO"] == "https"
    assert told["secure"]
    assert told["HTTP_HOST"] == f"localhost:{rigged.port}"
    assert told["HTTP_X_REQUEST_ID"] != "0" * 32
    # A list is read from its end, up to the first address that is not trusted.
    told = rigged.get("/pages/who/", headers={"X-Forwarded-For": f"198.51.100.1, {FORGED}, 10.1.1.1"}).json()
    assert told["HTTP_X_FORWARDED_FOR"] == FORGED
    assert not told["secure"]
    path = f"/missing-{uuid.uuid4().hex}/"
    rigged.get(path, headers=headers)
    assert in_access_log(rigged, path)["client"] == FORGED
    # A form that was loaded by HTTPS passes the origin check.
    session = requests.Session()
    session.headers.update(headers)
    session.get(rigged.url + "/")
    origin = {"Origin": rigged.url.replace("http:", "https:"), "X-CSRFToken": session.cookies["csrftoken"]}
    origin["Referer"] = origin["Origin"] + "/"
    files = {"image_file": ("trusted.png", picture(), "image/png")}
    answer = session.post(rigged.url + "/", files=files, headers=origin, allow_redirects=False)
    assert answer.status_code == 302


def test_error_tells_the_client_nothing_and_the_log_everything(rigged: Stack) -> None:
    mark = uuid.uuid4().hex
    answer = rigged.get(f"/pages/broken/?{mark}")
    assert answer.status_code == 500
    for words in ("Traceback", "broken on purpose", "RuntimeError", "/home/app"):
        assert words not in answer.text
    line = in_access_log(rigged, mark)
    mark = f"[{line['request_id']}] Internal Server Error: /pages/broken/"
    logs = wait_for(lambda: mark in rigged.logs("web") and rigged.logs("web"), what="the error in Django's log")
    assert "RuntimeError: broken on purpose" in logs.partition(mark)[2]


# --- Sizes, connections, headers ---


def test_header_block_of_60_kb_gets_a_clear_answer(stack: Stack) -> None:
    one = {"Cookie": "c=" + "x" * 60_000}
    many = {f"X-Filler-{number}": "x" * 6_000 for number in range(10)}
    for headers in (one, many):
        answer = stack.get("/", headers=headers)
        assert answer.status_code == 431
        assert "headers are too large" in answer.text
    answer = stack.get("/", headers=one | {"Accept": "application/json"})
    assert answer.json()["error"]["code"] == "headers_too_large"
    assert stack.get("/" + "x" * 60_000).status_code == 414


def test_header_block_of_28_kb_passes(stack: Stack) -> None:
    """What nginx lets through, the server behind it takes."""
    assert stack.get("/", headers={f"X-Filler-{number}": "x" * 7_000 for number in range(4)}).status_code == 200


def test_pipelined_requests_are_answered_in_order(stack: Stack) -> None:
    get = "GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
    sent = get.format("/healthz", "") + get.format("/missing/", "") + get.format("/", "Connection: close\r\n")
    answer = raw(stack, sent.encode())
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)] == [200, 404, 200]


def test_one_connection_serves_many_requests(stack: Stack) -> None:
    connection = HTTPConnection("127.0.0.1", stack.port, timeout=30)
    connection.connect()
    first = connection.sock
    for path, status in [("/healthz", 200), ("/", 200), ("/missing/", 404), ("/static/admin/css/base.css", 200)] * 5:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert connection.sock is first, f"closed after {path}"
    connection.close()


def test_pages_are_compressed(stack: Stack) -> None:
    with requests.get(stack.url + "/", headers={"Accept-Encoding": "gzip"}, stream=True) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert b"<html" in gzip.decompress(answer.raw.read(decode_content=False))
    assert "Content-Encoding" not in stack.get("/", headers={"Accept-Encoding": "identity"}).headers


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/missing/"])
def test_pages_carry_security_headers(stack: Stack, path: str) -> None:
    headers = stack.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Server"] == "nginx"
    assert "X-Powered-By" not in headers


def test_form_cookie_is_closed_to_other_sites(stack: Stack) -> None:
    cookie = stack.get("/").headers["Set-Cookie"]
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "PATCH"])
def test_other_methods_are_refused(stack: Stack, method: str) -> None:
    assert requests.request(method, stack.url + "/", timeout=30).status_code in (403, 405)


def test_chinese_and_emoji_names_round_trip(stack: Stack) -> None:
    name = f"猫咪-🐈-{uuid.uuid4().hex[:8]}.png"
    page = stack.upload(name=name)
    assert page.status_code == 200
    link = media_link(page)
    assert link == quote(f"/media/{name}")
    assert stack.get(link).content == picture()
    assert name in page.text
