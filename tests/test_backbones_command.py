"""`graft backbones`: what there is, and a ranking on real pixels, held against the formulas asked one by one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from components import jsonfile, paths, tensorfile
from components import params as parameters
from components.backbones import local_weights
from components.backbones.build import build, preprocess_of, to_arrays
from components.data import prepared
from components.data.streams import crop, normalise
from components.errors import DataError, MachineError, ParamsError
from components.evaluation.transferability import log_me, ridge_probe
from components.reporting import backbones_page
from components.stages import ranking, ranking_features
from components.types import TASK, LabelSpace, Preprocess
from graft.cli import app
from promotion_support import PROMOTE

CLASSES = ("dark", "light", "middle")
SIZE = 16


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with 72 prepared images, whose brightness tells the class in most cases, and two files of weights:
    `seeing` is a random network, `blind` the same with zeros in place of its last layer."""
    root = tmp_path_factory.mktemp("backbones")
    rng = np.random.default_rng(0)
    rows, pixels = [], []
    for index in range(72):
        number = index % 3
        image = (rng.normal((60, 190, 125)[number], 22) + rng.normal(0, 40, (SIZE, SIZE, 3))).clip(0, 255)
        pixels.append(image.astype(np.uint8))
        part = ("train", "val", "test")[index // 3 % 4 % 3]  # half of them train
        rows.append(
            {
                "path": f"raw/{index}.png", "domain": "target", "split": part, "label": CLASSES[number],
                "sha256": hashlib.sha256(pixels[-1].tobytes()).hexdigest(), "width": SIZE, "height": SIZE,
            }
        )  # fmt: skip
    space = LabelSpace({TASK: CLASSES})
    prepared.write(root / paths.PREPARED, rows, {"target": np.stack(pixels)}, space, {})
    (root / "params.yaml").write_text(
        yaml.safe_dump(
            {
                "data": {"target": {"folder": "raw"}},
                "prepare": {"size": SIZE},
                "backbone": {"name": "lenet", "weights": "seeing.safetensors"},
                "compute": {"device": "cpu", "threads": 1},
                "evaluate": {"resamples": 100},
                "compare": ["linear_probe"],
                "students": [],
                "promote": PROMOTE,
                "strategies": {"linear_probe": {}},
            }
        )
    )
    torch.manual_seed(0)
    arrays = to_arrays(lenet())
    tensorfile.save(root / "seeing.safetensors", arrays)
    tensorfile.save(root / "blind.safetensors", {name: np.zeros_like(array) for name, array in arrays.items()})
    return root


@pytest.fixture
def workspace(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with empty caches of weights."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return root


def lenet():
    return build("lenet", preprocess=preprocess_of("lenet", "pretrain", size=SIZE, interpolation="bilinear"))


@pytest.fixture(scope="module")
def found(root: Path) -> dict:
    """Two files of weights ranked, and a third candidate that has none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("TORCH_HOME", str(root / "nothing"))
        asked = ranking.parse(["lenet=blind.safetensors,lenet=seeing.safetensors", "resnet18"])
        return ranking.rank(asked, seconds=0.01, engine="torch")


def test_what_tells_classes_apart_leads_and_what_sees_nothing_has_the_prior(found: dict) -> None:
    first, last = found["backbones"]
    assert (first["label"], last["label"]) == ("lenet (seeing.safetensors)", "lenet (blind.safetensors)")
    assert first["val"]["accuracy"] > 0.6
    assert last["val"]["accuracy"] == pytest.approx(1 / 3)  # one class for all
    assert first["log_me"] > last["log_me"]
    # Nothing is explained: each target has the mean square 1/3.
    assert last["log_me"] == pytest.approx(-0.5 * (np.log(2 * np.pi / 3) + 1))
    assert first["behind"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert last["behind"]["value"] == pytest.approx(first["val"]["accuracy"] - last["val"]["accuracy"])
    assert found["advice"]["backbone"] == {"name": "lenet", "weights": "seeing.safetensors"}
    assert found["advice"]["prepare"] == {"size": SIZE, "interpolation": "bilinear"}


def test_the_numbers_are_those_of_the_networks_features(found: dict, root: Path) -> None:
    data = prepared.read(root / paths.PREPARED).target
    backbone = lenet().eval()
    state = {name: torch.from_numpy(array) for name, array in tensorfile.load(root / "seeing.safetensors").items()}
    backbone.load_state_dict(state)
    with torch.no_grad():
        image = normalise(crop(torch.from_numpy(np.array(data.pixels)), backbone.preprocess), backbone.preprocess)
        features = backbone(image).numpy()
    train, val, labels = data.rows("train"), data.rows("val"), data.labels[TASK]
    probe = ridge_probe(features[train], labels[train])
    row = found["backbones"][0]
    assert row["log_me"] == pytest.approx(log_me(features[train], labels[train]), abs=1e-5)
    assert row["val"]["accuracy"] == pytest.approx((probe.answers(features[val]) == labels[val]).mean())
    assert row["leave_one_out"] == pytest.approx(probe.correct.mean())
    assert row["parameters"] == sum(value.numel() for value in backbone.parameters())
    assert row["features"] == features.shape[1]
    assert found["images"] == {"train": 36, "train_of": 36, "val": 18, "val_of": 18, "size": SIZE}
    assert 0 < row["latency"]["1"]["latency_ms"] < row["latency"]["32"]["latency_ms"]


def test_who_cannot_take_part_is_named_with_the_reason(found: dict) -> None:
    (entry,) = found["left_out"]
    assert entry["name"] == "resnet18"
    assert "checkpoints/resnet18-" in entry["reason"]


def test_the_report_lies_where_it_is_looked_for(found: dict, root: Path) -> None:
    assert jsonfile.read(root / paths.BACKBONES / "backbones.json") == found
    page = (root / paths.BACKBONES / "index.html").read_text()
    assert "lenet (seeing.safetensors)" in page
    assert "weights: seeing.safetensors" in page
    assert "resnet18" in page


def test_onnxruntime_finds_what_torch_finds(workspace: Path, found: dict) -> None:
    by_ort = ranking.rank(ranking.parse(["lenet=seeing.safetensors"]), seconds=0.01)
    assert (by_ort["engine"], found["engine"]) == ("onnxruntime", "torch")
    assert by_ort["backbones"][0]["log_me"] == pytest.approx(found["backbones"][0]["log_me"], abs=1e-4)


def test_fewer_images_are_a_share_of_every_class() -> None:
    labels = np.array([0] * 8 + [1] * 4 + [2] * 4)
    chosen = ranking_features.stratified(labels, 8, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [4, 2, 2]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert ranking_features.stratified(labels, 8, seed=0).tolist() == chosen.tolist()
    assert ranking_features.stratified(labels, 8, seed=1).tolist() != chosen.tolist()
    assert ranking_features.stratified(labels, 99, seed=0).tolist() == list(range(16))
    assert np.bincount(labels[ranking_features.stratified(labels, 3, seed=0)]).tolist() == [1, 1, 1]


def test_stored_images_of_another_size_are_resized_as_prepare_would(root: Path) -> None:
    pixels = prepared.read(root / paths.PREPARED).target.pixels
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    batch = ranking_features.batch(
        pixels, np.array([5, 0]), Preprocess(size=20, resize=24, interpolation="bicubic", **plain)
    )
    larger = np.asarray(Image.fromarray(pixels[5]).resize((24, 24), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(batch[0], larger[2:22, 2:22].transpose(2, 0, 1) / np.float32(255), atol=1e-6)
    same = ranking_features.batch(pixels, np.array([5]), Preprocess(size=SIZE, resize=SIZE, **plain))
    np.testing.assert_allclose(same[0], pixels[5].transpose(2, 0, 1) / np.float32(255), atol=1e-6)


def test_a_backbone_that_wants_larger_images_is_said_to_see_too_little(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking_features, "BATCH", 2)  # 32 of 224 pixels would take seconds
    torch.manual_seed(0)
    preprocess = preprocess_of("squeezenet1_1", "random.safetensors", size=256, interpolation="bilinear")
    arrays = to_arrays(build("squeezenet1_1", preprocess=preprocess))
    tensorfile.save(workspace / "random.safetensors", arrays)
    asked = ranking.parse(["squeezenet1_1=random.safetensors"])
    found = ranking.rank(asked, images=6, seconds=0.01, engine="torch")
    row = found["backbones"][0]
    assert (row["size"], row["input_size"], row["enlarged"]) == (256, 224, True)
    assert found["images"] == {"train": 6, "train_of": 36, "val": 6, "val_of": 18, "size": SIZE}
    assert "stored at 16 pixels" in backbones_page.verdict(found)[-1]
    assert "6 of 36 labelled training images" in backbones_page.conditions(found)


def test_by_default_those_are_ranked_whose_weights_are_here(workspace: Path, tmp_path: Path) -> None:
    params = parameters.load(Path())
    assert ranking.on_this_machine(params) == [ranking.Candidate("lenet", "seeing.safetensors")]
    checkpoint = local_weights.published("squeezenet1_1")[0].remedy.split("place the file at ")[1].split(",")[0]
    assert Path(checkpoint).is_relative_to(tmp_path)
    Path(checkpoint).parent.mkdir(parents=True)
    Path(checkpoint).touch()
    hub = tmp_path / "hub" / "models--timm--mobilenetv3_small_050.lamb_in1k"
    for file, content in (("refs/main", "abc"), ("snapshots/abc/model.safetensors", "")):
        (hub / file).parent.mkdir(parents=True)
        (hub / file).write_text(content)
    names = [candidate.name for candidate in ranking.on_this_machine(params)]
    assert names == ["lenet", "squeezenet1_1", "timm:mobilenetv3_small_050.lamb_in1k"]
    listed = CliRunner().invoke(app, ["backbones", "squeezenet*", "timm:mobilenetv3_small_0*", "lenet"])
    assert listed.exit_code == 0, listed.output
    lines = {line.split()[0]: line.split()[1:] for line in listed.output.splitlines() if line.strip()}
    assert lines["squeezenet1_1"] == ["1.2M", "224", "of", "256", "IMAGENET1K_V1", "IMAGENET1K_V1"]
    assert lines["squeezenet1_0"] == ["1.2M", "224", "of", "256", "IMAGENET1K_V1"]
    assert lines["timm:mobilenetv3_small_050.lamb_in1k"] == ["1.6M", "224", "of", "256", "default", "default"]
    assert lines["timm:mobilenetv3_small_075.lamb_in1k"][-1:] == ["default"]
    assert lines["lenet"][1:] == ["any", "pretrain"]


def test_weights_trained_here_are_a_candidate_and_stay_pretrain_in_the_advice(workspace: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "PRETRAINED", tmp_path / "pretrained")
        with pytest.raises(MachineError, match="no backbone could be ranked"):
            ranking.rank(ranking.parse(["lenet=pretrain"]), seconds=0.01, engine="torch")
        jsonfile.write(paths.PRETRAINED / "model.json", {"backbone": "lenet"})
        content = (workspace / "seeing.safetensors").read_bytes()
        (paths.PRETRAINED / "backbone.safetensors").write_bytes(content)
        found = ranking.rank(ranking.parse(["lenet=pretrain"]), seconds=0.01, engine="torch")
    assert found["advice"]["backbone"]["weights"] == "pretrain"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rank", "resnet81"], "did you mean 'resnet18'?"),
        (["--rank", "lenet="], "names no weights"),
        (["--rank", "--engine", "jax"], "choose from: auto, onnxruntime, torch"),
        (["--rank", "--images", "1"], "--images is 1"),
        (["resnext9*"], "no backbone is called 'resnext9*'"),
    ],
)
def test_what_cannot_be_asked_is_an_error_that_says_so(workspace: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["backbones", *arguments])
    assert isinstance(result.exception, ParamsError)
    assert message in str(result.exception)


def test_images_are_prepared_first(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text((workspace / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="dvc repro prepare"):
        ranking.rank()


def test_the_command_ranks_and_prints_what_to_write(workspace: Path) -> None:
    arguments = ["backbones", "--rank", "lenet=seeing.safetensors", "--seconds", "0.01", "--engine", "torch"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert yaml.safe_load(result.output.split("params.yaml:\n")[1].split("Page:")[0])["backbone"]["name"] == "lenet"
    assert max(map(len, result.output.splitlines())) <= 100


def row(label: str, accuracy: float, ms: float, log_me: float, *, front: bool, behind: tuple = (0.0, 0.0, 0.0)) -> dict:
    value, low, high = behind
    return {
        "label": label, "name": label, "weights": "w.pth", "val": {"accuracy": accuracy, "low": 0.5, "high": 0.99},
        "log_me": log_me, "latency": {"1": {"latency_ms": ms}, "32": {"images_per_s": 32e3 / ms}}, "parameters": 1000,
        "features": 8, "leave_one_out": 0.9, "input_size": 224, "front": front, "enlarged": False, "resized": False,
        "behind": {"value": value, "low": low, "high": high}, "times_as_fast": {"ratio": 20 / ms},
    }  # fmt: skip


def test_the_verdict_names_the_front_and_where_chance_begins() -> None:
    rows = [
        row("large", 0.95, 20, 0.1, front=True),
        row("wasteful", 0.94, 40, 0.4, front=False),
        row("medium", 0.93, 10, 0.2, front=True, behind=(0.02, -0.01, 0.05)),
        row("small", 0.80, 5, -0.3, front=True, behind=(0.15, 0.1, 0.2)),
    ]
    images = {"train": 9, "train_of": 9, "val": 200, "val_of": 200, "size": 256}
    sentences = backbones_page.verdict({"backbones": rows, "images": images})
    assert sentences == [
        "large tells the classes apart best: 95.0 % (50.0 to 99.0) of the 200 validation images.",
        "Nothing is both faster and more accurate than large, medium or small.",
        "medium is 2.0 times as fast and 2.0 percentage points behind (−1.0 to +5.0), which these images cannot tell "
        "from chance.",
        "small is 4.0 times as fast and 15.0 percentage points behind (+10.0 to +20.0).",
        "LogME, which looks at the training images alone, puts wasteful first (0.400 against 0.100).",
    ]
    alone = backbones_page.verdict({"backbones": [rows[0], rows[1]], "images": images})
    assert alone[1] == "None of the others is faster."
