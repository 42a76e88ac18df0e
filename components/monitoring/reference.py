"""What a bundle made of the images that it was tested with: what later images are compared with.

.graft/monitor/references/<bundle identity>/
    reference.json           the names of the two other files, the classes, and how the bundle was run
    answers.<hash>.safetensors   features, label and confidence of every image, and the votes where there are any
    images.<hash>.npy        uint8 [N, S, S, 3]

It is made by the bundle itself, in the code that serves it and by the route that it is served by: a difference that is
found later is then one of images, not of arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components import jsonfile, paths, tensorfile
from components.deployment import bundle
from components.errors import DataError, GraftError
from components.inference.predictor import FEATURES, Predictor
from components.monitoring.drift import Sample

FILE = "reference.json"
UNKNOWN = -1
"""The vote on an image that nobody has voted on."""
BATCH = 64
"""Images answered at once."""


@dataclass(frozen=True)
class Reference:
    """`bundle`: its identity; `sample`: features, answers and confidences; `images`: uint8 [N, S, S, 3], mapped from
    the file; `votes`: [N] places in `classes`, UNKNOWN where there is none, or None where nobody has voted; `classes`:
    names in the order of the bundle's logits; `route`: precision@provider by which the bundle answered."""

    bundle: str
    sample: Sample
    images: np.ndarray
    votes: np.ndarray | None
    classes: tuple[str, ...]
    route: str


def folder(root: Path, identity: str) -> Path:
    return root / paths.MONITOR / "references" / identity


def write(
    root: Path,
    bundle_folder: Path,
    images: np.ndarray,
    votes: Sequence[int] | np.ndarray | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> str:
    """Answers the images with the bundle and keeps what it says; returns the bundle's identity.

    `images`: uint8 [N, S, S, 3], as prepared for the model; `votes`: [N] places in the bundle's own classes, UNKNOWN
    where there is none; `limit`: keep only so many, drawn with `seed`. What was kept for this bundle before stays
    whole until the new reference is complete. Raises DataError when there are no images or the bundle is damaged.
    """
    if not len(images):
        raise DataError(f"{bundle_folder} cannot be watched: there are no images to compare later ones with")
    if votes is not None and len(votes) != len(images):
        raise DataError(f"there are {len(votes)} votes on {len(images)} images")
    rows = chosen(len(images), limit, seed)
    images = np.ascontiguousarray(images[rows])
    facts = bundle.read(bundle_folder)
    predictor = Predictor.load(bundle_folder)
    arrays = answers(predictor, images)
    if votes is not None:
        arrays["votes"] = np.asarray(votes, dtype=np.int64)[rows]
    identity = bundle.identity(facts)
    place = folder(root, identity)
    place.mkdir(parents=True, exist_ok=True)
    # The files are named by their content and reference.json, written last, names them: a kill leaves the old ones in
    # use or the new.
    answers_name = f"answers.{tensorfile.digest(arrays)[:16]}.safetensors"
    images_name = f"images.{tensorfile.digest({'images': images})[:16]}.npy"
    tensorfile.save(place / answers_name, arrays)
    _save_images(place / images_name, images)
    jsonfile.write(
        place / FILE,
        {
            "bundle": identity,
            "strategy": facts["strategy"],
            "images": len(images),
            "classes": list(predictor.classes[predictor.task]),
            "route": _route(predictor),
            "files": {"answers": answers_name, "images": images_name},
        },
    )
    for path in place.iterdir():
        if path.name not in (FILE, answers_name, images_name):
            path.unlink()
    return identity


def read(root: Path, identity: str) -> Reference:
    """Raises DataError where there is none for this bundle, or what there is is damaged."""
    place = folder(root, identity)
    if not (place / FILE).exists():
        raise DataError(
            f"{place} does not exist: nothing is known of the images that this bundle was tested with; graft promote "
            "keeps them when it promotes one"
        )
    facts = jsonfile.read(place / FILE)
    try:
        arrays = tensorfile.load(place / facts["files"]["answers"])
        images = np.load(place / facts["files"]["images"], mmap_mode="r", allow_pickle=False)
        sample = Sample(arrays["features"], arrays["label"], arrays["confidence"])
        votes, classes = arrays.get("votes"), tuple(facts["classes"])
        found = Reference(identity, sample, images, votes, classes, facts["route"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f"{place} is damaged: {type(error).__name__} {error}") from None
    if len(images) != len(sample.label):
        raise DataError(f"{place} is damaged: {len(images)} images, {len(sample.label)} answers")
    return found


def usual(routes: np.ndarray) -> str | None:
    """Which of them, [n] precision@provider, most images were answered by; None where there are no images."""
    names, counts = np.unique(routes, return_counts=True)
    return str(names[counts.argmax()]) if len(names) else None


def as_observed(known: Reference, bundle_folder: Path, route: str | None) -> Reference:
    """The reference as by the `usual` route of the recent images: of an image, another precision or another provider
    makes slightly other features, which would be found.

    Where this machine cannot run that route, the reference stays as it was made, and its `route` says so. Raises
    DataError where another bundle has taken the folder's place meanwhile.
    """
    if route is None or known.route == route:
        return known
    try:
        precision, _, provider = route.partition("@")
        predictor = Predictor.load(bundle_folder, provider=provider, precision=precision)
    except GraftError:
        return known
    if bundle.identity(jsonfile.read(bundle_folder / bundle.FILE)) != known.bundle:
        raise DataError(f"another bundle than {known.bundle[:8]} is in {bundle_folder} by now: check again")
    return replace(known, sample=Sample(**answers(predictor, known.images)), route=_route(predictor))


def chosen(count: int, limit: int | None, seed: int) -> np.ndarray:
    """Rows out of `count`, rising: all of them, or `limit` drawn without replacement."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def answers(predictor: Predictor, images: np.ndarray) -> dict[str, np.ndarray]:
    """uint8 [N, S, S, 3] -> features float32 [N, D], label int64 [N], confidence float32 [N], as they are observed of
    what is served.

    A model that was exported without features is described by its probabilities: tests on a network's softmax find most
    shifts that tests on its features find (Rabanser et al., 2019, arXiv:1810.11953, sec. 5).
    """
    probabilities_name = predictor.output("probabilities", predictor.task)
    features_name = FEATURES if FEATURES in predictor.model.session.outputs else probabilities_name
    features, probabilities = [], []
    for start in range(0, len(images), BATCH):
        found = predictor.run(np.ascontiguousarray(images[start : start + BATCH]), [features_name, probabilities_name])
        features.append(found[features_name])
        probabilities.append(found[probabilities_name])
    chances = np.concatenate(probabilities)
    return {
        "features": np.concatenate(features).astype(np.float32),
        "label": chances.argmax(1).astype(np.int64),
        "confidence": chances.max(1).astype(np.float32),
    }


def _route(predictor: Predictor) -> str:
    return str(predictor.model.selection.route)


def _save_images(path: Path, images: np.ndarray) -> None:
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as stream:
        np.save(stream, images, allow_pickle=False)
    unfinished.replace(path)
