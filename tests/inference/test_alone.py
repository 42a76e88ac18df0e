"""A bundle taken away from everything else: in an environment that has numpy, Pillow and onnxruntime and no other
package, it gives the answers of the torch model that it was made from."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components.data import images
from components.deployment import bundle
from components.types import TASK

ROOT = Path(__file__).resolve().parents[2]
RUNTIMES = {"onnxruntime-gpu", "onnxruntime"}
"""Of which every environment has one."""
NEEDED = ["numpy", "pillow", *RUNTIMES & {found.metadata["Name"] for found in metadata.distributions()}]
GRAFT = """
import json, sys
from pathlib import Path
from components.inference.predictor import Predictor
predictor = Predictor.load(Path(sys.argv[1]), provider="cpu")
answers = [[answer.class_name, answer.probability, answer.abstain] for answer in predictor.predict(sys.argv[2:])]
print(json.dumps({"answers": answers, "from": sys.modules["components"].__path__[0]}))
"""
PLAIN = """
import json, sys
import numpy, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["graft"])["classes"]["label"]
for path in sys.argv[2:]:
    pixels = numpy.asarray(Image.open(path).convert("RGB"))
    probabilities = session.run(["probabilities"], {"image": pixels[None]})[0][0]
    print(names[probabilities.argmax()], float(probabilities.max()))
"""


def _with_needs(name: str) -> Iterator[str]:
    """A distribution and those that it cannot be installed without."""
    yield name
    for requirement in metadata.requires(name) or ():
        if "extra" not in requirement:
            yield from _with_needs(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """An environment's interpreter. The packages are those installed here, linked one by one: downloading them again
    would take a minute and prove no more."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in {need for package in NEEDED for need in _with_needs(package)}:
        distribution = metadata.distribution(name)
        for part in {file.parts[0] for file in distribution.files or ()} - {".."}:
            if not (site / part).exists():
                (site / part).symlink_to(str(distribution.locate_file(part)))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def pictures(picture, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        Image.fromarray(picture(40 + number, 50, seed=number)).save(path)
    return paths


@pytest.fixture(scope="module")
def expected(to_export, pictures) -> np.ndarray:
    """Probabilities [4, 3] of the torch model, preprocessed as in training."""
    strategy = to_export()
    preprocess = strategy.backbone.preprocess
    cut = [images.fit(images.read(path), preprocess.resize, preprocess.size) for path in pictures]
    shares = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (preprocess.mean, preprocess.std))
    with torch.no_grad():
        return strategy((shares - mean) / std)[TASK].softmax(1).numpy()


def _run(python: Path, code: str, *arguments: object, folder: Path) -> str:
    done = subprocess.run(
        [python, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_environment_has_nothing_else(python, tmp_path):
    code = "from importlib import metadata; print(*(found.metadata['Name'] for found in metadata.distributions()))"
    installed = {name.lower() for name in _run(python, code, folder=tmp_path).split()}
    assert set(NEEDED) <= installed
    assert not installed & {"graft", "torch", "torchvision", "onnx", "pydantic", "typer", "rich", "pyyaml", "openvino"}


def test_a_bundle_alone_answers(python, exported, pictures, expected, tmp_path):
    facts = {
        "strategy": "fine_tune",
        "classes": {"label": ["cat", "dog", "owl"]},
        "preprocess": {},
        "lineage": {"weights_sha256": "0"},
    }
    bundle.write(tmp_path / "made here", {"fp32": exported}, facts)
    shutil.copytree(tmp_path / "made here", tmp_path / "elsewhere" / "bundle")
    shutil.rmtree(tmp_path / "made here")
    code = tmp_path / "code"
    shutil.copytree(ROOT / "components", code / "components", ignore=shutil.ignore_patterns("__pycache__"))
    told = json.loads(_run(python, GRAFT, tmp_path / "elsewhere" / "bundle", *pictures, folder=code))
    assert told["from"] == str(code / "components")
    names = np.array(["cat", "dog", "owl"])
    assert [answer[0] for answer in told["answers"]] == names[expected.argmax(1)].tolist()
    np.testing.assert_allclose([answer[1] for answer in told["answers"]], expected.max(1), rtol=0, atol=1e-4)


def test_the_onnx_file_alone_answers_a_program_that_knows_nothing_of_graft(
    python, exported, pictures, expected, tmp_path
):
    """From pixels of any size. The graph resizes nearly as Pillow does, and so it is nearly as sure."""
    shutil.copy(exported, tmp_path / "model.onnx")
    told = [
        line.split() for line in _run(python, PLAIN, tmp_path / "model.onnx", *pictures, folder=tmp_path).splitlines()
    ]
    names = np.array(["cat", "dog", "owl"])
    assert [name for name, _ in told] == names[expected.argmax(1)].tolist()
    np.testing.assert_allclose([float(value) for _, value in told], expected.max(1), rtol=0, atol=0.02)
