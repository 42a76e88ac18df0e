"""Folders of images for `prepare`, its parameters, and what it wrote."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from components import jsonfile, paths
from components.data import prepared
from promotion_support import PROMOTE

COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "owl": (30, 30, 200)}


def fill(folder: Path, classes=COLOURS, count: int = 30, seed: int = 0) -> Path:
    """`count` images of noise around the colour of each class, in a folder per class."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = rng.integers(-30, 30, (18, 24, 3))
            image = Image.fromarray((np.array(COLOURS.get(name, (9, 9, 9))) + noise).clip(0, 255).astype(np.uint8))
            image.save(folder / name / f"{number:02d}.png")
    return folder


def set_params(**changes) -> None:
    """Writes params.yaml: images in `images`, with some sections in other words."""
    content = {
        "data": {"target": {"folder": "images"}},
        "prepare": {"size": 16, "val_fraction": 0.25, "test_fraction": 0.25, "labels_per_class": 4},
        "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"},
        "compare": ["fine_tune"],
        "students": [],
        "promote": PROMOTE,
        "strategies": {"fine_tune": {}},
    }
    Path("params.yaml").write_text(yaml.safe_dump({**content, **changes}))


def manifest_rows() -> list[dict]:
    with (paths.PREPARED / prepared.MANIFEST).open(newline="") as stream:
        return list(csv.DictReader(stream))


def reported() -> dict:
    return jsonfile.read(paths.PREPARED / "problems.json")


def prepared_bytes() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths.PREPARED.iterdir()}
