"""The world changes, and the pipeline notices and adapts: `make drift-demo`, or `python -m benchmarks.drift_demo`.

A model learns handwritten digits with labels, and is put into production. Then images come in by the usual camera, and
from some day on by another, whose pictures are inverted and blurred. The commands are those of every day, run in a
workspace of its own below .graft/runs: `graft run`, `graft predict --observe`, `graft monitor`, `graft adapt`. The
labels of what comes in serve to report accuracy, here, after the fact; none of the commands is given any.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from components import jsonfile, paths, workspaces
from components.data.datasets import catalogue
from components.deployment import bundle

NAME = "drift-demo"
CAMERA = Path("data/raw/camera")
PARTS = {"usual": 400, "changed": 400, "fresh": 200}
"""Images that come in: before the change, after it, and after the adaptation, which it has not seen. The others are
the labelled ones."""
OVERLAY = {
    "data": {
        "target": {"dataset": None, "folder": CAMERA.as_posix(), "metadata": None},
        "attributes": None,
        "tasks": [],
    },
    "prepare": {"labels_per_class": None},
    "compare": ["linear_probe", "fine_tune"],
    "adapt": {"compare": ["source_only", "dann", "cdan", "mcc"]},
    "strategies": {name: {"recipe": {"batch_size": 32, "steps": 100}} for name in ("dann", "cdan", "mcc")},
    "students": [],
    "teacher": None,
    "train": {"seeds": [0]},
    "explain": {"images": 4, "points": 60},
    "benchmark": {"seconds": 0.1},
    "promote": {"registered_model": NAME},
    "monitor": {"cool_down_h": 0},
}
BLUR_PX = 1.0
DRIFT = 4
"""Exit code of `graft monitor` that has found drift."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="which images are which")
    seed = parser.parse_args().seed
    root = Path().resolve()
    began = time.monotonic()
    place, coming = _workspace(root, seed)
    demo = Demo(place, began)

    demo.tell("A model is trained on labelled digits and put into production.")
    demo.graft("run")
    usual, changed, fresh = (coming / part for part in PARTS)
    before = demo.answer("Images come in by the usual camera.", usual)
    if demo.graft("monitor", may_end_with=DRIFT) == DRIFT:
        sys.exit("drift-demo: a false alarm; with monitor.alpha 0.001 that is one check in a thousand")
    fallen = demo.answer("The camera changes: inverted and blurred.", changed)
    if demo.graft("monitor", may_end_with=DRIFT) != DRIFT:
        sys.exit("drift-demo: the change was not noticed")
    old = demo.answer("What the old model makes of images that come after that.", fresh, observe=False)
    demo.tell("Drift starts a retraining: strategies that need no labels adapt to the images that came in.")
    demo.graft("adapt")
    new = demo.answer("What the new champion makes of the same images.", fresh, observe=False)
    known = demo.answer("And of those of the usual camera.", usual, observe=False)
    demo.graft("history")
    found = {"usual": before, "changed": fallen, "fresh": old, "fresh_adapted": new, "usual_adapted": known,
             "regained": (new - old) / (before - old), "seconds": time.monotonic() - began}  # fmt: skip
    jsonfile.write(place / "drift-demo.json", found)
    _summary(found, place)
    if before - fallen < 0.2 or found["regained"] < 0.5:
        sys.exit("drift-demo: the loss was under 20 points, or less than half of it was regained")


class Demo:
    """The workspace, driven by its commands."""

    def __init__(self, place: Path, began: float) -> None:
        self.place, self._began = place, began

    def tell(self, text: str) -> None:
        print(f"\n[{time.monotonic() - self._began:5.0f} s] {text}", flush=True)

    def graft(self, *arguments: str, may_end_with: int = 0) -> int:
        print(f"$ graft {' '.join(arguments)}", flush=True)
        command = [sys.executable, "-m", "graft", *arguments]
        code = subprocess.run(command, cwd=self.place, env=_environment(self.place), check=False).returncode
        if code not in (0, may_end_with):
            sys.exit(f"drift-demo: graft {arguments[0]} failed")
        return code

    def answer(self, text: str, images: Path, *, observe: bool = True) -> float:
        """Asks the champion about a folder of images; returns the share that it answers rightly."""
        self.tell(text)
        table = self.place / "answers.csv"
        watched = ["--observe", "--keep-images", "64"] if observe else []
        self.graft("predict", str(images.relative_to(self.place)), "--out", table.name, *watched)
        with table.open(newline="", encoding="utf-8") as stream:
            right = [row["class"] == _class(Path(row["path"])) for row in csv.DictReader(stream)]
        accuracy = sum(right) / len(right)
        print(f"{accuracy:.1%} of {len(right)} are right")
        return accuracy


def _environment(place: Path) -> dict[str, str]:
    """The demonstration keeps its own history, wherever this process's would go."""
    led = ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI")
    own = {name: value for name, value in os.environ.items() if name not in led}
    return {**own, "PYTHONPATH": str(place)}


def _workspace(root: Path, seed: int) -> tuple[Path, Path]:
    """A fresh workspace with the labelled images, and the folder of those that come in."""
    shutil.rmtree(root / paths.RUNS / NAME, ignore_errors=True)
    digits = root / paths.RAW / "handwritten_digits"
    catalogue.materialise("handwritten_digits", digits, per_class=None, seed=seed)
    everything = sorted(digits.glob("*/*.png"))
    order = np.random.default_rng(seed).permutation(len(everything))
    taken = np.split(order, np.cumsum(list(PARTS.values())))
    files = {str(CAMERA / everything[row].parent.name / everything[row].name): everything[row] for row in taken[-1]}
    place = workspaces.isolated(root, NAME, OVERLAY, files=files)
    coming = place / "coming"
    for part, rows in zip(PARTS, taken, strict=False):
        _copies([everything[row] for row in rows], coming / part, change=part != "usual")
    return place, coming


def _copies(files: Sequence[Path], folder: Path, *, change: bool) -> None:
    """Named in the order in which they come in: in order of their classes, the last ones would be of one kind."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        with Image.open(file) as image:
            picture = image.convert("RGB")
        if change:
            picture = ImageOps.invert(picture).filter(ImageFilter.GaussianBlur(BLUR_PX))
        picture.save(folder / f"{number:04d}_{file.parent.name}.png")


def _class(file: Path) -> str:
    return file.stem.rpartition("_")[2]


def _summary(found: dict[str, float], place: Path) -> None:
    champion = jsonfile.read(place / paths.CHAMPION / bundle.FILE)["strategy"]
    rows = [
        ("usual camera", found["usual"], found["usual_adapted"]),
        ("changed camera, images nobody has seen", found["fresh"], found["fresh_adapted"]),
    ]
    print(f"\n| accuracy | before | after: {champion}, no new label |\n|---|---:|---:|")
    for name, before, after in rows:
        print(f"| {name} | {before:.1%} | {after:.1%} |")
    print(f"\nRegained: {found['regained']:.0%} of the loss, in {found['seconds']:.0f} s in all.")
    shown = place.relative_to(Path().resolve())
    print(f"Pages: {shown / paths.DRIFT_REPORT}, and the report of the adaptation that `graft adapt` named.")


if __name__ == "__main__":
    main()
