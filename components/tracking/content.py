"""What an MLflow run says, worked out from the pipeline's files. Pure: MLflow itself is told in `sync`.

Names are the same in every strategy's run, so that the compare view lines them up: `val_<metric>` and `test_<metric>`
are means over the seeds; `train_<term>` and `<metric>_by_step` are series of the seed that was kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components import lineage

CHOOSING = "accuracy", "low", "high", "macro_f1", "log_loss", "ece"
"""What is shown of the validation images: they choose, the test images report."""


@dataclass(frozen=True)
class DataSet:
    """Images that a run has read; `context` is MLflow's word for what they were for."""

    name: str
    digest: str
    context: str
    profile: Mapping[str, Any]


@dataclass(frozen=True)
class Content:
    """Everything about one run but its files and pictures.

    `identity`: what it is found by; `params` and `series` follow from it, all else may change; `series`: metric, value
    and step; `tables`: artifact -> rows; `seconds`: its duration.
    """

    name: str
    identity: str
    params: Mapping[str, str]
    note: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    series: Sequence[tuple[str, float, int]] = ()
    data: Sequence[DataSet] = ()
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    seconds: float = 0.0
    failed: bool = False

    def digest(self) -> str:
        """Of what may change without the run becoming another one, such as measured times."""
        return lineage.digest([self.note, dict(self.tags), dict(self.metrics), dict(self.tables), self.failed])


def comparison(
    evaluation: Mapping, models: Mapping[str, Mapping], params: Mapping[str, str], *, leaderboard: Sequence[Mapping],
    cost: Mapping[str, float], audit: Mapping, timings: Mapping[str, Mapping],
) -> Content:  # fmt: skip
    """The parent: one run of the pipeline, with the numbers of what was chosen. `models`: strategy -> model.json;
    `params`: flat; `cost`: what the bundle was measured to take; `timings`: strategy -> its training's."""
    chosen, rows = evaluation["chosen"], evaluation["strategies"]
    row = next(row for row in rows if row["strategy"] == chosen)
    transfer, recent = evaluation["transfer"], evaluation.get("recent")
    there = ["target_labels", "unlabelled", *(["source"] if "source" in audit["domains"] else [])]
    gain = {f"transfer_{name}": transfer[name] for name in ("difference", "low", "high") if _number(transfer[name])}
    return Content(
        name=f"{len(models)} strategies: {chosen}",
        identity=lineage.digest([evaluation, dict(models), dict(params)]),
        params=params,
        note=f"{evaluation['verdict']}\n\n{_board(evaluation)}",
        tags={
            "kind": "comparison",
            "strategy": chosen,
            "verdict": evaluation["verdict"],
            "transfer": transfer["finding"],
            "failed": ", ".join(entry["strategy"] for entry in evaluation["failed"]) or "none",
            **({"recent": f"{recent['images']} images, {recent['labelled']} of them labelled"} if recent else {}),
        },
        metrics=scores(row) | gain | dict(cost),
        data=data_sets(there, models[chosen]["data_sha256"], evaluation, audit),
        tables={"leaderboard_table.json": [_flat(entry) for entry in leaderboard]},
        seconds=sum(timing["train_time_s"] * timing["seeds"] for timing in timings.values()),
    )


def strategy(
    row: Mapping, facts: Mapping, evaluation: Mapping, *, parent: str, history: Sequence[Mapping],
    cost: Mapping[str, float], audit: Mapping, timing: Mapping,
) -> Content:  # fmt: skip
    """A child: one competitor that was trained. `parent`: its identity; `cost`: of one answer, by the benchmark."""
    verdict = standing(row, evaluation)
    metrics = scores(row) | dict(cost) | {"train_time_s": timing["train_time_s"], "parameters": row["parameters"]}
    mistakes = [{name: value for name, value in entry.items() if name != "row"} for entry in row["mistakes"]]
    return Content(
        name=row["strategy"],
        identity=lineage.digest([parent, facts]),
        params=strategy_params(facts),
        note=_note(row, facts, verdict),
        tags={
            **_labels(facts),
            "verdict": verdict,
            "chosen": _word(row["strategy"] == evaluation["chosen"]),
            "tied_with_first": _word(row["tied_with_first"]),
            "negative_transfer": _word(_harmed(row)),
            "best_seed": str(facts["best_seed"]),
            "seed_chosen_by": row["chosen_by"],
            "weights_sha256": facts["weights_sha256"],
            **({"collapsed": _word(row["recent"]["collapsed"])} if "recent" in row else {}),
        },
        metrics=metrics,
        series=list(_series(history, facts["best_seed"])),
        data=data_sets(facts["needs"], facts["data_sha256"], evaluation, audit),
        tables={
            "per_class.json": [_ahead(entry, "class_name", "recall") for entry in row["per_class"]],
            "abstain.json": row["selective"],
            "mistakes.json": mistakes,
        },
        seconds=timing["train_time_s"],
    )


