"""Take the pictures in this folder: `python docs/pictures.py URL SEARCHING_URL`, of two servers.

The first is `ponder serve --price 0.15,0.60`; the second searches:
`ponder serve --port 8001 --search beam --samples 12 --width 3 --temperature 0.8`.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

FOLDER = Path(__file__).parent
LONG = "What is 847 × 629?"
DESK = {"viewport": {"width": 1180, "height": 760}, "device_scale_factor": 1.5}
SLOWLY = """() => { const decode = TextDecoderStream; window.TextDecoderStream = class extends decode {
  get readable() {
    return super.readable.pipeThrough(new TransformStream({ async transform(text, out) {
      for (const event of text.split(/(?<=\\n\\n)/)) {
        out.enqueue(event);
        await new Promise((done) => setTimeout(done, 400));
      }
    } }));
  }
} }"""
"""The embedded model has thought before a picture is taken: its events are read at the pace of a larger one."""
PHONE = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


def opened(browser: Browser, url: str, **how: object) -> Page:
    """A fresh page."""
    page = browser.new_context(**how).new_page()
    page.goto(url)
    expect(page.locator("#examples button")).to_have_count(9)
    return page


def ask(page: Page, question: str, *, wait: bool = True) -> None:
    """As a user does."""
    done = page.locator(".turn[data-state=done]")
    before = done.count()
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_label("Question", exact=True).press("Enter")
    if wait:
        expect(done).to_have_count(before + 1)


def take(page: Page, name: str) -> None:
    """Once nothing moves any more."""
    page.wait_for_timeout(500)
    page.screenshot(path=FOLDER / f"{name}.png")


def main(url: str, searching: str) -> None:
    """All of them."""
    expect.set_options(timeout=120_000)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--disable-dev-shm-usage"])
        take(opened(browser, url, color_scheme="light", **DESK), "welcome")
        page = opened(browser, url, color_scheme="dark", **DESK)
        ask(page, "What is 347 × 28?")
        page.locator(".fold").first.click()
        take(page, "dark")
        for scheme in ("light", "dark"):
            page = opened(browser, searching, color_scheme=scheme, **DESK)
            page.locator("#examples button").first.click()
            page.get_by_role("button", name="Tree of").click()
            expect(page.locator(".dot.kept")).not_to_have_count(0)
            take(page, f"tree-{scheme}")
        page = opened(browser, url, color_scheme="light", **DESK)
        page.evaluate(SLOWLY)
        ask(page, LONG, wait=False)
        expect(page.locator(".step .found").nth(2)).to_be_visible()
        page.screenshot(path=FOLDER / "thinking.png")
        page = opened(browser, url, color_scheme="light", **DESK)
        page.locator("#examples button").nth(4).click()
        expect(page.locator(".fact.right, .fact.wrong")).to_have_count(1)
        page.locator(".fold").first.click()
        take(page, "page")
        page = opened(browser, url, color_scheme="light", **PHONE)
        ask(page, "What is 347 × 28?")
        page.locator(".fold").first.click()
        take(page, "phone")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
