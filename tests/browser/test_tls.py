"""A browser that trusts the local authority: no warning, and the admin and an upload over HTTPS.

Chromium on Linux reads the authorities that its user added from an NSS database; certutil (libnss3-tools) puts ours in.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserType, Error, Page, Response, expect

from bench import PREFIX, Stack, copy_tree, picture, run
from browser.server import CHROMIUM

NAME = "admin"
PASSWORD = "pa55word-of-the-tests"


@pytest.fixture(scope="module", params=["prod", "uwsgi"])
def site(request: pytest.FixtureRequest, engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Each production stack with TLS=local and an account for the admin."""
    folder = tmp_path_factory.mktemp("tree")
    copy_tree(folder)
    stack = Stack(request.param, folder, f"{PREFIX}-{os.getpid()}-padlock-{request.param}")
    try:
        stack.set(TLS="local")
        stack.make(f"up{stack.suffix}")
        account = ["createsuperuser", "--noinput", "--username", NAME, "--email", "a@site.example"]
        variables = ["--env", f"DJANGO_SUPERUSER_PASSWORD={PASSWORD}"]
        stack.compose("exec", "-T", *variables, "web", "python", "manage.py", *account)
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def page(request: pytest.FixtureRequest, site: Stack, browser_type: BrowserType, tmp_path: Path) -> Iterator[Page]:
    """A page of a fresh browser, with the authority trusted or not."""
    if request.param:
        certutil = shutil.which("certutil")
        assert certutil, "certutil is not installed: the package is libnss3-tools"
        database = tmp_path / ".pki/nssdb"
        database.mkdir(parents=True)
        run(certutil, "-d", f"sql:{database}", "-N", "--empty-password")
        authority = str(site.folder / "secrets/tls/authority.crt")
        run(certutil, "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "local-authority", "-i", authority)
    browser = browser_type.launch(**CHROMIUM, env={**os.environ, "HOME": str(tmp_path)})
    yield browser.new_page()
    browser.close()


def visit(page: Page, address: str) -> Response:
    """Go there; again where Chromium noticed that the engine made or removed a network for somebody else."""
    for _ in range(9):
        try:
            return page.goto(address)
        except Error as error:
            # "interrupted" is by the page that says so.
            if not any(words in str(error) for words in ("ERR_NETWORK_CHANGED", "chrome-error:")):
                raise
            page.wait_for_timeout(500)
    raise AssertionError(f"{address}: the network changes all the time")


def sign_in(page: Page, site: Stack) -> None:
    """Sign in to the admin; again where the network changed under the form."""
    failures: list[str] = []
    page.on("requestfailed", lambda request: failures.append(f"{request.method} {request.url}: {request.failure}"))
    for _ in range(4):
        page.fill("#login-form [name=username]", NAME)
        page.fill("#login-form [name=password]", PASSWORD)
        page.click("#login-form [type=submit]", no_wait_after=True)
        with contextlib.suppress(Error):
            page.wait_for_url(f"{site.https_url}/admin/", timeout=15_000)
            return
        # Signed in, and only the answer was lost: this is the admin then.
        visit(page, f"{site.https_url}/admin/")
        if page.url == f"{site.https_url}/admin/":
            return
    raise AssertionError(f"not signed in: {page.url}: {failures}")


def upload(page: Page, site: Stack, path: Path) -> None:
    """Choose a picture on the upload page, wait until it is kept; again where the network changed under the page."""
    rows = []
    for _ in range(4):
        visit(page, site.https_url)
        page.set_input_files("#image_file", str(path))
        with contextlib.suppress(AssertionError):
            return expect(page.locator("#uploads .row[data-state=done]")).to_have_count(1, timeout=15_000)
        rows.append(page.inner_text("#uploads"))
    raise AssertionError(f"not uploaded: {rows}")


@pytest.mark.parametrize("page", [False], indirect=True)
def test_without_the_authority_the_browser_refuses(site: Stack, page: Page) -> None:
    """Or the tests below would prove nothing."""
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        visit(page, site.https_url)


@pytest.mark.parametrize("page", [True], indirect=True)
def test_admin_and_upload_with_the_authority_trusted(site: Stack, page: Page, tmp_path: Path) -> None:
    answer = visit(page, f"{site.url}/admin/")
    assert answer.url.startswith(f"{site.https_url}/admin/login/")
    assert answer.security_details()["protocol"] == "TLS 1.3"
    assert page.evaluate("window.isSecureContext")
    sign_in(page, site)
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["sessionid"]["secure"]
    assert cookies["csrftoken"]["secure"]

    # What the page loads is all HTTPS.
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    content = picture(size=(320, 200))
    (tmp_path / "padlock.png").write_bytes(content)
    upload(page, site, tmp_path / "padlock.png")
    address = page.locator("#uploads .row[data-state=done] .link a").evaluate("link => link.href")
    assert address.startswith(f"{site.https_url}/media/")
    assert page.request.get(address, ignore_https_errors=True).body() == content
    assert loaded
    assert [url for url in loaded if not url.startswith((site.https_url, "blob:", "data:"))] == []
