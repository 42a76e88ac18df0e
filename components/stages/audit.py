"""audit: what can be said about the data before anything is trained on it.

Class balance, image sizes, what `prepare` found wrong, and labels that look wrong to a classifier on the pretrained
backbone's features. Nothing is changed: a suspect is for a person to look at.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from components import jsonfile, paths, tensorfile
from components import params as parameters
from components.backbones.base import Backbone
from components.backbones.build import build, from_arrays
from components.data import prepared, split
from components.data.streams import crop, normalise
from components.evaluation import label_errors
from components.params import ImagesParams, Params
from components.stages.command import main, say
from components.training.compute import choose
from components.types import TASK, Preprocess

BATCH = 256
SIZES = 10  # listed at most
METHOD = "confident learning on out-of-fold logistic regression of the pretrained backbone's features"


def audit() -> None:
    """Writes reports/audit.json."""
    params = parameters.load(Path())
    data = prepared.read(paths.PREPARED)
    names = data.label_space.classes[TASK]
    options = {"target": params.data.target, "source": params.data.source}
    found = _label_suspects(data.target, names, params)
    jsonfile.write(
        paths.AUDIT,
        {
            "domains": {name: _describe(domain, names, options[name]) for name, domain in data.domains.items()},
            "problems": jsonfile.read(paths.PREPARED / "problems.json"),
            "label_suspects": found,
        },
    )
    verdict = f"{len(found['suspects'])} label suspects" if found["reliable"] else "too poor to accuse any"
    say(f"audit: {found['images']} labels examined, out-of-fold accuracy {found['accuracy']:.3f}: {verdict}")


def _describe(domain: prepared.Domain, names: tuple[str, ...], options: ImagesParams | None) -> dict:
    """Counts of a domain. The class of an image whose label is hidden from the strategies is the name of its folder."""
    assert options is not None  # the manifest has no domain that params lack
    folder = Path(options.folder) if options.folder is not None else paths.RAW / str(options.dataset)
    counts = {name: dict.fromkeys(("train", "train_labelled", "val", "test"), 0) for name in names}
    for path, part, label in zip(domain.paths, domain.splits.tolist(), domain.labels[TASK].tolist(), strict=True):
        name = Path(path).relative_to(folder).parts[0]
        counts[name][part] += 1
        counts[name]["train_labelled"] += part == "train" and label != prepared.HIDDEN
    present = [size for size in (sum(count[part] for part in split.SPLITS) for count in counts.values()) if size]
    sizes = Counter(zip(map(int, domain.columns["width"]), map(int, domain.columns["height"]), strict=True))
    return {
        "images": len(domain.paths),
        "classes": counts,
        "imbalance": round(max(present) / min(present), 4),
        "sizes": [
            {"width": width, "height": height, "images": images}
            for (width, height), images in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:SIZES]
        ],
    }


def _label_suspects(domain: prepared.Domain, names: tuple[str, ...], params: Params) -> dict:
    """Of all labelled images, whichever part they are in. A class with fewer of them than folds is left out: there is
    too little to learn it from."""
    labels = domain.labels[TASK]
    rows = np.flatnonzero(labels != prepared.HIDDEN)
    rows = rows[np.bincount(labels[rows], minlength=len(names))[labels[rows]] >= params.audit.folds]
    given = labels[rows]
    report = {"method": METHOD, "images": len(rows), "accuracy": 0.0, "reliable": False}
    if len(np.unique(given)) < 2:
        return {**report, "images": 0, "expected_errors": 0, "suspects": []}
    probabilities = label_errors.out_of_fold(
        _features(domain.pixels, rows, params), given, len(names), params.audit.folds, params.seed
    )
    accuracy = float((probabilities.argmax(1) == given).mean())
    reliable = label_errors.is_reliable(accuracy, given)
    wrong = label_errors.suspects(probabilities, given)
    listed = params.audit.suspects if reliable else 0
    return {
        **report,
        "accuracy": round(accuracy, 4),
        "reliable": reliable,
        "expected_errors": round(wrong.expected),
        "suspects": [
            {
                "row": int(rows[at]),
                "path": domain.paths[rows[at]],
                "split": str(domain.splits[rows[at]]),
                "label": names[given[at]],
                "suggestion": names[suggestion],
                "given": round(float(probabilities[at, given[at]]), 4),
                "suggested": round(float(probabilities[at, suggestion]), 4),
            }
            for at, suggestion in zip(wrong.rows[:listed], wrong.suggestions[:listed], strict=True)
        ],
    }


@torch.no_grad()
def _features(pixels: np.ndarray, rows: np.ndarray, params: Params) -> np.ndarray:
    """float64 [N, D] of the images in these rows, by the pretrained backbone in fp32 and eval mode."""
    compute = choose(replace(params.compute, precision="fp32"))
    backbone, preprocess = _backbone(params)
    backbone.to(compute.device).eval()
    found = []
    for start in range(0, len(rows), BATCH):
        batch = torch.from_numpy(pixels[rows[start : start + BATCH]]).to(compute.device)
        found.append(backbone(normalise(crop(batch, preprocess), preprocess)).double().cpu().numpy())
    return np.concatenate(found)


def _backbone(params: Params) -> tuple[Backbone, Preprocess]:
    preprocess = Preprocess.from_dict(jsonfile.read(paths.PRETRAINED / "model.json")["preprocess"])
    backbone = build(params.backbone.name, preprocess=preprocess)
    from_arrays(backbone, tensorfile.load(paths.PRETRAINED / "backbone.safetensors"))
    return backbone, preprocess


if __name__ == "__main__":
    main(audit)
