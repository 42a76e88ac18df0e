"""The page in a real browser: no errors, no requests, sorting, a phone's width, the dark and paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.reporting.report import render
from components.strategies import catalogue

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")

CONTRASTS = """
() => {
  const parse = (text) => { const v = text.match(/[\\d.]+/g).map(Number); return v.length < 4 ? [...v, 1] : v; };
  const over = (top, below) => below.map((value, i) => i < 3 ? top[3] * top[i] + (1 - top[3]) * value : 1);
  const back = (node) => {
    const layers = [];
    for (; node; node = node.parentElement) layers.push(parse(getComputedStyle(node).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = {};
  const texts = "p, td, th, small, dt, dd, .tag, .badge, a, summary, figcaption, b, li";
  for (const node of document.querySelectorAll(texts)) {
    if (!node.textContent.trim() || !node.getClientRects().length) continue;
    const style = getComputedStyle(node), ground = back(node);
    const [a, b] = [light(over(parse(style.color), ground)), light(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const key = node.tagName + "." + node.className;
    found[key] = Math.min(found[key] ?? 99, ratio);
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def address(make, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with everything on it: many strategies, one that failed, long and strange class names."""
    classes = ("<b>x</b>", "a class whose name goes on and on and on", *"2345678")
    evidence = make(list(catalogue.STRATEGIES)[:14], classes=classes)
    failed = [{"strategy": "broken", "family": "fine-tuning", "needs": [], "reason": "seed 1: the loss was nan " * 9}]
    evidence = replace(evidence, evaluation={**evidence.evaluation, "failed": failed})
    path: Path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render(evidence), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as control:
        started = control.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page with a context's options; at the end there must have been neither errors nor requests."""
    complaints: list[str] = []
    contexts = []

    def opened(width: int = 1200, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(("data:", address)) or complaints.append(asked.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def column(page, number: int) -> list[str]:
    script = "n => [...document.querySelectorAll('.board tbody:first-of-type tr')].map(r => r.cells[n].dataset.value)"
    return page.evaluate(script, number)


def test_a_heading_sorts_by_its_column(open_page):
    page = open_page()
    names = column(page, 0)
    heading = page.locator(".board thead th", has_text="ms")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert page.locator(".board [aria-sort]").count() == 1
    times = [float(value) for value in column(page, 12)]
    assert times == sorted(times) and len(set(times)) > 3
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(page, 12)] == sorted(times, reverse=True)
    page.locator(".board thead th", has_text="strategy").locator("button").press("Space")
    assert column(page, 0) == sorted(names)
    assert page.locator(".board tbody:last-of-type tr").inner_text().startswith("broken")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_only_downwards(open_page, scheme):
    page = open_page(360, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_dark_is_dark_and_text_can_be_read_in_both(open_page):
    pictures = {}
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        pictures[scheme] = page.screenshot()
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 20
        assert {key: ratio for key, ratio in contrasts.items() if ratio < 4.5} == {}, scheme
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 21, 27)"}[scheme]
    assert pictures["light"] != pictures["dark"]


def test_paper_shows_what_is_folded_and_folds_it_again(open_page):
    page = open_page()
    folded = "document.querySelectorAll('details:not([open])').length"
    before = page.evaluate(folded)
    assert before > 30
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.while_printing = {folded} }})")
    paper = page.pdf(prefer_css_page_size=True)
    assert paper.startswith(b"%PDF") and len(paper) > 50_000
    assert page.evaluate("window.while_printing") == 0
    assert page.evaluate(folded) == before


def test_every_picture_is_drawn_inside_its_frame(open_page):
    """No text of a chart is cut off by the chart's edge."""
    page = open_page()
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    outside = page.evaluate("""
        [...document.querySelectorAll("svg.chart")].flatMap((chart) => {
          const frame = chart.getBoundingClientRect();
          return [...chart.querySelectorAll("text")].filter((text) => {
            const box = text.getBoundingClientRect();
            return box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2
              || box.bottom > frame.bottom + 2;
          }).map((text) => chart.getAttribute("aria-label").slice(0, 40) + ": " + text.textContent);
        })
    """)
    assert outside == []
