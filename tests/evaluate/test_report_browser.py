"""The page in a browser: both widths, light and dark, on paper, with the network off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metier.core import Workshop
from tests.evaluate.report_material import full_report, made
from tests.evaluate.report_seven import seven_models

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=list(QUIET), chromium_sandbox=False)
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=["four models", "seven models"])
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workshop = tmp_path_factory.mktemp("workshop")
    if request.param == "four models":
        return made(workshop, full_report(hostile=True)).folder / "report.html"
    return Workshop(workshop).make(seven_models(120)).folder / "report.html"


@pytest.mark.parametrize(("width", "language"), [(390, "en"), (390, "zh"), (1280, "en"), (1280, "zh")])
def test_the_page_fits_and_is_silent_offline(browser: Any, page_file: Path, width: int, language: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    said: list[str] = []
    asked: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    page.check(f"#lang-{language}")
    assert [code for code in ("en", "zh") if page.is_visible(f".page-{code} h1")] == [language]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('svg.radar text, svg.loss text, svg.reliability text')].filter(t => {"
    wide += "const r = t.getBoundingClientRect(); return r.left < 0 || r.right > innerWidth}).map(t => t.textContent)"
    assert page.evaluate(wide) == []
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    out = "[...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && !e.closest('.scroll, svg'))"
    out += ".filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 80))"
    assert page.evaluate(out) == []
    boxes = "[...document.querySelectorAll('table.figures, table.stacked')].filter(t => t.checkVisibility())"
    boxes += ".filter(t => t.parentElement.scrollWidth > t.parentElement.clientWidth + 1).map(t => t.className)"
    assert page.evaluate(boxes) == [], "a table needs scrolling"
    small = "[...document.querySelectorAll('svg text')].filter(t => t.checkVisibility())"
    small += ".filter(t => t.getBoundingClientRect().height < 9).length"
    assert page.evaluate(small) == 0
    context.close()


def test_text_stands_out_from_its_ground_in_light_and_dark(browser: Any, page_file: Path) -> None:
    # contrast of relative luminances (WCAG 2.2, 1.4.3): 4.5 to 1 for text
    contrast = """() => {
      const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
        .map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
        return .2126 * v[0] + .7152 * v[1] + .0722 * v[2] };
      const ground = e => { while (e) { const c = getComputedStyle(e).backgroundColor;
        if (!/rgba\\(.*, 0\\)/.test(c)) return c; e = e.parentElement } return 'rgb(255, 255, 255)' };
      const low = new Set();
      for (const e of document.querySelectorAll('body *:not(svg, svg *)')) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
        const pair = [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => b - a);
        const ratio = (pair[0] + .05) / (pair[1] + .05);
        if (ratio < 4.5) low.add(e.className + ': ' + ratio.toFixed(2));
      }
      return [...low] }"""
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, offline=True)
        page = context.new_page()
        page.goto(page_file.as_uri())
        assert page.evaluate(contrast) == [], scheme
        context.close()


def test_language_and_models_are_chosen_by_keyboard(browser: Any, page_file: Path) -> None:
    page = browser.new_context(offline=True).new_page()
    page.goto(page_file.as_uri())
    page.focus("#lang-en")
    page.keyboard.press("ArrowRight")
    assert page.is_visible(".page-zh h1") and not page.is_visible(".page-en h1")
    first = ".page-zh svg.radar .m0"
    assert page.is_visible(first)
    page.focus("#zh-pick-0")
    page.keyboard.press("Space")
    assert not page.is_visible(first) and page.is_visible(".page-zh svg.radar .m1")
    names = "[...document.querySelectorAll('.page-zh input, .page-zh .scroll')].filter(e => e.tabIndex >= 0)"
    assert page.evaluate(f"{names}.every(e => e.labels?.length || e.getAttribute('aria-label'))")


def test_the_page_prints(browser: Any, page_file: Path, tmp_path: Path) -> None:
    page = browser.new_context(offline=True).new_page()
    page.goto(page_file.as_uri())
    assert page.evaluate("document.querySelectorAll('details[open]').length") == 0
    page.emulate_media(media="print")
    folded = "[...document.querySelectorAll('.page-en details table')].filter(t => !t.checkVisibility()).length"
    assert page.evaluate(folded) == 0, "what is folded on the screen is not printed"
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000


def test_the_first_screens_of_a_phone_hold_what_decides(browser: Any, page_file: Path) -> None:
    page = browser.new_context(viewport={"width": 390, "height": 900}, offline=True).new_page()
    page.goto(page_file.as_uri())
    bottom = "Math.max(...[...document.querySelectorAll('#verdict, #radar, #forgotten, #gate, #doctor')]"
    bottom += ".map(e => e.getBoundingClientRect().bottom + scrollY))"
    assert page.evaluate(bottom) < 8_000
    assert page.evaluate("document.documentElement.scrollHeight") < 20_000
