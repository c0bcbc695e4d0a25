"""Bad input, crowds and full disks, sent through nginx to both production stacks."""

import hashlib
import io
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from PIL import Image

from bench import Stack, wait_for
from upload.tests.pictures import TYPES, draw, gif, picture, png
from upload.tests.test_bad_input import HTML, PDF, PHP, SVG, zipped
from upload.tests.test_fuzz import good_files, spoil

MEDIA_MB = 192

REFUSED = {
    "empty": ("a.png", b"", "image/png"),
    "truncated": ("a.jpg", picture("jpg")[:-9], "image/jpeg"),
    "html": ("a.png", HTML, "image/png"),
    "svg": ("a.png", SVG, "image/png"),
    "pdf": ("a.gif", PDF, "image/gif"),
    "zip": ("a.webp", zipped(), "image/webp"),
    "script": ("a.jpg", PHP, "image/jpeg"),
    "random bytes": ("a.png", random.Random(1).randbytes(5000), "image/png"),
    "polyglot": ("a.gif", picture("gif") + HTML, "image/gif"),
    "picture and zip": ("a.png", picture("png") + zipped(), "image/png"),
    "huge header": ("a.png", png(width=60_000, height=60_000), "image/png"),
    "compressed text": ("a.png", png((b"zTXt", b"a\0\0" + b"x" * 200)), "image/png"),
    "thousands of frames": ("a.gif", gif(3000), "image/gif"),
    "picture as html": ("a.html", picture("png"), "text/html"),
    "picture as svg": ("a.svg", picture("png"), "image/svg+xml"),
    "picture as php": ("a.php", picture("png"), "application/x-php"),
    "double extension": ("a.php.png", picture("png"), "image/png"),
    "trailing dot": ("a.png.", picture("png"), "image/png"),
    "null byte": ("a.png%00.html", picture("png"), "image/png"),
    "up and away": ("../../a.png", picture("png"), "image/png"),
    "up and away on Windows": ("..\\..\\a.png", picture("png"), "image/png"),
    "long name": ("a" * 300 + ".png", picture("png"), "image/png"),
    "reserved name": ("con.png", picture("png"), "image/png"),
    "right-to-left mark": ("a\u202egpj.png", picture("png"), "image/png"),
    "another type": ("a.png", picture("gif"), "image/png"),
    "declared as text": ("a.png", picture("png"), "text/html"),
}


@pytest.fixture(scope="module", params=["prod", "uwsgi"])
def crowd(request: pytest.FixtureRequest, make_stack) -> Iterator[Stack]:
    """A stack without rate limits whose uploads are on a small disk of their own."""
    stack: Stack = make_stack(request.param, "crowd", own_tree=True)
    env = stack.folder / stack.env_file
    env.write_text(env.read_text().replace("#UPLOAD_RATE=60/m", "UPLOAD_RATE=off"))
    compose = stack.folder / stack.file
    # uid, gid: what an ordinary volume inherits from the image.
    disk = f'{{type: tmpfs, device: tmpfs, o: "size={MEDIA_MB}m,uid=1000,gid=1000,mode=0755"}}'
    text = compose.read_text()
    assert "\n  media_vol:\n" in text
    compose.write_text(text.replace("\n  media_vol:\n", f"\n  media_vol:\n    driver_opts: {disk}\n"))
    stack.make(f"up{stack.suffix}")
    yield stack
    stack.remove()


def files(stack: Stack) -> set[str]:
    """Return all files on the media volume, temporary ones included."""
    return set(stack.execute("web", "sh", "-c", "cd mediafiles && find . -type f").stdout.split("\n")) - {""}


def rows(stack: Stack) -> int:
    code = "from upload.models import Picture; print(Picture.objects.count())"
    return int(stack.python(code).split()[-1])


def processes(stack: Stack) -> set[str]:
    """Return the ids of web's processes, with those of their children."""
    found = stack.execute("web", "sh", "-c", "ls -d /proc/[0-9]*/task/*/children && cat /proc/1/task/1/children").stdout
    return set(found.strip().split("\n")[-1].split())


def signed(stack: Stack) -> requests.Session:
    session = requests.Session()
    session.get(stack.url + "/", timeout=30).raise_for_status()
    return session


def test_bad_input_is_refused_and_leaves_nothing(crowd: Stack) -> None:
    before, count, workers = files(crowd), rows(crowd), processes(crowd)
    session = signed(crowd)
    for what, (name, content, media_type) in REFUSED.items():
        answer = crowd.upload(content, name, media_type, session, accept="application/json")
        if what == "compressed text":  # harmless as it is, or refused: never an error of ours
            assert answer.status_code in (201, 400, 415), (what, answer.text)
            continue
        assert 400 <= answer.status_code < 500, (what, answer.status_code, answer.text[:300])
        assert set(answer.json()["error"]) == {"code", "message"}, what
        page = crowd.upload(content, name, media_type, session)
        assert page.status_code == answer.status_code, what
        assert "<html" in page.text, what
    answer = crowd.upload(png((b"zTXt", b"a\0\0" + b"x" * 200)), "b.png", session=session, accept="application/json")
    kept = rows(crowd) - count
    assert len(files(crowd) - before) == 2 * kept
    assert kept <= 2
    assert processes(crowd) == workers, "a worker has died"


