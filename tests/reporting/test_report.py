"""The page: nothing from outside, nothing unescaped, nothing missing, whatever a run has or lacks."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import jinja2
import pytest

from components.reporting.report import render

NASTY = "<b>x</b>"
VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}


class Outline(HTMLParser):
    """Fails on a tag that closes another than the one open; collects the ids and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    found.close()
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    return found


def test_the_page_needs_nothing_from_outside(make):
    page = render(make())
    assert page.startswith("<!doctype html>")
    assert not re.findall(r"https?:|//cdn|<link(?! rel=\"icon\" href=\"data:)|@import|url\(|<iframe|<object", page)
    addresses = re.findall(r'(?:src|href)="([^"]*)', page)
    assert len(addresses) > 30
    assert all(address.startswith(("data:", "#")) for address in addresses)


def test_the_page_shows_the_results(make, changed):
    harm = {"strategy": "x", "over": "source_only", "difference": -0.04, "low": -0.06, "high": -0.02, "real": True}
    evidence = changed(
        make(), first={"negative_transfer": harm, "unseen": {"unseen": 0.3, "seen": 0.9, "harmonic_mean": 0.45}}
    )
    text = outline(render(evidence)).text
    for name in evidence.histories:
        assert name in text
    for words in (
        "Transfer helps", "97.0 95.0 – 99.0", "(5.0)", "3 ± 0.4", "12 s", "308.6k parameters", "2.5k", "−0.6 to +5.4",
        "< 0.001", "31 : 12", "4.0 points below source_only", "harmonic mean 45.0 %", "100.00 % of 345 decisions",
        "not in a git repository", "domains are aligned", "one left out", "raw/torn.png", "expected to be wrong",
        "division of the logits by 1.37",
    ):  # fmt: skip
        assert words in text, words


def test_every_figure_has_its_numbers_and_an_alternative_text(make):
    page = render(make())
    figures = re.findall(r"<figure>(.*?)</figure>", page, re.DOTALL)
    charts = [figure for figure in figures if "<svg" in figure]
    assert len(charts) > 60  # two a strategy, and the others
    for figure in charts:
        label = re.search(r'<svg class="chart[^>]*role="img" aria-label="([^"]+)"', figure)
        assert label, figure[:200]
        assert len(label[1].split()) > 5
        assert "<details>" in figure and "<tbody>\n<tr>" in figure
    assert page.count('<svg class="chart') == len(charts)
    assert not re.findall(r"<img (?![^>]*alt=\"\w)", page)


def test_names_are_escaped(make):
    page = render(make(["fine_tune", "dan"], classes=(NASTY, '"quoted" & <i>', "dog")))
    assert NASTY not in page
    assert "<most>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x" not in outline(page).text.replace(NASTY, "")


def test_a_missing_name_is_an_error_and_not_a_gap(make):
    evidence = make(["fine_tune", "dan"])
    lacking = {key: value for key, value in evidence.evaluation.items() if key != "verdict"}
    with pytest.raises(jinja2.UndefinedError):
        render(replace(evidence, evaluation=lacking))


def test_equal_evidence_gives_equal_bytes(make):
    first = render(make())
    assert first == render(make())
    assert len(first.encode()) < 2 * 2**20


def test_one_strategy_alone(make):
    text = outline(render(make(["dan"]))).text
    assert "Only one strategy competed" in text
    assert "Every pair of strategies" not in text


def test_without_a_source_there_is_nothing_to_align(make):
    text = outline(render(make(["fine_tune", "dan"], with_source=False))).text
    assert "There are no source images to compare with" in text
    assert "Images of the source" not in text


def test_absent_evidence_is_a_sentence(make, changed):
    evidence = make(["knn_probe", "fine_tune"], seeds=1)
    unknown = {"finding": "unknown", "sentence": "There is no baseline.", "strategy": None, "over": None}
    evidence = changed(
        evidence, first={"mistakes": [], "slices": [], "selective": [], "worst_slice": None}, transfer=unknown
    )
    audit = evidence.audit
    clean = {"unreadable": [], "duplicates": [], "contradictions": []}
    evidence = replace(
        evidence,
        explanations={**evidence.explanations, "method": None, "images": [], "embeddings": []},
        heat={},
        audit={**audit, "problems": {"target": clean}, "label_suspects": {**audit["label_suspects"], "suspects": []}},
        leaderboard=[{**row, "latency_ms": None, "size_mib": None} for row in evidence.leaderboard],
        histories={"knn_probe": [], "fine_tune": []},
    )
    text = outline(render(evidence)).text
    for sentence in (
        "Nothing to compare transfer with", "There is no baseline.", "It makes no mistake on the test images",
        "cannot be explained", "No features were drawn", "No near-duplicates were found", "No label is suspect",
        "latency of the strategies was not measured", "No column of the manifest", "no threshold for abstaining",
        "no spread known", "1 seed", "Solved without steps",
    ):  # fmt: skip
        assert sentence in text, sentence


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"reliable": False, "accuracy": 0.4}, "is right on only 40.0 % of 245 images: too few to accuse any label"),
        ({"reliable": False, "accuracy": 0.0, "images": 0}, "No two classes have labelled images enough"),
        ({"expected_errors": 1}, "about 1 is expected to be wrong. No label is suspect."),
    ],
)
def test_an_audit_that_accuses_none_says_why(make, facts, sentence):
    evidence = make(["fine_tune", "dan"])
    found = {**evidence.audit["label_suspects"], "suspects": [], **facts}
    text = outline(render(replace(evidence, audit={**evidence.audit, "label_suspects": found}))).text
    assert sentence in text
    assert ("No label is suspect" in text) == ("expected_errors" in facts)