def failure(
    entry: Mapping, facts: Mapping, evaluation: Mapping, *, parent: str, history: Sequence[Mapping], audit: Mapping,
    timing: Mapping,
) -> Content:  # fmt: skip
    """A child: one competitor whose training came to nothing, with its losses up to there and the reason."""
    last = history[-1]["seed"] if history else None  # the seed it ended with
    return Content(
        name=entry["strategy"],
        identity=lineage.digest([parent, facts]),
        params=strategy_params(facts),
        note=f"**Failed**: {entry['reason']}",
        tags={**_labels(facts), "verdict": "failed", "chosen": "false", "reason": entry["reason"]},
        metrics={},
        series=list(_series(history, last)),
        data=[data for data in data_sets(facts["needs"], facts["data_sha256"], evaluation, audit)
              if data.context == "training"],
        seconds=timing.get("train_time_s") or 0.0,
        failed=True,
    )  # fmt: skip


def standing(row: Mapping, evaluation: Mapping) -> str:
    """Where a strategy stands, in a few words by which runs can be filtered."""
    if row["strategy"] == evaluation["chosen"]:
        return "chosen"
    words = "tie with the first"
    if not row["tied_with_first"]:
        behind = next(
            pair["difference"] if pair["strategy"] == evaluation["chosen"] else -pair["difference"]
            for pair in evaluation["pairs"]
            if {pair["strategy"], pair["over"]} == {evaluation["chosen"], row["strategy"]}
        )
        words = f"behind by {100 * behind:.1f} points" if behind > 0 else f"ahead by {-100 * behind:.1f} points"
    return words + ("; negative transfer" if _harmed(row) else "")


def scores(row: Mapping) -> dict[str, float]:
    """The numbers of one strategy; None, such as the spread of a single seed, is left out."""
    found: dict[str, Any] = {f"test_{name}": value for name, value in row["test"].items()}
    found |= {f"val_{name}": row["val"][name] for name in CHOOSING}
    found |= {f"test_accuracy_seed_{entry['seed']}": entry["accuracy"] for entry in row["per_seed"]}
    found |= {f"test_accuracy_{task}": accuracy for task, accuracy in row["other_tasks"].items()}
    found |= {f"test_accuracy_{kind}": accuracy for kind, accuracy in (row["unseen"] or {}).items()}
    found |= {"test_aurc": row["aurc"], "test_accuracy_oracle_seed": row["oracle"]["test_accuracy"]}
    found |= {"test_accuracy_worst_slice": (row["worst_slice"] or {}).get("accuracy")}
    found |= {f"temperature_{task}": fitted["value"] for task, fitted in row["temperature"].items()}
    found |= {"episode_accuracy": (row["episodes"] or {}).get("accuracy")}
    recent = row.get("recent") or {}  # where strategies are judged on images that came in since
    found |= {f"recent_{name}": recent.get(name) for name in ("agreement", "low", "high", "accuracy")}
    # Tasks are named by whoever made the table, and MLflow takes fewer characters than a table.
    return {re.sub(r"[^\w/. :-]", "_", name): value for name, value in found.items() if _number(value)}


