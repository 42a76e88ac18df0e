"""What becomes of params.yaml: data, backbone, and everything that depends on the two.

As long as both stay as they are in the file, the rest of it is somebody's own work and is left alone, but for what the
data do not allow or the backbone needs. Once one of them changes, recipes and the comparison are set anew, since what
stands there was found for other images or another backbone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.strategies import catalogue
from graft.initial import offers, recipes
from graft.initial.document import Document, plain
from graft.initial.offers import Facts
from graft.initial.starting import Start

VAL_FRACTION = 0.2
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Proposal:
    """`data`: the section as it will stand in the file; `name`: what the model will be called in the registry."""

    data: dict[str, Any]
    start: Start
    facts: Facts
    name: str


def apply(document: Document, proposal: Proposal) -> None:
    """Writes the proposal into the document."""
    backbone = {"name": proposal.start.name, "weights": proposal.start.weights}
    present = plain(document.get("backbone") or {})
    same_backbone = {key: present.get(key) for key in backbone} == backbone
    same_data = plain(document.get("data")) == proposal.data
    if not same_data:
        document.set(proposal.data, "data")
        document.set(proposal.name, "promote", "registered_model")
        _fractions(document, proposal)
    for key, value in backbone.items():
        document.set(value, "backbone", key)
    if not same_backbone:
        document.remove("backbone", "input_size")
    document.set(proposal.start.size, "prepare", "size")
    if proposal.start.interpolation != (document.get("prepare", "interpolation") or "bilinear"):
        document.set(proposal.start.interpolation, "prepare", "interpolation")
    if not (same_data and same_backbone):
        if not proposal.start.own:
            _recipes(document, proposal.facts)
        elif not same_data:
            _without_classes(document)
    _compete(document, proposal, anew=not (same_data and same_backbone))


def _fractions(document: Document, proposal: Proposal) -> None:
    document.set(VAL_FRACTION, "prepare", "val_fraction")
    document.set(TEST_FRACTION, "prepare", "test_fraction")
    if document.get("prepare", "labels_per_class") is not None:
        document.set(None, "prepare", "labels_per_class")


def _recipes(document: Document, facts: Facts) -> None:
    """`train`, and every entry that is called like a strategy; entries under names of somebody's own are theirs."""
    train = recipes.train(facts)
    for key, value in train.items():
        document.set(value, "train", key)
    if facts.light:  # few trainings, and one of them takes most of the time: it gets all cores
        document.set(1, "compute", "cpu_slots")
    entries = document.get("strategies") or {}
    for name in list(entries):
        if name in catalogue.STRATEGIES and "strategy" not in entries[name]:
            document.set(recipes.entry(name, facts, train["steps"]), "strategies", name)


def _without_classes(document: Document) -> None:
    """Names of classes that may not be there any more."""
    for name, entry in (document.get("strategies") or {}).items():
        if "unseen" in entry:
            document.remove("strategies", name, "unseen")


def _compete(document: Document, proposal: Proposal, *, anew: bool) -> None:
    """`compare`, `students` and `teacher`: what the data allow of a first comparison, or of what is there."""
    first = offers.comparison(proposal.facts)
    replaced = anew and not proposal.start.own
    for name in (*first.compare, *first.students) if replaced else ():
        if document.get("strategies", name) is None:
            document.set({}, "strategies", name)
    entries = plain(document.get("strategies") or {})
    allowed = [name for name, entry in entries.items() if not _lacks(name, entry, proposal.facts)]
    compare, students = plain(document.get("compare") or []), plain(document.get("students") or [])
    if replaced:
        compare, students = list(first.compare), list(first.students)
    left = offers.restricted(compare, students, first.teacher if anew else document.get("teacher"), allowed)
    document.set(list(left.compare), "compare")
    document.set(list(left.students), "students")
    document.set(left.teacher, "teacher")


def _lacks(name: str, entry: dict[str, Any], facts: Facts) -> tuple[str, ...]:
    strategy = catalogue.canonical(entry.get("strategy", name))
    if strategy not in catalogue.STRATEGIES:
        return ()  # params.yaml's own check tells
    return offers.lacks(
        strategy, {key: value for key, value in entry.items() if key not in ("strategy", "recipe")}, facts
    )