@pytest.mark.parametrize("finding", ["helps", "no evidence", "harms", "unknown"])
def test_the_finding_is_shown(make, changed, finding):
    evidence = make(["fine_tune", "dan"])
    evidence = changed(evidence, transfer={**evidence.evaluation["transfer"], "finding": finding})
    badge = re.search(r'class="badge ?(\w*)">([^<]+)', render(evidence))
    assert badge
    assert badge[1] == {"helps": "good", "harms": "bad"}.get(finding, "")


def test_many_classes_of_long_names_are_listed_and_not_drawn(make):
    classes = [f"class {index:03d} with a name that goes on and on" for index in range(120)]
    page = render(make(["fine_tune", "dan"], classes=classes, best=0.7))
    text = outline(page).text
    assert 'class="matrix' not in page
    assert "The 30 most frequent confusions of 120 classes" in text
    assert "the 30 classes with the lowest recall" in text
    assert "Drawn are the 15 largest and the 15 smallest" in text
    assert all(name in text for name in classes)  # in the numbers


def test_thresholds_that_no_test_image_reaches(make, changed):
    evidence = make(["fine_tune", "dan"])
    step = {"coverage": 0.5, "threshold": 0.99, "test_coverage": 0.0, "test_accuracy": None}
    text = outline(render(changed(evidence, first={"selective": [*evidence.chosen["selective"], step]}))).text
    assert "leaves 11.0 % of the test images to a person" in text
    text = outline(render(changed(evidence, first={"selective": [step]}))).text
    assert "No test image is as sure as any threshold asks" in text


def test_a_class_without_a_test_image_is_not_the_worst(make, changed):
    evidence = make(["fine_tune", "dan"])
    gone = {"images": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0, "recall_low": 0.0, "recall_high": 1.0}
    per_class = [*evidence.chosen["per_class"][:-1], {**evidence.chosen["per_class"][-1], **gone}]
    page = render(changed(evidence, first={"per_class": per_class}))
    assert "Without a test image, and so not drawn: 1 of 10 classes." in page
    assert page.count("<td>–</td>") >= 3  # recall twice and F1


def test_perfect_recall_and_differences_that_are_all_real(make, changed):
    evidence = make(["fine_tune", "dan"])
    only = {**evidence.evaluation["pairs"][0], "real": True}
    page = render(changed(evidence, first={"worst_class": {"class_name": "1", "recall": 1.0}}, pairs=[only]))
    assert "It finds all test images of every class." in page
    assert "Real differences: 1 of 1." in page
    assert "It finds the fewest of class" in render(evidence)
    assert "both faster and better than fine_tune. " in page  # the first one is the fastest and the best
    assert "itself uses no target label" in render(changed(evidence, first={"chosen_by": "information_maximisation"}))


def test_too_few_images_to_compare_domains_is_not_the_lack_of_a_source(make):
    evidence = make(["fine_tune", "dan"])
    embeddings = [{**entry, "domain_accuracy": None} for entry in evidence.explanations["embeddings"]]
    page = render(replace(evidence, explanations={**evidence.explanations, "embeddings": embeddings}))
    assert "There are too few images to say how far the domains lie apart." in page
    assert "There are no source images" not in page


def test_source_images_among_the_slices_are_told_from_the_test_images(make, changed):
    evidence = make(["fine_tune", "dan"])
    said = "The domain “source” is its own held-out images."
    assert said not in render(evidence)
    part = {**evidence.chosen["slices"][0], "column": "domain", "value": "source"}
    assert said in render(changed(evidence, first={"slices": [part]}))


def test_a_failed_competitor_stands_below_with_its_reason(make, changed):
    failed = [
        {"strategy": "lora", "family": "fine-tuning", "needs": ["target_labels"], "reason": "seed 1: the loss was nan"}
    ]
    page = render(changed(make(["fine_tune", "dan"]), failed=failed))
    assert page.index("seed 1: the loss was nan") > page.rindex('<tr class="failed">')
    assert "failed" in outline(page).text


@pytest.mark.parametrize("best", [0.0, 0.5, 1.0])
def test_every_accuracy_can_be_drawn(make, changed, best):
    evidence = make(["fine_tune", "dan", "dann"], best=best)
    sure = dict.fromkeys(("accuracy", "low", "high"), best)  # no doubt left: what an easy data set gives
    evidence = changed(evidence, first={"test": {**evidence.chosen["test"], **sure}})
    page = render(evidence)
    outline(page)
    assert "nan" not in re.sub(r"data:[^\"]+", "", page)
