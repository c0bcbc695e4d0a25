"""Make the screenshots that the README shows: desktop, phone, dark, Chinese, and more.

Usage: python tests/screenshots.py [FOLDER]    (docs/images unless given; starts a site of its own)
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from browser.landscapes import landscape, upload_file
from browser.server import CHROMIUM, run_site

ROOT = Path(__file__).resolve().parents[1]
DESKTOP = {"viewport": {"width": 1200, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
NAMES = (
    "Morning at the lake",
    "西湖 日出",
    "Evening train",
    "Käsefondue 🫕",
    "富士山",
    "IMG_2041",
    "Sunset over the long mountain range",
    "Dunes",
    "Nordlicht",
    "海边 🌊",
)
LETTER = {"name": "letter.png", "mimeType": "image/png", "buffer": b"no picture"}


def upload(page: Page, *files: dict[str, object]) -> None:
    page.set_input_files("#image_file", list(files))
    page.wait_for_selector(".row")
    page.locator(".row:is([data-state=waiting], [data-state=sending], [data-state=checking])").first.wait_for(
        state="detached", timeout=120_000
    )
    page.wait_for_timeout(1500)


def shoot(browser: Browser, site: str, folder: Path) -> None:
    """Write the PNG files into the folder."""

    def opened(path: str = "/", **options: object) -> Page:
        page = browser.new_context(**{**DESKTOP, "reduced_motion": "reduce", **options}).new_page()
        page.goto(site + path, wait_until="networkidle")
        return page

    def save(page: Page, name: str, **options: object) -> None:
        page.screenshot(path=folder / f"{name}.png", **options)
        page.context.close()

    save(opened(), "empty")
    page = opened()
    for part in range(3):
        sizes = [(1200, 900), (900, 1200), (1400, 800)]
        upload(
            page, *(upload_file(f"{name}.jpg", seed + 20 * part, sizes[seed % 3]) for seed, name in enumerate(NAMES))
        )
    page.context.close()
    save(opened(), "desktop")
    save(opened(color_scheme="dark"), "dark")
    save(opened(locale="zh-CN"), "chinese")
    save(opened(**PHONE), "phone")
    save(opened(**PHONE, color_scheme="dark", locale="zh-CN"), "phone-dark-chinese")
    page = opened()
    upload(page, upload_file("Bergsee im Herbst.jpg", 99, (1600, 1000)))
    save(page, "uploaded")
    page = opened()
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000}
    upload(page, upload_file("Harbour.jpg", 98), LETTER)
    network.send("Network.emulateNetworkConditions", limits)
    large = {"name": "Panorama.jpg", "mimeType": "image/jpeg", "buffer": landscape(97, (9000, 4000))}
    page.set_input_files("#image_file", [large, large | {"name": "Panorama 2.jpg"}, upload_file("Later.jpg", 96)])
    page.wait_for_timeout(2500)
    save(page, "uploading")
    page = opened()
    page.locator(".grid a").first.click()
    page.wait_for_load_state("networkidle")
    save(page, "picture", full_page=True)
    save(opened("/login/"), "sign-in")
    page = opened(java_script_enabled=False)
    page.set_input_files("#image_file", [upload_file("Plain.jpg", 95), LETTER])
    page.get_by_role("button", name="Upload").click()
    page.wait_for_load_state("networkidle")
    save(page, "without-javascript")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images"
    folder.mkdir(parents=True, exist_ok=True)
    with run_site() as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        shoot(browser, site, folder)
        browser.close()
    print(f"Screenshots are in {folder}")


if __name__ == "__main__":
    main()
