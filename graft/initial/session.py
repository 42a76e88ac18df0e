"""One run of `graft init` between its command line and its files: look at everything, propose, tell, write."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from components import jsonfile, machine
from components import params as parameters
from components.data.listing import attributes as class_table
from components.errors import DataError, ParamsError
from components.strategies import catalogue
from graft.initial import dependencies, headers, images, proposal, starting, telling
from graft.initial.document import Document, plain
from graft.initial.headers import Sample
from graft.initial.images import Found, Wishes
from graft.initial.offers import Facts
from graft.initial.origins import Origin, slug
from graft.initial.proposal import Proposal


@dataclass(frozen=True)
class Plan:
    """What was found, and the two files as they will be."""

    found: dict[str, Found]
    samples: dict[str, Sample]
    proposal: Proposal
    params: Document
    pipeline: Document

    @property
    def changed(self) -> bool:
        return any(document.text() != document.before for document in (self.params, self.pipeline))

    def write(self) -> None:
        """The pipeline first: should the second fail, it depends on too much rather than on too little."""
        for document in (self.pipeline, self.params):
            if document.text() != document.before:
                jsonfile.write_text(document.path, document.text())


def examine(
    origins: dict[str, Origin],
    wishes: Wishes,
    *,
    source_domains: tuple[str, ...] = (),
    attributes: Path | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    root: Path = Path(),
) -> Plan:
    """Looks at the data of each role (target, source, unlabelled) and works out what to write; writes nothing.

    Raises DataError, ParamsError or MachineError for what cannot be used as it is.
    """
    params, pipeline = Document(root / parameters.FILE), Document(root / dependencies.FILE, sequence_indent=4)
    found = _look(origins, wishes, source_domains)
    named = _attributes(attributes, found["target"])
    start = starting.choose(backbone, weights, plain(params.get("backbone") or {}), source="source" in found)
    data = {role: images.written(own.options) for role, own in found.items()} | named
    facts = _facts(found, named, start)
    proposed = Proposal(data, start, facts, slug(origins["target"].name) or "graft")
    before = dependencies.of_section(params.get("data"))
    proposal.apply(params, proposed)
    _check(params)
    wanted = [path for own in found.values() for path in dependencies.of_images(own.options, own.listing)]
    dependencies.update(pipeline, [*wanted, *filter(None, [named.get("attributes")])], before)
    samples = {role: headers.look([image.path for image in own.listing.images]) for role, own in found.items()}
    return Plan(found, samples, proposed, params, pipeline)


def _look(origins: dict[str, Origin], wishes: Wishes, source_domains: tuple[str, ...]) -> dict[str, Found]:
    found = {"target": images.look(origins["target"], "data.target", wishes)}
    if "source" in origins:
        of_source = Wishes(
            domains=source_domains, given=wishes.given if origins["source"].table else type(wishes.given)()
        )
        found["source"] = images.look(origins["source"], "data.source", of_source)
    elif (others := images.source_domains(found["target"], source_domains)) is not None:
        found["source"] = others
    elif source_domains:
        raise ParamsError(f"--source-domain {source_domains[0]}: the target has no other domains; give --source PATH")
    if "source" in found:
        unknown = sorted(set(found["source"].listing.classes) - set(found["target"].listing.classes))
        if unknown:
            raise DataError(
                f"the source has classes that the target lacks: {', '.join(unknown[:5])}; the target has "
                f"{', '.join(found['target'].listing.classes[:8])}. Give the same thing the same name, leave others out"
            )
    if "unlabelled" in origins:
        found["unlabelled"] = images.look(
            origins["unlabelled"], "data.unlabelled", Wishes(given=wishes.given), labelled=False
        )
    return found


def _attributes(path: Path | None, target: Found) -> dict[str, Any]:
    """Keys of `data` for a table of the classes: its columns of text are tasks, those of numbers describe."""
    if path is None:
        return {}
    rows = class_table.read(path, target.listing.classes)
    columns = next(iter(rows.values()))
    texts = [name for name in columns if not all(_is_number(row[name]) for row in rows.values())]
    tasks = [name for name in texts if len({row[name] for row in rows.values()}) > 1]
    written: dict[str, Any] = {"attributes": starting.as_written(path)}
    return written | ({"tasks": tasks} if tasks else {})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _facts(found: dict[str, Found], named: dict[str, Any], start: starting.Start) -> Facts:
    target = found["target"]
    given = [image for image in target.listing.images if image.class_name]
    parts = {image.part for image in given} - {None}
    pool = [image for image in given if image.part in (None, "train")]
    kept = 1.0 - (0 if "val" in parts else proposal.VAL_FRACTION) - (0 if "test" in parts else proposal.TEST_FRACTION)
    by_class = Counter(image.class_name for image in pool)
    columns = _columns(named)
    return Facts(
        classes=len(target.listing.classes),
        training_images=int(len(pool) * kept),
        smallest=int(min(by_class.values(), default=0) * kept),
        source="source" in found,
        descriptions=bool(set(columns) - set(named.get("tasks", ()))),
        tasks=bool(named.get("tasks") or target.listing.tasks),
        light=not start.own and not machine.gpus(),
        own=start.own,
        backbone=start.name,
    )


def _columns(named: dict[str, Any]) -> list[str]:
    if "attributes" not in named:
        return []
    with Path(named["attributes"]).open(encoding="utf-8-sig", newline="") as stream:
        return next(csv.reader(stream))[1:]


def _check(document: Document) -> None:
    """The new file is read as every stage will read it, before it is written."""
    import yaml

    parameters.parse(yaml.safe_load(document.text()))


def tell(out: Console, plan: Plan) -> None:
    """What was found, what that allows, and what would change."""
    for role, found in plan.found.items():
        telling.describe(out, role, found, plan.samples[role])
    telling.backbone(out, plan.proposal.start)
    comparison = [*plan.params.get("compare"), *plan.params.get("students")]
    telling.strategies(out, catalogue.STRATEGIES, plan.proposal.facts, comparison)
    for document in (plan.params, plan.pipeline):
        telling.diff(out, document.diff()) if document.diff() else None
