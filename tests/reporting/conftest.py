"""A run's evidence as the stages write it, made up: any strategies, any classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from components.reporting import leaderboard
from components.reporting.evidence import Evidence
from components.strategies import catalogue
from timed_support import benchmark, bundle

DIGITS = tuple("0123456789")
NAMES = ("fine_tune", *(name for name in catalogue.STRATEGIES if name != "fine_tune"))
TEST, SIZE, DRAWN = 750, 32, 120


def score(accuracy: float, seeds: int = 3) -> dict:
    low, high = max(0.0, accuracy - 0.02), min(1.0, accuracy + 0.02)
    return {
        "accuracy": accuracy, "low": low, "high": high, "seed_std": None if seeds == 1 else 0.004,
        "macro_f1": accuracy, "macro_f1_low": low, "macro_f1_high": high, "log_loss": 0.3, "brier": 0.1, "ece": 0.05,
        "log_loss_calibrated": 0.25, "brier_calibrated": 0.09, "ece_calibrated": 0.021, "worst_recall": accuracy / 2,
    }  # fmt: skip


def pair(strategy: str, over: str, difference: float) -> dict:
    real = abs(difference) > 0.03
    return {
        "strategy": strategy,
        "over": over,
        "difference": difference,
        "low": difference - 0.03,
        "high": difference + 0.03,
        "p": 0.0002 if real else 0.2,
        "p_adjusted": 0.0009 if real else 0.6,
        "real": real,
        "mcnemar": {"only_first": 31, "only_second": 12, "p": 0.004},
    }


def confusion(classes: int, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    counts = np.zeros((classes, classes), dtype=int)
    for truth in range(classes):
        images = max(1, TEST // classes)
        right = round(accuracy * images)
        counts[truth, truth] += right
        np.add.at(counts[truth], rng.integers(classes, size=images - right), 1)
    return counts


def bins(shift: float) -> list[dict]:
    centres = np.linspace(0.35, 0.97, 8)
    return [
        {"low": c - 0.05, "high": c + 0.05, "images": 90, "confidence": c, "accuracy": max(0.0, c - shift)}
        for c in map(float, centres)
    ]


def row(name: str, rank: int, accuracy: float, classes: Sequence[str], seeds: int, rng: np.random.Generator) -> dict:
    entry = catalogue.STRATEGIES.get(name, catalogue.STRATEGIES["fine_tune"])
    counts = confusion(len(classes), accuracy, rng)
    recall = counts.diagonal() / counts.sum(1)
    worst = int(recall.argmin())
    mistakes = [(truth, answer) for truth, answer in np.argwhere(counts) if truth != answer][:24]
    slices = [
        {"column": "pen", "value": value, "images": 200, "accuracy": accuracy - drop, "low": accuracy - drop - 0.03,
         "high": min(1.0, accuracy - drop + 0.03)}
        for value, drop in (("thick", 0.0), ("thin", 0.05))
    ]  # fmt: skip
    return {
        "strategy": name,
        "family": entry.family,
        "needs": list(entry.needs),
        "teacher": None,
        "chosen_by": "val",
        "oracle": {"seed": 0, "is_chosen": True, "test_accuracy": accuracy},
        "other_tasks": {},
        "unseen": None,
        "negative_transfer": None,
        "parameters": 308650,
        "weights_sha256": "ab" * 32,
        "seeds": seeds,
        "val": score(accuracy, seeds),
        "test": score(accuracy, seeds),
        "per_seed": [{"seed": seed, "accuracy": accuracy} for seed in range(seeds)],
        "letters": "abcdefgh"[rank // 4 % 8],
        "tied_with_first": rank < 4,
        "per_class": [
            {"class_name": class_name, "images": int(images), "precision": min(1.0, found + 0.01), "recall": found,
             "f1": found, "recall_low": max(0.0, found - 0.05), "recall_high": min(1.0, found + 0.05)}
            for class_name, images, found in zip(classes, counts.sum(1), recall.tolist(), strict=True)
        ],
        "worst_class": {"class_name": classes[worst], "recall": float(recall[worst])},
        "temperature": {"label": {"value": 1.37, "fitted_on": "val", "images": 345}},
        "reliability": {"before": bins(0.08), "after": bins(0.01)},
        "selective": [
            {"coverage": c, "threshold": 1.1 - c, "test_coverage": c - 0.01, "test_accuracy": (1 + accuracy) / 2}
            for c in (1.0, 0.9, 0.8, 0.5)
        ],
        "aurc": 0.004,
        "slices": slices,
        "worst_slice": slices[1],
        "episodes": None,
        "confusion": counts.tolist(),
        "mistakes": [
            {"row": index, "path": f"raw/{index:04d}.png", "label": classes[truth], "answer": classes[answer],
             "confidence": 0.99 - 0.01 * index}
            for index, (truth, answer) in enumerate(mistakes)
        ],
    }  # fmt: skip


def evaluation(names: Sequence[str], classes: Sequence[str], best: float, seeds: int) -> dict:
    rng = np.random.default_rng(0)
    accuracies = [round(max(0.0, best - 0.012 * rank), 4) for rank in range(len(names))]
    rows = [row(name, rank, accuracies[rank], classes, seeds, rng) for rank, name in enumerate(names)]
    ranked = combinations(zip(names, accuracies, strict=True), 2)
    pairs = [pair(first, second, better - worse) for (first, better), (second, worse) in ranked]
    return {
        "chosen": names[0],
        "verdict": f"{names[0]} was chosen on validation & answers <most>. Transfer beat training from scratch.",
        "selected_by": "val.accuracy",
        "confidence": 0.95,
        "classes": list(classes),
        "images": {"val": 345, "test": TEST, "source": 500},
        "seeds": list(range(seeds)),
        "transfer": {
            "finding": "helps", "sentence": "The best transfer beats from_scratch by +3.1 points (+1.0 to +5.2).",
            "strategy": names[0], "over": "from_scratch", "difference": 0.031, "low": 0.01, "high": 0.052, "p": 0.002,
        },
        "failed": [],
        "pairs": pairs,
        "strategies": rows,
    }  # fmt: skip


def audit(classes: Sequence[str], with_source: bool) -> dict:
    def domain(per_class: int) -> dict:
        split = {"train": per_class, "train_labelled": 10, "val": per_class // 2, "test": per_class}
        sizes = [{"width": 32, "height": 32, "images": 2 * per_class}]
        return {"images": 25 * len(classes), "classes": dict.fromkeys(classes, split), "imbalance": 1.2, "sizes": sizes}

    clean = {"unreadable": [], "duplicates": [], "contradictions": []}
    place = {"domain": "target", "label": classes[0]}
    near = {
        "similarity": 0.991,
        "kept": {**place, "path": "raw/a.png", "split": "train"},
        "other": {**place, "path": "raw/b.png", "split": "test"},
        "dropped": False,
        "kept_row": 3,
        "other_row": 4,
    }
    gone = {**near, "dropped": True, "other_row": None, "similarity": 0.999}
    wrong = {"unreadable": ["raw/torn.png"], "duplicates": [["raw/c.png", "raw/d.png"]]}
    found = {**clean, **wrong, "near_duplicates": [near, gone]}
    return {
        "domains": {"target": domain(10), **({"source": domain(40)} if with_source else {})},
        "problems": {"target": found, **({"source": clean} if with_source else {})},
        "label_suspects": {
            "method": "confident learning on 5-fold predictions of logistic regression",
            "images": 245,
            "accuracy": 0.91,
            "reliable": True,
            "expected_errors": 12,
            "suspects": [
                {"row": index, "path": f"raw/{index}.png", "split": "train", "label": classes[0],
                 "suggestion": classes[-1], "given": 0.02, "suggested": 0.95}
                for index in range(6)
            ],
        },
    }  # fmt: skip


def explanations(chosen: str, classes: Sequence[str], with_source: bool) -> tuple[dict, dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    domain = np.repeat([0, 1] if with_source else [0], DRAWN)
    keys = {"before": "Before transfer", "after": f"After {chosen}"} if with_source else {"after": f"After {chosen}"}
    apart = {"before": 0.97, "after": 0.55}
    content = {
        "strategy": chosen,
        "method": "Grad-CAM",
        "images": [
            {"row": index, "path": f"raw/{index}.png", "label": classes[0], "answer": classes[index % len(classes)],
             "confidence": 0.9, "right": index % len(classes) == 0}
            for index in range(4)
        ],
        "embeddings": [
            {"key": key, "title": title, "strategy": "pretrained" if key == "before" else chosen,
             "domain_accuracy": apart[key] if with_source else None, "method": "t-SNE of the features"}
            for key, title in keys.items()
        ],
    }  # fmt: skip
    clusters = rng.normal(0, 12, (len(classes), 2))[rng.integers(len(classes), size=len(domain))]
    shift = {"before": 25 * domain[:, None], "after": 0}
    arrays = {f"embedding/{key}": clusters + rng.normal(0, 2, clusters.shape) + shift[key] for key in keys}
    arrays |= {"embedding/domain": domain, "embedding/label": 0 * domain, "embedding/row": 0 * domain}
    heat = np.exp(-((np.mgrid[0:8, 0:8] - 3.5) ** 2).sum(0) / 6)
    return content, {**arrays, "cam": np.stack([np.roll(heat, shift, axis=1) for shift in range(4)])}


def history(name: str, seeds: int) -> list[dict]:
    rng = np.random.default_rng(len(name))
    terms = ("cross_entropy", "mmd") if name in ("dan", "dann", "mcc", "cdan") else ("cross_entropy",)
    records: list[dict] = []
    for seed in range(seeds):
        for step in range(10, 160, 10):
            values = {term: float(2 * np.exp(-step / 40) + 0.05 * rng.random()) / len(term) for term in terms}
            records.append({"seed": seed, "step": step, "lr": 0.1, **values})
            if step % 50 == 0:
                accuracy = float(0.9 - np.exp(-step / 30) + 0.01 * rng.random())
                records.append({"seed": seed, "step": step, "val_accuracy": accuracy, "val_cross_entropy": 0.4})
    return records


def pixels(count: int) -> np.ndarray:
    """Strokes of chalk: bright curves on black, as uint8 [N, S, S, 3]."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    turns, radius = rng.uniform(0, 6, (count, 1, 1)), rng.uniform(6, 11, (count, 1, 1))
    distance = np.abs(np.hypot(x - 15.5, (y - 15.5) * (1 + 0.4 * np.sin(turns))) - radius)
    values = (255 * np.exp(-(distance**2) / 4)).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=-1)