def test_broken_requests_are_refused(crowd: Stack) -> None:
    before = files(crowd)
    session = signed(crowd)
    token = session.cookies["csrftoken"]
    headers = {"Accept": "application/json", "X-CSRFToken": token, "Origin": crowd.url}
    kind = "multipart/form-data; boundary=frontier"
    good = ("a.png", picture("png"), "image/png")
    for what, options in {
        "no file": {"data": {"x": "y"}},
        "wrong field": {"files": {"file": good}},
        "several": {"files": [("image_file", good), ("image_file", good)]},
        "no boundary": {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        "no end": {"data": b"--frontier\r\nContent-Disposition: form-data", "headers": {"Content-Type": kind}},
        "json": {"json": {"image_file": "x"}},
    }.items():
        given = options.pop("headers", {})
        answer = session.post(crowd.url + "/", headers=headers | given, timeout=30, **options)
        assert 400 <= answer.status_code < 500, (what, answer.status_code)
        assert answer.json()["error"]["message"], what
    no_token = requests.post(
        crowd.url + "/", files={"image_file": good}, headers={"Accept": "application/json"}, timeout=30
    )
    assert (no_token.status_code, no_token.json()["error"]["code"]) == (403, "csrf_failed")
    assert files(crowd) == before


def test_too_large_with_and_without_a_length(crowd: Stack) -> None:
    before = files(crowd)
    session = signed(crowd)
    too_large = bytes(25 * 2**20 + 1)
    over_all = bytes(40 * 2**20)
    for content in (too_large, over_all):
        for accept in ("application/json", "text/html"):
            answer = crowd.upload(content, session=session, accept=accept)
            assert answer.status_code == 413
            assert "25 MB" in answer.text
    headers = {
        "Accept": "application/json",
        "X-CSRFToken": session.cookies["csrftoken"],
        "Content-Type": "multipart/form-data; boundary=frontier",
    }

    def chunks() -> Iterator[bytes]:
        yield b'--frontier\r\nContent-Disposition: form-data; name="image_file"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield bytes(2**20)

    # nginx may answer and close while the rest is still being sent.
    try:
        answer = session.post(crowd.url + "/", data=chunks(), headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    except requests.ConnectionError:
        assert crowd.answers()
    assert files(crowd) == before


def test_a_client_that_goes_away_leaves_nothing(crowd: Stack) -> None:
    before = files(crowd)
    token = signed(crowd).cookies["csrftoken"]
    for part in (100, 100_000, 1_000_000):
        with socket.create_connection(("127.0.0.1", crowd.port)) as line:
            head = f"POST / HTTP/1.1\r\nHost: localhost:{crowd.port}\r\n"
            head += f"Cookie: csrftoken={token}\r\nX-CSRFToken: {token}\r\n"
            head += "Content-Type: multipart/form-data; boundary=frontier\r\nContent-Length: 2000000\r\n\r\n"
            body = b'--frontier\r\nContent-Disposition: form-data; name="image_file"; filename="a.png"\r\n\r\n'
            line.sendall(head.encode() + body + bytes(part))
    wait_for(
        lambda: not crowd.execute("nginx", "find", "/var/cache/nginx/body", "-type", "f").stdout.strip(),
        what="nginx deletes the bodies",
    )
    assert files(crowd) == before
    assert "Traceback" not in crowd.logs("web")


def test_spoilt_files_never_hurt(crowd: Stack) -> None:
    chance = random.Random(2026)
    good = good_files()
    before, count, workers = files(crowd), rows(crowd), processes(crowd)
    session = signed(crowd)
    statuses: Counter[int] = Counter()
    for number in range(200):
        extension, content = chance.choice(good)
        content = spoil(content, chance.choice(good)[1], chance)
        answer = crowd.upload(content, f"f{number}.{extension}", TYPES[extension], session, "application/json")
        assert answer.status_code in (201, 400, 415), (number, answer.status_code, answer.text[:300])
        statuses[answer.status_code] += 1
    assert rows(crowd) - count == statuses[201]
    assert len(files(crowd) - before) == 2 * statuses[201]
    assert statuses[201] > 0
    assert statuses.total() > statuses[201]
    assert processes(crowd) == workers


def test_a_hundred_uploads_of_one_name(crowd: Stack) -> None:
    count, before = rows(crowd), files(crowd)
    sessions = [signed(crowd) for _ in range(10)]
    contents = [picture("png", (40 + number, 30)) for number in range(100)]

    def send(number: int) -> requests.Response:
        return crowd.upload(contents[number], "同名 😀.png", session=sessions[number % 10], accept="application/json")

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(send, range(100)))
    assert Counter(answer.status_code for answer in answers) == {201: 100}
    urls = [answer.json()["url"] for answer in answers]
    assert len(set(urls)) == 100
    for url, content in list(zip(urls, contents, strict=True))[::7]:
        assert crowd.get(url).content == content
    assert rows(crowd) - count == 100
    assert len(files(crowd) - before) == 200


def test_eight_pictures_of_forty_megapixels_at_once(crowd: Stack) -> None:
    output = io.BytesIO()
    draw((7304, 5478)).save(output, "JPEG", quality=40)
    workers = processes(crowd)
    (container,) = crowd.inspect("web")
    sessions = [signed(crowd) for _ in range(8)]

    def send(session: requests.Session) -> requests.Response:
        return crowd.upload(output.getvalue(), "large.jpg", "image/jpeg", session, "application/json")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, sessions))
    for answer in answers:
        assert answer.status_code in (201, 503), answer.text[:300]
        if answer.status_code == 503:
            assert (answer.json()["error"]["code"], answer.headers["Retry-After"]) == ("busy", "5")
    assert 201 in {answer.status_code for answer in answers}
    assert processes(crowd) == workers, "a worker has died"
    (after,) = crowd.inspect("web")
    assert after["State"]["OOMKilled"] is False
    assert after["State"]["StartedAt"] == container["State"]["StartedAt"]


