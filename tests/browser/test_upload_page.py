"""A real browser on the upload page."""

import re
import time
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, FileChooser, Page, Route, expect

from browser.landscapes import landscape, upload_file

BAD = {"name": "letter.png", "mimeType": "image/png", "buffer": b"no picture at all"}


# What a screen reader would have said by now, in window.said.
COLLECT_ANNOUNCEMENTS = """
window.said = "";
addEventListener("DOMContentLoaded", () => {
    const region = document.getElementById("announcements");
    if (!region) return;
    new MutationObserver(() => { window.said += region.textContent + "\\n"; }).observe(region, { childList: true });
});
"""


@pytest.fixture
def page(page: Page, site_url: str) -> Iterator[Page]:
    """The upload page, just opened; fails when the page's code does, or breaks the content security policy."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    page.add_init_script(COLLECT_ANNOUNCEMENTS)
    page.goto(f"{site_url}/")
    yield page
    assert problems == []


def row(page: Page, name: str):
    """The line of the upload with this name."""
    return page.locator("#uploads > li").filter(has_text=name)


def assert_said(page: Page, text: str) -> None:
    """Wait until the page has announced this."""
    deadline = time.monotonic() + 10
    while text not in page.evaluate("window.said"):
        assert time.monotonic() < deadline, page.evaluate("window.said")
        page.wait_for_timeout(100)


def choose(page: Page, *files: dict) -> None:
    page.set_input_files("#image_file", list(files))


def assert_accessible(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def give(page: Page, kind: str, *names: str) -> None:
    """Drop or paste pictures, as the browser tells the page that somebody did."""
    content = list(landscape(7, (300, 200)))
    page.evaluate_handle(
        """([kind, names, content]) => {
            const transfer = new DataTransfer();
            for (const name of names)
                transfer.items.add(new File([new Uint8Array(content)], name, { type: "image/jpeg" }));
            const options = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(kind === "paste"
                ? new ClipboardEvent(kind, { clipboardData: transfer, ...options })
                : new DragEvent(kind, { dataTransfer: transfer, ...options }));
        }""",
        [kind, names, content],
    )


def test_choosing_a_picture(page: Page, site_url: str) -> None:
    choose(page, upload_file("My cat.jpg", 1))
    done = row(page, "My cat")
    expect(done).to_have_attribute("data-state", "done")
    link = done.locator(".link a")
    address = link.get_attribute("href")
    assert re.fullmatch(r"/media/My%20cat\w*\.jpg", address)
    expect(link).to_have_text(f"{site_url}{address}")
    assert page.request.get(f"{site_url}{address}").body() == upload_file("My cat.jpg", 1)["buffer"]
    expect(done.locator(".preview")).to_have_js_property("complete", True)
    assert done.locator(".preview").evaluate("image => image.naturalWidth") == 480
    # The list below follows without a reload.
    expect(page.locator("#newest li").first).to_contain_text("My cat.jpg")
    assert_said(page, "My cat.jpg is uploaded")


def test_choosing_several_one_of_them_bad(page: Page) -> None:
    choose(page, upload_file("one.jpg", 1), BAD, upload_file("two.jpg", 2))
    expect(row(page, "one.jpg")).to_have_attribute("data-state", "done")
    expect(row(page, "two.jpg")).to_have_attribute("data-state", "done")
    bad = row(page, "letter.png")
    expect(bad).to_have_attribute("data-state", "failed")
    expect(bad.locator(".message")).to_contain_text("no picture of a known type")
    assert_said(page, "letter.png was not uploaded")


def test_dropping(page: Page) -> None:
    give(page, "dragover", "first.jpg")
    expect(page.locator("body")).to_have_class("dragging")
    give(page, "drop", "first.jpg", "second.jpg")
    expect(page.locator("body")).not_to_have_class("dragging")
    expect(row(page, "first.jpg")).to_have_attribute("data-state", "done")
    expect(row(page, "second.jpg")).to_have_attribute("data-state", "done")


def test_pasting(page: Page) -> None:
    give(page, "paste", "screenshot.jpg", "another.jpg")
    expect(row(page, "screenshot.jpg")).to_have_attribute("data-state", "done")
    expect(row(page, "another.jpg")).to_have_attribute("data-state", "done")


def test_copying_the_link(page: Page, site_url: str) -> None:
    choose(page, upload_file("copied.jpg", 1))
    row(page, "copied.jpg").get_by_role("button", name="Copy link").click()
    assert_said(page, "Copied")
    link = row(page, "copied.jpg").locator(".link a")
    page.evaluate("document.body.append(document.createElement('textarea'))")
    page.locator("body > textarea").focus()
    page.keyboard.press("Control+V")
    expect(page.locator("body > textarea")).to_have_value(site_url + link.get_attribute("href"))


def slow_down(page: Page, context: BrowserContext, bytes_per_second: int) -> None:
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second}
    network.send("Network.emulateNetworkConditions", limits)


def test_progress_moves_on_a_slow_connection(page: Page, context: BrowserContext) -> None:
    slow_down(page, context, 100_000)
    choose(page, upload_file("slow.jpg", 3, (3000, 2250)))
    slow = row(page, "slow.jpg")
    progress, seen = slow.locator("progress"), set()
    expect(slow.locator(".preview")).to_be_visible()
    deadline = time.monotonic() + 60
    while slow.get_attribute("data-state") in ("waiting", "sending") and time.monotonic() < deadline:
        seen.add(progress.get_attribute("value"))
        page.wait_for_timeout(50)
    values = sorted(float(value) for value in seen if value)
    assert len(values) > 3, values
    assert values[0] < 50 < values[-1] <= 100
    expect(slow).to_have_attribute("data-state", "done", timeout=60_000)


def test_cancelling(page: Page, context: BrowserContext) -> None:
    slow_down(page, context, 20_000)
    choose(page, *(upload_file(f"cancel {index}.jpg", index, (1200, 900)) for index in range(3)))
    sending, queued = row(page, "cancel 0"), row(page, "cancel 2")
    expect(sending).to_have_attribute("data-state", "sending")
    expect(queued).to_have_attribute("data-state", "waiting")
    for each in (queued, sending, row(page, "cancel 1")):
        each.get_by_role("button", name="Cancel").click()
        expect(each).to_have_attribute("data-state", "cancelled")
    assert_said(page, "Cancelled")
    expect(page.locator("#image_file")).to_be_focused()
    page.reload()
    expect(page.locator("#newest")).not_to_contain_text("cancel 0")


def test_too_large_is_said_before_it_is_sent(page: Page) -> None:
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    page.evaluate("document.getElementById('upload').dataset.maxMb = 0.01")
    choose(page, upload_file("large.jpg", 1))
    expect(row(page, "large.jpg").locator(".message")).to_contain_text("Too large")
    assert "POST" not in sent


def answers(*first: Callable[[Route], None]) -> Callable[[Route], None]:
    """Handle the first POSTs like this, and let all others through."""
    remaining = list(first)

    def handle(route: Route) -> None:
        if route.request.method == "POST" and remaining:
            remaining.pop(0)(route)
        else:
            route.continue_()

    return handle


HTML = {"content_type": "text/html", "body": "<h1>nginx</h1>"}


def test_too_many_requests_are_sent_again_when_the_server_says(page: Page) -> None:
    too_many = {"status": 429, "headers": {"Retry-After": "2"}, "body": '{"error": {"code": "rate", "message": "x"}}'}
    page.route("**/", answers(lambda route: route.fulfill(**too_many), lambda route: route.fulfill(status=503, **HTML)))
    choose(page, upload_file("again.jpg", 1))
    expect(row(page, "again.jpg").locator(".message")).to_contain_text("The server is busy")
    expect(row(page, "again.jpg")).to_have_attribute("data-state", "done", timeout=15_000)


@pytest.mark.parametrize(("status", "message"), [(413, "Too large"), (502, "could not take"), (504, "(504)")])
def test_answers_of_nginx_that_are_not_json(page: Page, status: int, message: str) -> None:
    page.route("**/", answers(lambda route: route.fulfill(status=status, **HTML)))
    choose(page, upload_file("nginx.jpg", 1))
    expect(row(page, "nginx.jpg").locator(".message")).to_contain_text(message)


def test_a_lost_connection_and_another_try(page: Page) -> None:
    page.route("**/", answers(lambda route: route.abort("connectionreset")))
    choose(page, upload_file("lost.jpg", 1))
    lost = row(page, "lost.jpg")
    expect(lost.locator(".message")).to_contain_text("connection was lost")
    assert_accessible(page)
    lost.get_by_role("button", name="Try lost.jpg again").click()
    expect(lost).to_have_attribute("data-state", "done")


def test_the_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Pictures")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#image_file")).to_be_focused()
    outline = page.locator("label.button").evaluate("label => getComputedStyle(label).outlineStyle")
    assert outline == "solid"
    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    # A browser on a busy machine can miss the first key.
    for _ in range(20):
        page.keyboard.press("Space")
        page.wait_for_timeout(500)
        if choosers:
            break
    choosers[0].set_files([upload_file("keys.jpg", 1)])
    expect(row(page, "keys.jpg")).to_have_attribute("data-state", "done")
    for _ in range(3):
        page.keyboard.press("Tab")
    copy = row(page, "keys.jpg").locator(".copy")
    expect(copy).to_be_focused()
    page.keyboard.press("Enter")
    expect(copy).to_have_text("Copied")
    expect(copy).to_be_focused()


def test_pages_and_a_picture_of_its_own(page: Page, site_url: str) -> None:
    choose(page, *(upload_file(f"page {index}.jpg", index, (80, 60)) for index in range(26)))
    expect(page.locator("#uploads > [data-state=done]")).to_have_count(26, timeout=60_000)
    expect(page.get_by_role("link", name="Older")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="Older").click()
    expect(page).to_have_url(re.compile(r"\?page=2"))
    expect(page.get_by_text("Page 2 of")).to_be_visible()
    page.get_by_role("link", name="Newer").click()
    page.locator("#newest .grid a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("page ")
    for fact in ("Name", "Size", "Dimensions", "Type", "Uploaded", "SHA-256"):
        expect(page.get_by_text(fact, exact=True)).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_for_the_accessibility_checker(page: Page, site_url: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    assert_accessible(page)
    choose(page, upload_file("seen.jpg", 1), BAD)
    expect(row(page, "seen.jpg")).to_have_attribute("data-state", "done")
    expect(row(page, "letter.png")).to_have_attribute("data-state", "failed")
    assert_accessible(page)
    for path in ("/login/", "/nothing-here/"):
        page.goto(site_url + path)
        if "DEBUG = True" not in page.content():
            assert_accessible(page)


def test_the_first_visit_is_small_and_asks_no_other_host(page: Page, site_url: str) -> None:
    sizes: dict[str, int] = {}
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    addresses: dict[str, str] = {}
    network.on(
        "Network.requestWillBeSent", lambda event: addresses.update({event["requestId"]: event["request"]["url"]})
    )
    network.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(f"{site_url}/", wait_until="networkidle")
    assert all(address.startswith(site_url) for address in addresses.values()), addresses
    counted = {addresses[key]: size for key, size in sizes.items() if "/media/" not in addresses.get(key, "/media/")}
    assert len(counted) >= 4
    assert sum(counted.values()) < 30_000, counted


def test_a_phone(browser, site_url: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{site_url}/")
    choose(page, upload_file("a-name-without-any-space-that-is-longer-than-the-screen-is-wide.jpg", 1), BAD)
    expect(row(page, "a-name")).to_have_attribute("data-state", "done")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert_accessible(page)
    context.close()


def test_chinese_by_the_browsers_language(browser, site_url: str) -> None:
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(f"{site_url}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("上传图片")
    choose(page, BAD, upload_file("你好.jpg", 1))
    expect(row(page, "letter.png").locator(".message")).to_contain_text("图片")
    expect(row(page, "你好").get_by_role("button")).to_have_text("复制链接")
    assert_accessible(page)
    context.close()


def test_without_javascript(browser, site_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site_url}/")
    expect(page.get_by_label("Choose pictures")).to_be_visible()
    choose(page, upload_file("plain.jpg", 1))
    page.get_by_role("button", name="Upload").click()
    link = page.locator("#uploads .link a")
    expect(link).to_have_text(re.compile(r"/media/plain\w*\.jpg"))
    assert page.request.get(site_url + link.get_attribute("href")).ok
    choose(page, BAD, upload_file("fine.jpg", 2))
    page.get_by_role("button", name="Upload").click()
    expect(row(page, "letter.png").locator(".message")).to_contain_text("no picture of a known type")
    expect(row(page, "fine.jpg").locator(".link a")).to_be_visible()
    context.close()
