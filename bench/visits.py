"""What a visitor's browser fetches: requests and bytes of a first and a second visit."""

from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

from bench import wait_for
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
    urls: dict[str, str] = {}
    cached: set[str] = set()
    sizes: dict[str, int] = {}
    over: set[str] = set()

    def began(event: dict) -> None:
        urls[event["requestId"]] = event["request"]["url"]

    def answered(event: dict) -> None:
        # So far only the head has come; on a busy machine the end can be told first.
        sizes[event["requestId"]] = sizes.get(event["requestId"], 0) - event["response"]["encodedDataLength"]
        if event["response"].get("fromDiskCache"):
            cached.add(event["requestId"])

    def finished(event: dict) -> None:
        sizes[event["requestId"]] = sizes.get(event["requestId"], 0) + event["encodedDataLength"]
        over.add(event["requestId"])

    def sent() -> list[str]:
        # Pictures that are part of the stylesheet are requests to nobody.
        return [number for number, url in urls.items() if url.startswith("http") and number not in cached]

    def all_over() -> bool:
        page.wait_for_timeout(50)
        return over.issuperset(sent())

    network.on("Network.requestWillBeSent", began)
    network.on("Network.responseReceived", answered)
    network.on("Network.requestServedFromCache", lambda event: cached.add(event["requestId"]))
    network.on("Network.loadingFinished", finished)
    network.on("Network.loadingFailed", lambda event: over.add(event["requestId"]))
    page.goto(url, wait_until="networkidle")
    # Which does not wait for the icon.
    wait_for(all_over, 30, f"the requests of {url} are over")
    page.close()
    return {
        "requests": len(sent()),
        "static_requests": sum("/static/" in urls[number] for number in sent()),
        "bytes": sum(sizes.get(number, 0) for number in sent()),
    }


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