def test_a_full_disk_refuses_and_recovers(crowd: Stack) -> None:
    first = crowd.upload(picture("png"), "before.png", accept="application/json").json()
    # 300 KB are left, and an upload of a megabyte does not fit.
    crowd.execute("web", "sh", "-c", "cat /dev/zero > mediafiles/.filler", check=False)
    crowd.execute("web", "sh", "-c", "truncate -s -300K mediafiles/.filler")
    noise = random.Random(3).randbytes(600 * 600 * 3)
    output = io.BytesIO()
    Image.frombytes("RGB", (600, 600), noise).save(output, "PNG")
    before, count = files(crowd), rows(crowd)
    try:
        for accept in ("application/json", "text/html"):
            answer = crowd.upload(output.getvalue(), "full.png", accept=accept)
            assert answer.status_code == 507, answer.text[:300]
            assert "disk is full" in answer.text
        assert answer.headers["Content-Type"].startswith("text/html")
        assert files(crowd) == before
        assert rows(crowd) == count
        assert crowd.get(first["url"]).content == picture("png")
    finally:
        crowd.execute("web", "rm", "mediafiles/.filler")
    again = crowd.upload(output.getvalue(), "full.png", accept="application/json")
    assert again.status_code == 201
    assert again.json()["sha256"] == hashlib.sha256(output.getvalue()).hexdigest()


def test_table_and_disk_agree_in_the_end(crowd: Stack) -> None:
    assert "Nothing wrong" in crowd.execute("web", "python", "manage.py", "check_uploads").stdout


def burst(stack: Stack, path: str, number: int, accept: str) -> list[tuple[int, str]]:
    """POST so often from inside nginx's container, which is a client that no other test is; status and Retry-After."""
    words = ["-s", "-o", "/tmp/answer", "-X", "POST", "-H", f"Accept: {accept}"]
    words += ["-w", "%{http_code} %header{retry-after}\\n", f"http://127.0.0.1{path}?[1-{number}]"]
    lines = stack.execute("nginx", "curl", *words).stdout.strip().split("\n")
    return [(int(status), wait) for status, _, wait in (line.partition(" ") for line in lines)]


def test_rates_are_limited_with_a_time_to_come_back(stack: Stack) -> None:
    # Without a token each is a 403 of Django's, which counts like an upload.
    answers = burst(stack, "/", 130, "application/json")
    assert [status for status, _ in answers[:60]] == [403] * 60, "sixty pictures at once must pass"
    assert answers[-1][0] == 429
    assert 1 <= int(answers[-1][1]) <= 60
    answer = json.loads(stack.execute("nginx", "cat", "/tmp/answer").stdout)
    assert answer["error"]["code"] == "too_many_requests"
    assert answers[-1][1] in answer["error"]["message"]
    assert burst(stack, "/", 3, "text/html")[-1][0] == 429
    assert "<h1>" in stack.execute("nginx", "cat", "/tmp/answer").stdout
    # Reading goes on, and other clients do not notice.
    assert stack.answers("/")
    assert stack.upload(name="other-client.png").status_code == 200


def test_sign_ins_are_limited(stack: Stack) -> None:
    for path in ("/login/", "/admin/login/"):
        answers = burst(stack, path, 25, "text/html")
        assert answers[-1][0] == 429
        assert int(answers[-1][1]) >= 1
    assert stack.answers("/login/")


def test_limits_can_be_switched_off(crowd: Stack) -> None:
    assert {status for status, _ in burst(crowd, "/", 150, "application/json")} == {403}


def test_many_threads_read_while_pictures_arrive(crowd: Stack) -> None:
    """The list is right at once in every process: each upload is on the next page that anybody loads."""
    failures: list[str] = []

    def check(number: int) -> None:
        session = signed(crowd)
        for turn in range(5):
            name = f"seen-{number}-{turn}.png"
            page = crowd.upload(picture("png", (30, 20)), name, session=session, accept="application/json").json()
            for _ in range(3):
                if page["page_url"] not in crowd.get("/").text:
                    failures.append(name)

    threads = [threading.Thread(target=check, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
