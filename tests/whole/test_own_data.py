"""Somebody's own photos, from a folder to a prediction: the session of docs/own-data.md on images made here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw

from whole_support import GRAFT, environment, small_workspace

SHAPES = ("circle", "square")
SIZES = ((80, 60), (60, 80), (72, 72))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/{train,val}/{circle,square}/*.jpg, some turned by their EXIF tag, and one file that is no image."""
    root = tmp_path_factory.mktemp("own") / "photos"
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("val", 12)):
        for shape in SHAPES:
            (root / part / shape).mkdir(parents=True)
            for number in range(count):
                picture(shape, SIZES[number % len(SIZES)], rng).save(
                    root / part / shape / f"{number:03}.jpg", quality=90
                )
    (root / "train" / "circle" / "broken.jpg").write_bytes(b"no image")
    return root


def picture(shape: str, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    noise = rng.integers(0, 90, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size)
    side = int(rng.integers(24, 40))
    left, top = int(rng.integers(4, size[0] - side - 4)), int(rng.integers(4, size[1] - side - 4))
    draw = ImageDraw.Draw(image)
    low, high = int(rng.integers(60, 120)), int(rng.integers(150, 255))
    colour = (high, 100, low) if shape == "circle" else (low, 100, high)
    (draw.ellipse if shape == "circle" else draw.rectangle)((left, top, left + side, top + side), fill=colour)
    return image


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights, as initialised: random features tell red circles from blue squares well enough."""
    from components import tensorfile
    from components.backbones.build import to_arrays
    from components.backbones.small_resnet import SmallResNet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    tensorfile.save(path, to_arrays(SmallResNet()))
    return path


def graft(root: Path, *arguments: str) -> str:
    return told(root, *GRAFT, *arguments)


def dvc(root: Path, *arguments: str) -> str:
    return told(root, sys.executable, "-m", "dvc", *arguments)


def told(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_a_folder_of_photos_to_a_prediction(tmp_path: Path, photos: Path, weights: Path) -> None:
    root = small_workspace(tmp_path / "workspace")
    told = graft(root, "init", str(photos), "--backbone", "small_resnet", "--weights", str(weights), "--yes")
    assert "circle" in told and "square" in told and "broken.jpg" in told
    params = yaml.safe_load((root / "params.yaml").read_text())
    assert params["data"]["target"]["layout"] == "split/class"
    assert params["data"]["target"]["splits"]["val"] == "test"
    assert params["backbone"] == {"name": "small_resnet", "weights": str(weights)}
    assert params["prepare"]["size"] == 32

    # One strategy and few numbers, so that the session takes seconds.
    params |= {"compare": ["linear_probe"], "students": []}
    params["evaluate"]["resamples"] = 200
    params["export"] = {"precisions": []}
    (root / "params.yaml").write_text(yaml.safe_dump(params))

    # As far as the bundle: what comes after it is tested on the built-in example, which takes a minute more.
    dvc(root, "repro", "-q", "export")
    evaluation = json.loads((root / "reports/evaluation.json").read_text())
    assert evaluation["images"]["test"] == 24
    assert evaluation["strategies"][0]["test"]["accuracy"] > 0.8
    problems = json.loads((root / "data/prepared/problems.json").read_text())
    assert any("broken.jpg" in entry for entry in problems["target"]["unreadable"])

    answers = graft(root, "predict", "--bundle", "bundle", str(photos / "val" / "circle" / "000.jpg"))
    assert "circle" in answers

    picture("square", (80, 60), np.random.default_rng(9)).save(photos / "train" / "square" / "new.jpg")
    assert "changed deps" in dvc(root, "status", "prepare"), "DVC did not notice a new photo"
    before = parts(root)
    dvc(root, "repro", "-q", "prepare")
    after = parts(root)
    assert len(after) == len(before) + 1
    assert {sha256: after[sha256] for sha256 in before} == before


def parts(root: Path) -> dict[str, str]:
    """digest of an image -> the part it is in"""
    import csv

    with (root / "data/prepared/manifest.csv").open(newline="") as stream:
        return {row["sha256"]: row["split"] for row in csv.DictReader(stream)}
