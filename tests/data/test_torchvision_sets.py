"""torchvision's data sets by name, written as folders like a user's own."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from components.data.datasets import torchvision_sets
from components.errors import DataError, MachineError, ParamsError


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write_idx(path, values: np.ndarray) -> None:
    """The format of MNIST's files (yann.lecun.com/exdb/mnist): type 8 is uint8, then the rank, then the shape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes())


def test_parts_and_class_names_are_folders_and_pixels_stay(workspace):
    """MNIST from its own files: `train` and `test` are folders, digits have torchvision's names."""
    rng = np.random.default_rng(0)
    raw = workspace / torchvision_sets.DOWNLOADS / "mnist/MNIST/raw"
    for prefix, digits in (("train", [3, 0, 3]), ("t10k", [9])):
        images = rng.integers(0, 256, (len(digits), 28, 28), dtype=np.uint8)
        _write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        _write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.array(digits, np.uint8))
        if prefix == "train":
            expected = images
    folder = workspace / "data/raw/mnist"
    torchvision_sets.materialise("mnist", folder)
    written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert written == [
        "test/9 - nine/000000.png", "train/0 - zero/000001.png",
        "train/3 - three/000000.png", "train/3 - three/000002.png",
    ]  # fmt: skip
    assert (np.asarray(Image.open(folder / "train/3 - three/000002.png")) == expected[2]).all()


def test_arguments_are_typed_and_one_part_needs_no_folder(workspace):
    folder = workspace / "fake"
    torchvision_sets.materialise("FakeData", folder, {"size": "5", "num_classes": "2", "image_size": "3x6x8"})
    images = sorted(folder.rglob("*.png"))
    assert len(images) == 5
    assert {path.parent.name for path in images} <= {"0", "1"}
    assert Image.open(images[0]).size == (8, 6)
    first = images[0].stat().st_mtime_ns
    torchvision_sets.materialise("FakeData", folder, {"size": "5", "num_classes": "2", "image_size": "3x6x8"})
    assert images[0].stat().st_mtime_ns == first  # it is there already


def test_files_go_over_byte_for_byte(workspace):
    """EuroSAT keeps a folder of JPEGs: nothing is decoded and encoded again."""
    root = workspace / torchvision_sets.DOWNLOADS / "eurosat/eurosat/2750"
    for kind in ("Forest", "River"):
        (root / kind).mkdir(parents=True)
        pixels = np.random.default_rng(len(kind)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / kind / "x.jpg", quality=50)
    torchvision_sets.materialise("eurosat", workspace / "out")
    assert (workspace / "out/River/000001.jpg").read_bytes() == (root / "River/x.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        ("CIFR10", {}, ParamsError, "did you mean 'CIFAR10'"),
        ("FakeData", {"sise": "3"}, ParamsError, "takes no 'sise'; did you mean 'size'"),
        ("FakeData", {"size": "many"}, ParamsError, "size is 'many', but must be like 1000"),
        ("EMNIST", {}, ParamsError, r"needs 'split': torchvision:EMNIST\?split=…"),
        ("FakeData", {"size": "0"}, DataError, "has no images"),
        ("ImageNet", {}, MachineError, r"place what it downloads in \.graft/downloads/imagenet"),
    ],
)
def test_errors(name, options, kind, message, workspace):
    with pytest.raises(kind, match=message):
        torchvision_sets.materialise(name, workspace / "out", options)
    assert not (workspace / "out").exists()


def test_without_a_network_it_is_said_what_to_place_where(workspace, monkeypatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with pytest.raises(MachineError, match=r"cifar-10-python.*could not be fetched.*place .*downloads/cifar10,"):
        torchvision_sets.materialise("cifar10", workspace / "out")
