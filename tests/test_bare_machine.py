"""Training and inference run where only torch, torchvision, numpy, Pillow and onnxruntime are installed."""

from __future__ import annotations

import subprocess
import sys

from components.strategies import catalogue

# Whatever else the environment holds is hidden from the process, as if it were not installed.
HIDDEN = """
import sys
for name in ("dvc", "jinja2", "matplotlib", "mlflow", "onnxscript", "pandas", "prefect", "pydantic", "rich",
             "safetensors", "scipy", "sklearn", "typer", "yaml"):
    sys.modules[name] = None  # makes an import of it fail
"""

TRAIN = """
import numpy as np
from pathlib import Path
from components.backbones.build import to_arrays
from components.backbones.small_resnet import SmallResNet
from components.data.prepared import Domain, Prepared
from components.params import ComputeParams, Recipe
from components.strategies import catalogue
from components.strategies.teacher import Teacher
from components.training.compute import choose
from components.training.session import train
from components.types import LabelSpace
from components import tensorfile

rng = np.random.default_rng(0)
labels = np.arange(60) % 2
pixels = (rng.integers(0, 100, (60, 16, 16, 3)) + 120 * labels[:, None, None, None]).astype(np.uint8)
splits = np.array(["train", "train", "train", "val", "test"] * 12)
domain = Domain(pixels, {"label": labels, "dim": 1 - labels}, splits, [""] * 60, [""] * 60)
space = LabelSpace({"label": ("dark", "bright"), "dim": ("no", "yes")}, {"label": ((0.0, 1.0), (1.0, 0.0))})
data = Prepared(space, {"target": domain, "source": domain})
episodes = {"n_way": 2, "k_shot": 2, "n_query": 2}
compute = choose(ComputeParams(device="cpu", threads=1))
teacher = None
for name in catalogue.STRATEGIES:
    kind, entry = catalogue.load(name), catalogue.STRATEGIES[name]
    more = {key: value for key, value in episodes.items() if key in catalogue.hyper_parameters(name)}

    def make():
        backbone = SmallResNet((4, 4, 8), size=16)
        if "teacher" in entry.needs:
            more["teacher"] = Teacher(teacher, backbone.preprocess)
        return kind(backbone, space if entry.tasks == "all" else space.only("label"), **more)

    done = train(make, data, Recipe(steps=4, batch_size=8), compute, seed=0, identity=name,
                 checkpoints=Path(sys.argv[1]), log=lambda record: None)
    teacher = done.strategy if name == "fine_tune" else teacher
    tensorfile.save(Path(sys.argv[1]) / f"{name}.safetensors", to_arrays(done.strategy))
    assert done.logits["test"]["label"].shape == (12, 2)
print("trained", len(catalogue.STRATEGIES))
"""

SERVE = """
from components.inference import predictor
from components.runtimes import session
print("served", sorted({"torch", "torchvision"} & set(sys.modules)))
"""


def run(code: str, *arguments: str) -> str:
    told = subprocess.run([sys.executable, "-c", HIDDEN + code, *arguments], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_every_strategy_trains(tmp_path) -> None:
    assert run(TRAIN, str(tmp_path)) == f"trained {len(catalogue.STRATEGIES)}\n"


def test_the_predictor_imports_neither_torch_nor_anything_hidden() -> None:
    assert run(SERVE) == "served []\n"
