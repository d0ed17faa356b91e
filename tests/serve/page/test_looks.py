"""How the page looks and is reached: colours, widths, keys, names, and what its policy keeps out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.serve.page.stage import expect, needs_chromium

if TYPE_CHECKING:
    from tests.serve.page.stage import Seen

pytestmark = needs_chromium
LEAST_CONTRAST = 4.5
FAINT = """(least) => {
  const parse = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [red * scale, green * scale, blue * scale, alpha];
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const light = (rgb) => {
    const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    const [red, green, blue] = rgb.slice(0, 3).map((one) => linear(one / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const parents = (node) => (node ? [...parents(node.parentElement), node] : []);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode()); ) {
    const element = text.parentElement;
    if (!text.data.trim() || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest(":disabled, .unseen, option, noscript, [inert]")) continue;
    let behind = [255, 255, 255, 1];
    let seen = 1;
    for (const one of parents(element)) {
      const style = getComputedStyle(one);
      behind = over(parse(style.backgroundColor), behind);
      seen *= Number(style.opacity);
    }
    const style = getComputedStyle(element);
    const ink = parse(style.color);
    if (ink[3] === 0 && style.backgroundClip === "text") continue; // shimmers from one colour that is tested to another
    const [low, high] = [light(over([...ink.slice(0, 3), ink[3] * seen], behind)), light(behind)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least) found.push(`${contrast.toFixed(2)}: ${text.data.trim().slice(0, 40)}`);
  }
  return found;
}"""
"""All texts with less contrast than that."""
COLOURS = """() => [document.body, document.querySelector("#ask")].map((one) => getComputedStyle(one))
  .flatMap((style) => [style.color, style.backgroundColor])"""
NAMELESS = """() => [...document.querySelectorAll("button, a, input, select, textarea")]
  .filter((one) => one.checkVisibility() && !one.labels?.length)
  .filter((one) => !one.getAttribute("aria-label") && !one.textContent.trim())
  .map((one) => one.outerHTML)"""
"""What can be pressed or filled in, and is called nothing."""
FOCUS = """() => {
  const one = document.activeElement;
  const field = one.id === "question" && getComputedStyle(one.closest("form")).borderTopColor;
  return [one.id || one.className || one.textContent, field || getComputedStyle(one).outlineStyle];
}"""
"""What has the focus, and how it shows that: by an outline, or the field by its border."""


def test_all_text_can_be_read_in_the_light_and_in_the_dark(seen: Seen) -> None:
    page = seen.page
    colours: list[list[str]] = []
    for state in ("welcome", "thinking", "answered", "refused"):
        if state == "thinking":
            seen.ask("slow to be read")
            seen.sampler.go()
            expect(page.locator(".step")).to_have_count(1)
        elif state == "answered":
            seen.sampler.go(3)
            seen.done()
            page.locator(".fold").click()
        elif state == "refused":
            page.route("**/v1/responses", lambda route: route.fulfill(status=500, headers={"x-request-id": "req_1"}))
            seen.ask("slow refusal")
            seen.done("failed")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert not page.evaluate(FAINT, LEAST_CONTRAST), f"{state}, {scheme}"
            colours.append(page.evaluate(COLOURS))
    assert all(bright != dark for bright, dark in zip(*colours[:2], strict=True)), "the themes differ"
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    assert page.evaluate(FAINT, 22), "with the most that there can be, something is found: texts are looked at"


@pytest.mark.parametrize("seen", [{"color_scheme": "dark"}], indirect=True)
def test_the_dark_is_dark_from_the_first_moment(seen: Seen) -> None:
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)"


def test_nothing_from_elsewhere_runs_or_loads(seen: Seen) -> None:
    page = seen.page
    page.evaluate(
        """() => {
          window.kept = [];
          document.addEventListener("securitypolicyviolation", (event) => window.kept.push(event.effectiveDirective));
          const attempt = (act) => { try { act(); } catch (error) { window.kept.push(error.name); } };
          const script = document.createElement("script");
          attempt(() => script.append("window.pwned = 1"));
          attempt(() => document.body.append(script));
          const foreign = document.createElement("script");
          attempt(() => (foreign.src = "https://elsewhere.example/x.js"));
          attempt(() => document.body.append(foreign));
          attempt(() => (document.createElement("div").innerHTML = "<b>"));
          attempt(() => document.body.setAttribute("onclick", "window.pwned = 1"));
          document.body.click();
          const picture = document.createElement("img");
          picture.src = "https://elsewhere.example/x.png";
          document.body.append(picture);
          const frame = document.createElement("iframe");
          frame.src = "https://elsewhere.example/";
          document.body.append(frame);
          fetch("https://elsewhere.example/").catch(() => {});
        }"""
    )
    seen.until("['img-src', 'frame-src', 'connect-src'].every((one) => window.kept.includes(one))")
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("window.kept.includes('TypeError')"), "nothing here can write HTML"


def test_everything_has_a_name_and_shows_where_the_focus_is(seen: Seen) -> None:
    page = seen.page
    expect(page.locator("[aria-live=polite][role=status]")).to_have_count(1)
    assert not page.evaluate(NAMELESS)
    seen.ask("a question")
    seen.done()
    page.locator(".fold").click()
    assert not page.evaluate(NAMELESS)
    page.locator(".fold").focus()
    page.wait_for_timeout(200)
    resting = page.evaluate("getComputedStyle(document.querySelector('#ask')).borderTopColor")
    passed: list[str] = []
    for _ in range(14):
        page.keyboard.press("Tab")
        page.wait_for_timeout(30)
        name, shown = page.evaluate(FOCUS)
        if page.evaluate("document.activeElement === document.body"):
            continue
        passed.append(name)
        assert shown not in ("none", resting), f"{name} does not show that it has the focus"
    assert {"question", "model", "effort", "new"} <= set(passed)


def test_everything_works_by_keyboard(seen: Seen) -> None:
    page = seen.page
    expect(page.get_by_label("Question", exact=True)).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    seen.done()
    expect(page.locator(".bubble")).to_have_text("one\ntwo")
    fold = page.locator(".fold")
    fold.focus()
    for key, state in (("Enter", "true"), ("Space", "false"), ("Enter", "true")):
        page.keyboard.press(key)
        expect(fold).to_have_attribute("aria-expanded", state)
    expect(page.locator(".step strong").first).to_be_visible()
    for name in ("Model", "Effort"):
        page.get_by_label(name).focus()
        expect(page.get_by_label(name)).to_be_focused()
    page.get_by_label("Effort").select_option("none")
    seen.ask("at once")
    seen.done(count=2)
    assert seen.sent[-1]["reasoning"]["effort"] == "none"
    expect(page.locator(".turn").nth(1).locator(".thought")).to_be_hidden()


@pytest.mark.parametrize(
    "seen", [{"viewport": {"width": 340, "height": 640}, "reduced_motion": "reduce"}], indirect=True
)
def test_a_narrow_screen_without_motion(seen: Seen) -> None:
    page = seen.page
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(wide)
    seen.ask("slow " + "long" * 60)
    expect(page.locator(".thought.thinking")).to_be_visible()
    assert page.locator(".headline").evaluate("one => getComputedStyle(one).animationName") == "none"
    seen.sampler.go(4)
    seen.done()
    assert not page.evaluate(wide)
    expect(page.locator("#side")).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(page.locator("#chats li")).to_have_count(1)
    page.get_by_role("button", name="New chat").first.click()
    expect(page.locator("#welcome")).to_be_visible()
