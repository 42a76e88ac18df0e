"""The stages in a toy workspace: its parameters, for what several test modules run there."""

from __future__ import annotations

from pathlib import Path

import yaml

from promotion_support import PROMOTE

STRATEGIES = {
    "linear_probe": {"l2": [0.01, 1.0]},
    "gentle": {"strategy": "fine_tune", "body_lr_factor": 0.5, "recipe": {"steps": 6}},
    "from_scratch": {},
}
SEEDS = [0, 1]


def write_params(folder: Path, **changes) -> None:
    content = {
        "data": {"target": {"folder": "raw/target"}, "source": {"folder": "raw/source"}},
        "prepare": {"size": 16},
        "pretrain": {"steps": 8, "batch_size": 16, "log_every": 4},
        "train": {"steps": 8, "batch_size": 16, "log_every": 4, "evaluate_every": 4, "seeds": SEEDS},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
        "evaluate": {"resamples": 100},
        "students": [],
        "promote": PROMOTE,
        "strategies": STRATEGIES,
    }
    content |= changes
    content.setdefault("compare", [name for name in content["strategies"] if name not in content["students"]])
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