def strategy_params(facts: Mapping) -> dict[str, str]:
    """Of one training: flat, under the same names in every run. MLflow's compare view begins with the first three that
    differ, by the alphabet: family, needs, strategy."""
    plain = ("strategy", "family", "backbone", "teacher", "device", "precision", "threads")
    found = {name: facts.get(name) for name in plain} | {"weights": facts["backbone_weights"]}
    found |= {"needs": ", ".join(facts["needs"]), "seeds": ", ".join(map(str, facts.get("seeds", ())))}
    found |= {f"train.{name}": value for name, value in facts["recipe"].items()}
    found |= {f"strategy.{name}": value for name, value in facts["hyper_parameters"].items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def flat(tree: Mapping, prefix: str = "") -> dict[str, str]:
    """Nested sections as dotted names; what is not set is left out."""
    found = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[prefix + name] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return found


def data_sets(needs: Sequence[str], digest: str, evaluation: Mapping, audit: Mapping) -> list[DataSet]:
    """What was trained on, as far as `needs` tells, and what was answered; of recent images those held out choose."""
    recent = "recent" in evaluation
    used = []
    if {"target_labels", "unlabelled", "teacher"} & set(needs):
        used.append(("target", "train", "training"))
    if "source" in needs:
        used.append(("source", "train", "training"))
    if recent and {"target_labels", "unlabelled"} & set(needs):
        used.append(("recent", "train", "training"))
    used += [("target", "val", "validation"), ("target", "test", "evaluation")]
    used += [("recent", "val", "validation")] if recent else []
    found = []
    for domain, split, context in used:
        by_class = {name: counts[split] for name, counts in audit["domains"][domain]["classes"].items()}
        labelled = sum(by_class.values())
        images = evaluation["images"].get(split, labelled)
        if domain == "recent":
            held_out = evaluation["images"]["recent"]
            others = audit["domains"]["recent"]["images"] - held_out if "unlabelled" in needs else labelled
            images = held_out if split == "val" else others
        profile = {"images": images, "images_by_class": by_class}
        found.append(DataSet(f"{domain} images, {split}", digest[:36], context, profile))
    return found


def _labels(facts: Mapping) -> dict[str, str]:
    """The tags that runs are told apart by."""
    return {"kind": "strategy", "strategy": facts["strategy"], "family": facts["family"],
            "needs": ", ".join(facts["needs"]) or "nothing"}  # fmt: skip


def _series(history: Sequence[Mapping], seed: int | None) -> Iterator[tuple[str, float, int]]:
    """One seed's (metric, value, step). Named apart from the results: `val_accuracy` is the mean over seeds."""
    for record in history:
        if record["seed"] == seed:
            for name, value in record.items():
                if name not in ("seed", "step") and _number(value):
                    kept = f"{name}_by_step" if name.startswith("val_") else name if name == "lr" else f"train_{name}"
                    yield kept, float(value), int(record["step"])


def _note(row: Mapping, facts: Mapping, verdict: str) -> str:
    """A run's description, in Markdown."""
    test, worst = row["test"], row["worst_class"]
    return (
        f"**{row['strategy']}** ({facts['family']}; needs {', '.join(facts['needs']) or 'nothing'}): {verdict}.\n\n"
        f"{test['accuracy']:.1%} of the test images ({test['low']:.1%} to {test['high']:.1%}), mean of {row['seeds']} "
        f"seed{'s' * (row['seeds'] != 1)}; worst class {worst['class_name']!r} with {worst['recall']:.1%} found."
        f"{_recent_note(row)}"
    )


def _recent_note(row: Mapping) -> str:
    if (recent := row.get("recent")) is None:
        return ""
    told = (
        f"\n\nOn the recent images it decides as the others do, or as a label says, in {recent['agreement']:.1%} "
        f"({recent['low']:.1%} to {recent['high']:.1%}) of the cases"
    )
    if recent["accuracy"] is not None:
        told += f"; of the {recent['labelled']} with a label it is right on {recent['accuracy']:.1%}"
    return told + (". It is shut out: it answers few of the classes only." if recent["collapsed"] else ".")


def _board(evaluation: Mapping) -> str:
    """The leaderboard as a Markdown list; MLflow shows tables without any space between the cells."""
    lines = []
    for row in evaluation["strategies"]:
        test = row["test"]
        lines.append(
            f"1. **{row['strategy']}**: {test['accuracy']:.1%} of the test images ({test['low']:.1%} to "
            f"{test['high']:.1%}); {standing(row, evaluation)}"
            + (f"; agreement on recent images {row['recent']['agreement']:.1%}" if "recent" in row else "")
        )
    lines += [f"1. **{entry['strategy']}**: failed; {entry['reason']}" for entry in evaluation["failed"]]
    return "\n".join(lines)


def _flat(entry: Mapping) -> dict[str, Any]:
    """A row of the leaderboard with plain cells, for MLflow's view of tables."""
    found = {}
    for name, value in entry.items():
        if isinstance(value, Mapping):
            found |= {f"{name}_{key}": inner for key, inner in value.items() if not isinstance(inner, Mapping | list)}
        else:
            found[name] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return _ahead(found, "strategy", "test_accuracy")


def _ahead(entry: Mapping, *first: str) -> dict[str, Any]:
    """With these columns before the others: MLflow groups by the first and compares the second."""
    return {name: entry[name] for name in first if name in entry} | dict(entry)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _harmed(row: Mapping) -> bool:
    """Whether negative transfer is more than chance."""
    return row["negative_transfer"] is not None and row["negative_transfer"]["real"]


def _word(value: bool) -> str:
    return str(value).lower()
