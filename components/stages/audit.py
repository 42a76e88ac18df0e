"""audit: what can be said about the data before anything is trained on it.

Class balance, image sizes, what `prepare` found wrong, and labels that look wrong to a classifier on the pretrained
backbone's features. Nothing is changed: a suspect is for a person to look at.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from components import jsonfile, paths
from components import params as parameters
from components.data import features, prepared, split
from components.data.listing import listing
from components.evaluation import label_errors
from components.params import ImagesParams, Params
from components.stages.command import main, say
from components.types import TASK

SIZES = 10  # listed at most
METHOD = "confident learning on out-of-fold logistic regression of the pretrained backbone's features"


def audit() -> None:
    """Writes reports/audit.json."""
    params = parameters.load(Path())
    data = prepared.read(paths.PREPARED)
    names = data.label_space.classes[TASK]
    options = {name: getattr(params.data, name) for name in data.domains}
    found = _label_suspects(data.target, names, params)
    jsonfile.write(
        paths.AUDIT,
        {
            "domains": {name: _describe(name, domain, names, options[name]) for name, domain in data.domains.items()},
            "problems": jsonfile.read(paths.PREPARED / "problems.json"),
            "label_suspects": found,
        },
    )
    verdict = f"{len(found['suspects'])} label suspects" if found["reliable"] else "too poor to accuse any"
    say(f"audit: {found['images']} labels examined, out-of-fold accuracy {found['accuracy']:.3f}: {verdict}")


def _describe(name: str, domain: prepared.Domain, names: tuple[str, ...], options: ImagesParams | None) -> dict:
    """Counts of a domain. A label that is hidden from the strategies is looked up where the image comes from;
    `unlabelled` are those of which no one knows the class; the imbalance is unknown where that is all of them."""
    assert options is not None  # the manifest has no domain that params lack
    labels = domain.labels[TASK].tolist()
    known: dict[str, str] = {}
    if prepared.HIDDEN in labels:
        own = listing(options, f"data.{name}", recent=name == prepared.RECENT)
        known = {image.path.as_posix(): image.class_name for image in own.images}
    counts = {class_name: dict.fromkeys(("train", "train_labelled", "val", "test"), 0) for class_name in names}
    unlabelled = 0
    for path, part, label in zip(domain.paths, domain.splits.tolist(), labels, strict=True):
        class_name = names[label] if label != prepared.HIDDEN else known.get(path, "")
        if class_name not in counts:
            unlabelled += 1
            continue
        counts[class_name][part] += 1
        counts[class_name]["train_labelled"] += part == "train" and label != prepared.HIDDEN
    present = [size for size in (sum(count[part] for part in split.SPLITS) for count in counts.values()) if size]
    sizes = Counter(zip(map(int, domain.columns["width"]), map(int, domain.columns["height"]), strict=True))
    return {
        "images": len(domain.paths),
        "unlabelled": unlabelled,
        "classes": counts,
        "imbalance": round(max(present) / min(present), 4) if present else None,
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
        _features(domain, rows), given, len(names), params.audit.folds, params.seed
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


def _features(domain: prepared.Domain, rows: np.ndarray) -> np.ndarray:
    """float64 [N, D] of the images in these rows, as `embed` computed them."""
    weights = jsonfile.read(paths.PRETRAINED / "model.json")["weights_sha256"]
    return features.looked_up(paths.FEATURES, weights, [domain.sha256[row] for row in rows]).astype(np.float64)


if __name__ == "__main__":
    main(audit)
