"""explain: what the chosen model looked at, and how it sees source and target -> heat maps and pictures of features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components import jsonfile, paths, tensorfile
from components import params as parameters
from components.data import prepared
from components.data.features import looked_up
from components.data.prepared import Domain, Prepared
from components.data.streams import crop, normalise
from components.evaluation import metrics
from components.explanation import embedding, examples
from components.explanation.features import features
from components.explanation.grad_cam import heat_maps
from components.params import Params
from components.stages.command import main, say
from components.strategies.base import Strategy
from components.training.compute import Compute, choose
from components.training.restore import restore
from components.types import TASK, Preprocess

BATCH = 64
ADAPTATION = {"source", "unlabelled"}
"""Needs of a strategy that brings the domains together."""


def explain() -> None:
    """Writes reports/explanations for the strategy that `evaluate` chose."""
    params = parameters.load(Path())
    evaluation = jsonfile.read(paths.EVALUATION)
    data, compute = prepared.read(paths.PREPARED), choose(replace(params.compute, precision="fp32"))
    row = next(row for row in evaluation["strategies"] if row["strategy"] == evaluation["chosen"])
    strategy = restore(paths.MODELS / row["strategy"]).to(compute.device)

    answers, method, heat = _explained(row, strategy, data, params.explain.images, compute)
    say(f"{row['strategy']}: {len(answers)} answers explained by {method or 'nothing: they have no gradient'}")
    pictures, arrays = _pictures(evaluation, strategy, data, params, compute)
    tensorfile.save(paths.EXPLANATIONS / "explanations.safetensors", {"cam": heat, **arrays})
    jsonfile.write(
        paths.EXPLANATIONS / "explanations.json",
        {"strategy": row["strategy"], "method": method, "images": answers, "embeddings": pictures},
    )


def _explained(
    row: dict, strategy: Strategy, data: Prepared, count: int, compute: Compute
) -> tuple[list[dict], str | None, np.ndarray]:
    """The answers to show, half of them mistakes, by what they are explained, and their heat maps [M, S, S]."""
    wrong = [{**mistake, "right": False} for mistake in row["mistakes"][: count // 2]]
    answers = wrong + _right_answers(row, data, count - len(wrong))
    names = list(data.label_space.classes[TASK])
    target, preprocess = data.target, strategy.backbone.preprocess
    # Without any answer to explain, one image still tells by what answers would be.
    rows = np.array([answer["row"] for answer in answers] or target.rows("test", labelled=True)[:1])
    classes = torch.tensor([names.index(answer["answer"]) for answer in answers] or [0])
    method, heat = heat_maps(strategy, _images(target, rows, preprocess, compute), classes)
    shown = [
        {key: answer[key] for key in ("row", "path", "label", "answer", "confidence", "right")} for answer in answers
    ]
    if method is None:
        shown = []
    return shown, method, heat[: len(shown)].numpy()


def _right_answers(row: dict, data: Prepared, count: int) -> list[dict]:
    facts = jsonfile.read(paths.MODELS / row["strategy"] / "model.json")
    arrays = tensorfile.load(paths.MODELS / row["strategy"] / "predictions.safetensors")
    logits = arrays[f"test/{TASK}/logits"][facts["seeds"].index(facts["best_seed"])]
    probabilities = metrics.probabilities(logits / row["temperature"][TASK]["value"])
    labels, names = arrays[f"test/{TASK}/labels"], data.label_space.classes[TASK]
    rows = data.target.rows("test", labelled=True)
    return [
        {
            "row": int(rows[place]),
            "path": data.target.paths[rows[place]],
            "label": names[labels[place]],
            "answer": names[labels[place]],
            "confidence": float(probabilities[place].max()),
            "right": True,
        }
        for place in examples.most_confident_right(probabilities, labels, count)
    ]


def _pictures(
    evaluation: dict, strategy: Strategy, data: Prepared, params: Params, compute: Compute
) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Held-out images of both domains as the pretrained backbone, the chosen strategy and an adapted one see them."""
    rows = _drawn(data, params.explain.points, params.seed)
    domain = np.concatenate([np.full(len(part), place, dtype=np.int64) for place, part in enumerate(rows.values())])
    arrays = {
        "embedding/domain": domain,
        "embedding/label": np.concatenate([data.domains[name].labels[TASK][part] for name, part in rows.items()]),
        "embedding/row": np.concatenate(list(rows.values())).astype(np.int64),
    }
    chosen = evaluation["chosen"]
    drawn: list[tuple[str, str, str, Strategy | None]] = [("after", f"After: {chosen}", chosen, strategy)]
    if len(rows) > 1:
        drawn.insert(0, ("before", "Before: the pretrained backbone", parameters.PRETRAINED, None))
        adapted = [row["strategy"] for row in evaluation["strategies"] if set(row["needs"]) >= ADAPTATION]
        if adapted and chosen not in adapted:
            model = restore(paths.MODELS / adapted[0]).to(compute.device)
            drawn.append(("adapted", f"Adapted: {adapted[0]}", adapted[0], model))
    pictures = []
    for key, title, name, model in drawn:
        if model is None or model.frozen:
            table = _pretrained(data, rows)
        else:
            table = features(model, _batches(data, rows, model.backbone.preprocess, compute))
        arrays[f"embedding/{key}"] = embedding.in_the_plane(table, params.seed)
        accuracy = embedding.domain_accuracy(table, domain, params.seed)
        pictures.append(
            {
                "key": key,
                "title": title,
                "strategy": name,
                "domain_accuracy": accuracy,
                "method": "t-SNE of the features",
            }
        )
        told = "" if accuracy is None else f": a linear classifier tells the domains apart in {accuracy:.0%} of cases"
        say(f"{title}, {len(table)} images{told}")
    return pictures, arrays


def _drawn(data: Prepared, count: int, seed: int) -> dict[str, np.ndarray]:
    """Domain -> rows of labelled images that nothing was trained on; as many of each domain, or guessing the larger
    one would look like telling them apart. The source has no test part, so its validation part stands for it."""
    held_out = {"target": data.target.rows("test", labelled=True)}
    if "source" in data.domains and len(found := data.domains["source"].rows("val", labelled=True)):
        held_out["source"] = found
    count = min(count, *map(len, held_out.values())) if len(held_out) > 1 else count
    rng = np.random.default_rng(seed)
    return {
        name: rows[embedding.stratified(data.domains[name].labels[TASK][rows], count, rng)]
        for name, rows in held_out.items()
    }


def _pretrained(data: Prepared, rows: dict[str, np.ndarray]) -> np.ndarray:
    """float32 [N, D], as `embed` computed them."""
    weights = jsonfile.read(paths.PRETRAINED / "model.json")["weights_sha256"]
    return looked_up(
        paths.FEATURES, weights, [data.domains[name].sha256[row] for name, part in rows.items() for row in part]
    )


def _batches(data: Prepared, rows: dict[str, np.ndarray], preprocess: Preprocess, compute: Compute) -> Iterator[Tensor]:
    for name, part in rows.items():
        for start in range(0, len(part), BATCH):
            yield _images(data.domains[name], part[start : start + BATCH], preprocess, compute)


def _images(domain: Domain, rows: np.ndarray, preprocess: Preprocess, compute: Compute) -> Tensor:
    pixels = torch.from_numpy(domain.pixels[rows]).to(compute.device)
    return normalise(crop(pixels, preprocess), preprocess)


if __name__ == "__main__":
    main(explain)
