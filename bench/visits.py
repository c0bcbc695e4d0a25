"""What a visitor's browser fetches: requests and bytes of a first and a second visit."""

from pathlib import Path

from playwright.sync_api import BrowserContext, Request, sync_playwright

from browser.server import CHROMIUM


def missing() -> str:
    """Return what is missing for a visit, in one line, or nothing."""
    path = CHROMIUM["executable_path"]
    return "" if Path(path).exists() else f"no {path}: on Debian `apt-get install chromium`, or set CHROMIUM"


def visit(context: BrowserContext, url: str) -> dict[str, int]:
    """Open a page in a new tab; return requests, those for static files, and bytes of bodies as they were sent."""
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    cached: set[str] = set()

    def note(event: dict) -> None:
        if event["response"].get("fromDiskCache"):
            cached.add(event["response"]["url"])

    network.on("Network.responseReceived", note)
    memory: set[str] = set()
    network.on("Network.requestServedFromCache", lambda event: memory.add(event["requestId"]))
    ids: dict[str, str] = {}
    network.on("Network.requestWillBeSent", lambda event: ids.update({event["requestId"]: event["request"]["url"]}))
    finished: list[Request] = []
    page.on("requestfinished", finished.append)
    page.goto(url, wait_until="networkidle")
    cached |= {ids[number] for number in memory if number in ids}
    sent = [request for request in finished if request.url.startswith("http") and request.url not in cached]
    result = {
        "requests": len(sent),
        "static_requests": sum("/static/" in request.url for request in sent),
        "bytes": sum(request.sizes()["responseBodySize"] for request in sent),
    }
    page.close()
    return result


def measure(urls: dict[str, str]) -> dict[str, dict[str, dict[str, int]]]:
    """Visit each address twice with a browser of its own; return the figures by name."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        found = {}
        for name, url in urls.items():
            context = browser.new_context()
            found[name] = {"first": visit(context, url), "second": visit(context, url)}
            context.close()
        browser.close()
    return found
