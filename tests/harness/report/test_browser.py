"""The page in a real browser: no complaint, no request, no sideways scrolling, readable, sorted and filtered."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.report import ReportData, render
from harness.report.palette import GROUND

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 120_000
"""Milliseconds that a busy machine may take for one step."""

OUTPUT = Path(os.environ.get("TEST_OUTPUT") or Path(__file__).parents[3] / "test-output") / "report"

CONTRAST = """() => {
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return {r, g, b, a}; };
  const over = (one, under) => Object.fromEntries(
    [...["r", "g", "b"].map(c => [c, one[c] * one.a + under[c] * (1 - one.a)]), ["a", 1]]);
  const light = ({r, g, b}) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const grounds = new Map([[null, {r: 255, g: 255, b: 255, a: 1}]]);
  const ground = element => {
    if (!grounds.has(element)) {
      const own = parse(getComputedStyle(element).backgroundColor);
      grounds.set(element, over(own, ground(element.parentElement)));
    }
    return grounds.get(element);
  };
  const seen = element => element.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style") || !seen(element)) continue;
    const style = getComputedStyle(element), inSvg = element instanceof SVGElement;
    const under = ground(element), size = parseFloat(style.fontSize);
    const ink = over(parse(inSvg ? style.fill : style.color), under);
    const [high, low] = [light(ink), light(under)].sort((one, other) => other - one);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    found.push([(high + 0.05) / (low + 0.05), large ? 3 : 4.5, inSvg, node.data.trim()]);
  }
  return found;
}"""
"""WCAG 2.2, 1.4.3: contrast ratio of every visible text to what lies behind it, what is needed, where, the text."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


class Site(SimpleHTTPRequestHandler):
    """Serves a folder and keeps what was asked for."""

    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(self.path)


@dataclass(frozen=True)
class Reader:
    """A browser, where the page is, and everything that was asked of the server."""

    browser: Browser
    url: str
    asked: list[str]

    def open(self, width: int, height: int, scheme: Any = "light", **options: Any) -> tuple[Page, list[str]]:
        """Return the page in a window of its own, and a list that gets every message of its console."""
        self.asked.clear()
        options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme, **options}
        page = self.browser.new_context(**options).new_page()
        page.set_default_timeout(PATIENCE)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(self.url)
        return page, said


@pytest.fixture(scope="module")
def reader(
    make: Callable[..., ReportData],
    with_audit: Callable[..., ReportData],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Reader]:
    sync = pytest.importorskip("playwright.sync_api")
    folder = tmp_path_factory.mktemp("site")
    methods = ("msg", "ct", "finetune", "scrub", "ssd", "salun", "gradient_ascent")
    data = make(methods=methods, failing=("gradient_ascent",), curves=2)
    (folder / "index.html").write_text(render(with_audit(data, methods[:2])), "utf-8")
    asked: list[str] = []
    handler = type("Handler", (Site,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE)
        yield Reader(browser, f"http://127.0.0.1:{server.server_port}/index.html", asked)
        browser.close()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def desk(reader: Reader) -> Iterator[tuple[Page, list[str]]]:
    """The page on a desk, whose tables the tests sort and filter and leave as they were."""
    page, said = reader.open(1280, 800)
    yield page, said
    page.context.close()


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(380, 800), (1280, 800)])
def test_a_browser_shows_the_page(width: int, height: int, scheme: str, reader: Reader) -> None:
    page, said = reader.open(width, height, scheme)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUTPUT / f"first-{width}-{scheme}.png")
    room, ground = page.evaluate(
        "() => [document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"
    )
    for text in (".lead", "dt:has-text('How sure') + dd", "dt:has-text('At what cost') + dd"):
        box = page.locator(text).bounding_box(timeout=PATIENCE / 10)
        assert box is not None
        assert box["y"] + box["height"] <= height, f"{text} is not on the first screen"
    assert room == width, "the page scrolls sideways"
    assert ground == rgb(getattr(GROUND, scheme))
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width, "what was folded makes it scroll sideways"
    found = page.evaluate(CONTRAST)
    assert len(found) > 500
    assert any(in_svg for _, _, in_svg, _ in found)
    faint = [(text, round(ratio, 2)) for ratio, needed, _, text in found if ratio < needed]
    assert not faint, faint[:10]
    assert not said
    assert reader.asked == ["/index.html"]
    page.context.close()


def ranking(page: Page) -> Locator:
    return page.locator("#ranking table")


def column(table: Locator, head: str) -> int:
    heads = table.locator("thead th").all_inner_texts()
    return next(at for at, text in enumerate(heads) if text.startswith(head))


def ranked(table: Locator, head: str) -> list[list[tuple[str, str | None]]]:
    """Return name and exact number of a column, a list for each group of rows."""
    return table.evaluate(  # type: ignore[no-any-return]
        """(table, at) => [...table.tBodies].map(body => [...body.rows].filter(row => !row.matches(".label"))
            .map(row => [row.querySelector("th").innerText.trim(), row.cells[at].dataset.v ?? null]))""",
        column(table, head),
    )


