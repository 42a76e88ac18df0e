"""A small workspace for `graft init`, images for it, and the command itself."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import typer
from PIL import Image

from graft.cli import app

PIPELINE = """\
# the graph
stages:
  prepare:
    cmd: mkdir -p data/prepared && date +%N > data/prepared/when
    deps:
      - data/raw       # what comes with Graft
    params: [data]
    outs:
      - data/prepared
"""
PARAMS = """\
data:
  target: {dataset: handwritten_digits}
compare: [linear_probe, hard_sharing, zero_shot]
students: []
teacher: pretrained
prepare:
  size: 32
backbone:
  name: small_resnet
  weights: pretrain
train:
  steps: 10
strategies:
  linear_probe: {}
  hard_sharing: {}
  zero_shot: {unseen: ["4", "9"]}
promote:
  registered_model: digits
  aim: better
  min_gain: 0.0
  margin: 0.01
  min_speed_up: 1.2
  max_class_loss: 0.05
  max_slice_loss: 0.05
  max_ece_gain: 0.03
  max_latency_ratio: 2.0
  max_size_ratio: 4.0
  min_agreement: 0.995
  max_known_loss: 0.05
  approval: auto
"""
"""As short as it may be: where it does not matter what is in Graft's own, which takes a tenth of a second to read."""
SOURCE = ("--backbone", "small_resnet", "--source")


def photos(root: Path, *folders: str, count: int = 4, seed: int = 0, suffix: str = ".png") -> Path:
    """`count` different images in each of the folders."""
    rng = np.random.default_rng((seed, *root.name.encode()))
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}{suffix}")
    return root


@cache
def _command() -> Any:
    """Made once: it takes as long as looking at a folder."""
    return typer.main.get_command(app)


def init(*arguments: object) -> str:
    """What the command printed, with nobody at the keyboard. Errors come through as they are raised."""
    out = io.StringIO()
    with redirect_stdout(out), mock.patch("sys.stdin", io.StringIO()):
        _command().main(["init", *map(str, arguments)], standalone_mode=False)
    return out.getvalue()
