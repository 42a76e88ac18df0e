"""Backbones by name with weights by theirs: every one fits the contract, every mistake is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from components import tensorfile
from components.backbones import torchvision_models
from components.backbones.build import build, from_arrays, load_weights, preprocess_of, to_arrays
from components.backbones.small_resnet import SmallResNet
from components.errors import DataError, GraftError, MachineError, ParamsError
from components.types import Preprocess

CHEAP = ("squeezenet1_1", "mobilenet_v3_small", "resnet18")


def made(name: str, size: int):
    """A backbone as `pretrain` makes it, for images stored at `size`."""
    return build(name, preprocess=preprocess_of(name, "DEFAULT", size=size, interpolation="bilinear"))


@pytest.fixture(scope="module")
def squeezenet():
    return made("squeezenet1_1", 256)


@pytest.mark.parametrize("name", CHEAP)
def test_a_torchvision_model_gives_one_vector_for_each_image(name):
    backbone = made(name, 256).eval()
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, 224, 224))
    assert features.shape == (2, backbone.num_features)
    assert backbone.preprocess == Preprocess(224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


def test_small_resnet_is_built_at_the_stored_size():
    assert made("small_resnet", 20).preprocess.size == 20


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(ParamsError, match=r"backbone\.name is 'resnet81'.*did you mean 'resnet18'"):
        made("resnet81", 256)
    with pytest.raises(ParamsError, match="small_resnet"):
        made("smal_resnet", 32)


def test_another_size_is_refused_with_the_right_one():
    with pytest.raises(ParamsError, match=r"prepare\.size is 32.*set prepare\.size to 256"):
        made("squeezenet1_1", 32)


def _full_model(seed: int = 3) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torchvision.models.squeezenet1_1(weights=None).eval()


def _has_the_features_of(full: torch.nn.Module, backbone) -> bool:
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = full.features(image).mean((2, 3))
        return torch.allclose(backbone.eval()(image), expected, atol=1e-6)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _file(folder, kind: str, state: dict) -> str:
    path = folder / f"weights.{kind}"
    if kind == "safetensors":
        tensorfile.save(path, {key: value.numpy() for key, value in state.items()})
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("kind", ["pth", "pt", "safetensors"])
def test_a_file_of_torchvision_s_own_model_is_loaded_without_its_head(kind, tmp_path):
    full = _full_model()
    backbone = made("squeezenet1_1", 256)
    found = load_weights(backbone, path := _file(tmp_path, kind, full.state_dict()))
    assert found == {"weights_file": f"weights.{kind}", "weights_file_sha256": sha256(Path(path).read_bytes())}
    assert _has_the_features_of(full, backbone)


def test_a_file_of_our_own_is_loaded(tmp_path):
    one, other = SmallResNet(widths=(4, 4, 4)), SmallResNet(widths=(4, 4, 4))
    load_weights(other, _file(tmp_path, "safetensors", one.state_dict()))
    assert all(np.array_equal(value, to_arrays(other)[key]) for key, value in to_arrays(one).items())


def test_the_weights_of_another_model_are_refused(squeezenet, tmp_path):
    path = _file(tmp_path, "pth", SmallResNet(widths=(4, 4, 4)).state_dict())
    with pytest.raises(DataError, match=r"weights\.pth lacks \d+ of the backbone's \d+ tensors"):
        load_weights(squeezenet, path)


def test_weights_of_the_same_names_and_other_shapes_are_refused(tmp_path):
    path = _file(tmp_path, "safetensors", SmallResNet(widths=(4, 4, 8)).state_dict())
    with pytest.raises(DataError, match=r"weights\.safetensors"):
        load_weights(SmallResNet(widths=(4, 4, 4)), path)


def test_the_weights_of_a_deeper_model_are_refused(tmp_path):
    """They hold everything the shallower one asks for, but what was trained together is torn apart."""
    path = _file(tmp_path, "safetensors", SmallResNet(widths=(4, 4, 4), blocks=2).state_dict())
    with pytest.raises(DataError, match=r"weights\.safetensors"):
        load_weights(SmallResNet(widths=(4, 4, 4)), path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"], ids=["empty", "garbage"])
def test_a_damaged_file_is_refused_by_name(name, content, squeezenet, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")) as caught:
        load_weights(squeezenet, str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_file_that_would_run_code_is_refused(squeezenet, tmp_path):
    torch.save(_full_model(), tmp_path / "model.pth")  # a pickled object, not a table of tensors
    with pytest.raises(GraftError, match=r"model\.pth"):
        load_weights(squeezenet, str(tmp_path / "model.pth"))


def test_a_missing_file_is_refused(squeezenet):
    with pytest.raises(ParamsError, match=r"backbone\.weights is 'none\.pth', but there is no such file"):
        load_weights(squeezenet, "none.pth")


def test_an_unknown_weights_name_is_refused_with_a_suggestion(squeezenet):
    with pytest.raises(ParamsError, match=r"'IMAGENET1K_V9'.*did you mean 'IMAGENET1K_V1'"):
        load_weights(squeezenet, "IMAGENET1K_V9")


def test_a_weights_name_for_our_own_network_is_refused():
    with pytest.raises(ParamsError, match=r"backbone\.weights is 'IMAGENET1K_V1'"):
        load_weights(SmallResNet(), "IMAGENET1K_V1")


def test_named_weights_come_from_the_local_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.get_model_weights("squeezenet1_1")["IMAGENET1K_V1"].url
    path = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    full = _full_model(seed=4)
    torch.save(full.state_dict(), path)
    with pytest.raises(DataError, match=r"squeezenet1_1-b8a52dc0\.pth is damaged or another file"):
        load_weights(made("squeezenet1_1", 256), "IMAGENET1K_V1")
    monkeypatch.setattr(torchvision_models, "_hash_in", lambda file: sha256(path.read_bytes())[:8])
    backbone = made("squeezenet1_1", 256)
    load_weights(backbone, "IMAGENET1K_V1")
    assert _has_the_features_of(full, backbone)


def test_named_weights_that_cannot_be_fetched_say_where_the_file_belongs(squeezenet, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(MachineError) as caught:
        load_weights(squeezenet, "IMAGENET1K_V1")
    assert str(tmp_path) in str(caught.value)
    assert "squeezenet1_1-" in str(caught.value)
    assert "TORCH_HOME" in str(caught.value)


def test_arrays_and_back_for_every_dtype():
    one, other = SmallResNet(widths=(4, 4, 4)), SmallResNet(widths=(4, 4, 4))
    one.train()(torch.randn(4, 3, 32, 32))  # moves statistics and counters
    arrays = to_arrays(one.to(memory_format=torch.channels_last))
    assert {str(array.dtype) for array in arrays.values()} == {"float32", "int64"}
    from_arrays(other, arrays)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_arrays_of_another_model_are_refused():
    with pytest.raises(DataError, match="belong to another model") as caught:
        from_arrays(SmallResNet(widths=(4, 4, 4)), to_arrays(SmallResNet(widths=(4, 4, 8))))
    assert "\n" not in str(caught.value)