def made(
    names: Sequence[str] = NAMES,
    *,
    classes: Sequence[str] = DIGITS,
    best: float = 0.97,
    seeds: int = 3,
    with_source: bool = True,
) -> Evidence:
    content, speed = evaluation(names, classes, best, seeds), benchmark(names)
    told, heat = explanations(names[0], classes, with_source)
    return Evidence(
        evaluation=content,
        leaderboard=board(content, speed),
        benchmark=speed,
        bundle=bundle(classes),
        audit=audit(classes, with_source),
        explanations=told,
        heat=heat,
        histories={name: [] if name == "linear_probe" else history(name, seeds) for name in names},
        best_seeds=dict.fromkeys(names, 0),
        pixels={"target": pixels(30), **({"source": pixels(8)} if with_source else {})},
    )


def board(content: dict, speed: dict, train_time_s: float = 12.3) -> list[dict]:
    names = [entry["strategy"] for entry in content["strategies"]]
    return leaderboard.rows(content, {name: {"train_time_s": train_time_s} for name in names}, speed["strategies"], {})


@pytest.fixture(scope="session")
def make() -> Callable[..., Evidence]:
    """Makes evidence, anew for each call."""
    return made


@pytest.fixture(scope="session")
def changed() -> Callable[..., Evidence]:
    """Evidence with other contents of the evaluation, and of its `first` row; the leaderboard is made again."""

    def change(evidence: Evidence, *, first: dict | None = None, **others: object) -> Evidence:
        content = {**evidence.evaluation, **others}
        content["strategies"] = [{**content["strategies"][0], **(first or {})}, *content["strategies"][1:]]
        return replace(evidence, evaluation=content, leaderboard=board(content, evidence.benchmark))

    return change
