"""The monitor's page: the verdict, its tests, and what the images look like that moved."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest

from components.reporting import drift_page
from components.reporting.drift_page import Answers, Moved

CLASSES = ("cat", "<b>dog</b>", "owl")
TESTS = {"features": "how far apart they are", "classes": "share that would have to be another class"}


def check(**changes) -> dict:
    told = ("features", 10, 0.0001), ("classes", 10, 0.2), ("features", 4, 0.03), ("classes", 4, 0.2)
    tests = [
        {"name": name, "window": size, "effect": 0.25, "p": p, "p_adjusted": 4 * p, "drifted": p < 0.001}
        for name, size, p in told
    ]
    found = {
        "time": "2026-11-22T10:00:00Z",
        "until": None,
        "bundle": "f" * 64,
        "images": 10,
        "checked": True,
        "drift": True,
        "windows": [4, 10],
        "tests": tests,
        "confidence": {"reference": 0.9, "window": 0.6},
        "sentence": "Drift: the last 10 images differ.",
        "retrain": {"allowed": True, "reason": "the budget lets it"},
    }
    return {**found, **changes}


def moved(reference: bool = True, path: str = "images/1.png") -> Moved:
    image = np.full((28, 28, 3), 40, np.uint8)
    return Moved(path, "2026-11-22T09:00:00Z", "<b>dog</b>", 0.625, 0.1, image, image if reference else None)


def render(found: dict, history=None, shown=(), **changes) -> str:
    given = {
        "tests": TESTS,
        "alpha": 0.01,
        "windows": (4, 10),
        "classes": CLASSES,
        "reference": Answers(np.array([0, 0, 1, 2]), np.array([0.9, 0.95, 0.85, 0.9])),
        "recent": Answers(np.array([1, 1, 1, 1, 1, 1, 0, 0, 2, 2]), np.linspace(0.4, 0.8, 10)),
        "moved": shown,
        "facts": [("champion", "dan, version 7")],
    }
    return drift_page.render(found, history or [found], **{**given, **changes})


def words(page: str) -> str:
    return unescape(
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)))
    )


def test_the_verdict_comes_first_then_tests_answers_and_images():
    page = render(check(), shown=[moved(), moved(reference=False)])
    told = words(page)
    assert 'class="badge bad">drift' in page
    order = [
        "Drift: the last 10 images differ.",
        "It may start a retraining: the budget lets it.",
        "how far apart they are",
        "On recent images the model is on average 30.0 points less sure.",
        "The images that moved most",
        "dan, version 7",
    ]
    places = [told.index(sentence) for sentence in order]
    assert places == sorted(places)
    assert "answers moved 25.0 % to other classes, p 0.800" in told
    assert "features 10 drift 0.250 < 0.001 < 0.001" in told
    assert "features 4 no drift 0.250 0.030 0.120" in told
    assert "of 100 checks of images that have not changed one says drift" in told
    # 6 of 10 answers are now dogs, of 4 it was one.
    assert "The share of '<b>dog</b>' has changed most: 25.0 % in the reference, 60.0 % of the recent answers" in told
    assert page.count("data:image/webp") == 3
    assert "no image was answered so" in told
    assert "says <b>&lt;b&gt;dog&lt;/b&gt;</b>, 62 %" in page
    assert "<b>dog</b>" not in page


def test_the_page_needs_nothing_else():
    page = render(check(), shown=[moved()])
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "url(" not in page
    assert "@import" not in page


def test_without_kept_images_it_says_how_to_keep_them():
    assert "None of these images was kept" in words(render(check()))
    assert "--observe --keep-images MIB" in render(check())


def test_a_window_that_was_not_compared_has_neither_tests_nor_charts():
    found = check(checked=False, drift=False, tests=[], windows=[], images=3, sentence="Not checked: 3 images.")
    nothing = Answers(np.array([], int), np.array([]))
    told = words(render(found, recent=nothing))
    assert "Not checked: 3 images." in told
    assert "As soon as there are 4, they are compared." in told
    assert "moved most" not in told
    assert "retraining" not in told


def test_the_checks_before_are_drawn_with_the_line_below_which_there_is_drift():
    calm = [{**test, "p_adjusted": 0.5, "drifted": False} for test in check()["tests"] if test["window"] == 4]
    unchecked = check(checked=False, drift=False, tests=[])
    history = [check(drift=False, tests=calm), unchecked, check()]
    told = words(render(check(), history))
    assert "1 of the last 2 checks found drift" in told
    assert "drift below 0.01" in told
    assert "2026-11-22T10:00:00Z 10 < 0.001 features, last 10 drift" in told
    assert "2026-11-22T10:00:00Z 10 0.500 features, last 4 no drift" in told
    assert "The checks before" not in words(render(check()))


@pytest.mark.parametrize("count", [3, 40])
def test_of_many_classes_those_are_shown_whose_share_has_changed_most(count):
    names = [f"class {place}" for place in range(count)]
    rng = np.random.default_rng(0)
    before = Answers(rng.integers(0, count, 400), np.full(400, 0.9))
    now = Answers(np.append(rng.integers(0, count, 300), [count - 1] * 100), np.full(400, 0.9))
    told = words(render(check(), classes=names, reference=before, recent=now))
    assert f"The share of 'class {count - 1}' has changed most" in told
    assert ("20 more are not" in told) == (count == 40)