def test_a_click_sorts_by_the_exact_numbers_and_the_third_restores(desk: tuple[Page, list[str]]) -> None:
    page, said = desk
    table = ranking(page)
    given = ranked(table, "RetDev")
    head = table.locator("thead th").nth(column(table, "RetDev"))
    button = head.get_by_role("button", name="sort by RetDev")
    orders = {"ascending": False, "descending": True}
    for order, backwards in orders.items():
        button.click()
        assert head.get_attribute("aria-sort") == order
        for before, after in zip(given, ranked(table, "RetDev"), strict=True):
            known = [one for one in before if one[1] is not None]
            wanted = sorted(known, key=lambda one: float(one[1] or 0), reverse=backwards)
            assert after == wanted + [one for one in before if one[1] is None]
        shown = table.locator("tbody").first.locator("tr").first.locator("td").nth(column(table, "RetDev") - 1)
        assert "[" in shown.inner_text(), "no interval stands beside the number"
    assert ranked(table, "RetDev") != given
    button.click()
    assert head.get_attribute("aria-sort") is None
    assert ranked(table, "RetDev") == given
    assert not said


def test_the_keyboard_sorts_too_and_only_one_column_at_a_time(desk: tuple[Page, list[str]]) -> None:
    page, _ = desk
    table = ranking(page)
    given = ranked(table, "test acc")
    for name, key in (("time / retrain", "Enter"), ("test acc", "Space")):
        table.get_by_role("button", name=f"sort by {name}").focus()
        page.keyboard.press(key)
    assert table.locator("th[aria-sort]").count() == 1
    values = [float(value or 0) for _, value in ranked(table, "test acc")[0]]
    assert values == sorted(values)
    for _ in range(2):
        page.keyboard.press("Enter")
    assert ranked(table, "test acc") == given
    table.get_by_role("button", name="sort by method").click()
    names = [name for name, _ in ranked(table, "rank")[0]]
    assert names == sorted(names)
    for _ in range(2):
        table.get_by_role("button", name="sort by method").click()


def test_what_has_no_number_is_last_in_both_orders(desk: tuple[Page, list[str]]) -> None:
    page, _ = desk
    table = ranking(page)
    body = table.locator("tbody").first
    at = column(table, "test acc")
    exact = body.evaluate("(body, at) => body.rows[1].cells[at].dataset.v", at)
    body.evaluate("(body, at) => body.rows[1].cells[at].removeAttribute('data-v')", at)
    name = ranked(table, "test acc")[0][1][0]
    button = table.get_by_role("button", name="sort by test acc")
    for _ in range(2):
        button.click()
        assert ranked(table, "test acc")[0][-1] == [name, None]
    button.click()
    body.evaluate("(body, [at, exact]) => (body.rows[1].cells[at].dataset.v = exact)", [at, exact])


def test_the_filter_hides_counts_and_leaves_the_references(desk: tuple[Page, list[str]]) -> None:
    page, said = desk
    table, field = ranking(page), page.locator("#ranking").get_by_label("filter rows")
    status = page.locator("#ranking").get_by_role("status")
    rows = table.locator("tbody tr:not(.label)")
    field.fill("  SALUN fin ")
    assert status.inner_text() == "2 of 7 rows"
    shown = table.locator("tbody th[scope=row]:visible").all_inner_texts()
    assert {name.strip() for name in shown} == {"salun", "finetune", "retrain", "original"}
    assert not table.locator("tr.label", has_text="failed").is_visible()
    field.fill("no such row")
    assert status.inner_text() == "0 of 7 rows"
    field.fill("")
    assert status.inner_text() == ""
    assert table.locator("tbody tr:visible").count() == rows.count() + table.locator("tr.label").count()
    assert not said


def test_small_tables_have_neither(desk: tuple[Page, list[str]]) -> None:
    page, _ = desk
    counted = page.evaluate(
        """() => [...document.querySelectorAll("table")].map(table => [
            table.querySelectorAll("tbody tr:not(.label)").length, table.querySelectorAll("button").length,
            table.parentNode.previousElementSibling?.matches(".filter") ?? false, table.tHead.rows[0].cells.length])"""
    )
    for rows, buttons, filtered, heads in counted:
        assert buttons == (heads if rows > 3 else 0)
        assert filtered == (rows > 8)
    assert {rows > 3 for rows, *_ in counted} == {True, False}


def test_nothing_of_it_is_printed(desk: tuple[Page, list[str]]) -> None:
    page, _ = desk
    page.locator("#ranking").get_by_label("filter rows").fill("msg")
    page.emulate_media(media="print")
    assert page.locator("button:visible, input:visible, .filter:visible").count() == 0
    assert ranking(page).locator("tbody tr:not(.label):visible").count() == 9
    page.emulate_media(media="screen")
    page.locator("#ranking").get_by_label("filter rows").fill("")


def test_nothing_but_the_one_script_runs(reader: Reader) -> None:
    page, said = reader.open(1280, 800)
    page.evaluate(
        """() => {
          window.ran = [];
          const script = document.createElement("script");
          script.textContent = "window.ran.push('inline')";
          document.body.append(script);
          const image = document.createElement("div");
          image.innerHTML = "<img src='data:,' onerror=\\"window.ran.push('handler')\\">";
          document.body.append(image);
          const loaded = document.createElement("script");
          loaded.src = "other.js";
          document.body.append(loaded);
        }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") == []
    assert len([text for text in said if "Content Security Policy" in text]) >= 3
    assert reader.asked == ["/index.html"]
    page.context.close()


def test_without_script_the_tables_are_as_they_stand(reader: Reader) -> None:
    page, said = reader.open(1280, 800, java_script_enabled=False)
    assert page.locator("#ranking tbody tr:visible").count() == 11
    assert page.locator("button, input").count() == 0
    assert not [text for text in said if not re.search("script", text, re.IGNORECASE)]
    page.context.close()
