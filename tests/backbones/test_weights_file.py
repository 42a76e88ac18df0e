"""Weights in whatever wrapping and with whatever names they come, and clear words for those that do not fit."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from components.backbones.build import build, from_arrays, load_weights, preprocess_of, stored_size, to_arrays
from components.backbones.small_resnet import SmallResNet
from components.backbones.torchvision_models import TorchvisionBackbone
from components.backbones.weights_file import unprefixed
from components.errors import DataError, ParamsError


def made(name: str, size: int = 64) -> TorchvisionBackbone:
    resize, _, interpolation = stored_size(name, "DEFAULT", size)
    return build(
        name, preprocess=preprocess_of(name, "DEFAULT", size=resize, interpolation=interpolation, input_size=size)
    )


def saved(folder: Path, content: object) -> str:
    torch.save(content, folder / "weights.pth")
    return str(folder / "weights.pth")


def small(widths: tuple[int, ...] = (4, 4, 4)) -> SmallResNet:
    return SmallResNet(widths=widths)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module.", "module.backbone."])
def test_wrappers_and_prefixes_are_taken_off(wrapper, prefix, tmp_path):
    one, other = small(), small()
    state = {f"{prefix}{key}": value for key, value in one.state_dict().items()}
    # What torchvision's own training script keeps beside the weights.
    path = saved(tmp_path, {wrapper: state, "epoch": 9, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}})
    load_weights(other, path)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_prefixes_are_left_where_they_are_part_of_the_name():
    state = {"model.model.weight": torch.zeros(1), "model.bias": torch.zeros(1)}
    assert unprefixed(state, {"model.model.weight", "model.bias"}) is state
    assert set(unprefixed(state, {"weight"})) == {"weight", "bias"}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_exactly(kind, tmp_path):
    from safetensors.torch import save_file

    one, other = small(), small()
    state = {key: value.to(kind) if value.is_floating_point() else value for key, value in one.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    load_weights(other, str(tmp_path / "weights.safetensors"))
    for key, value in state.items():
        assert torch.equal(value.to(other.state_dict()[key].dtype), other.state_dict()[key])


def test_a_file_older_than_batch_norm_s_counter_fits(tmp_path):
    one, other = small(), small()
    state = {key: value for key, value in one.state_dict().items() if not key.endswith("num_batches_tracked")}
    load_weights(other, saved(tmp_path, state))
    assert torch.equal(one.stem[0].weight, other.stem[0].weight)


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [
        ("densenet121", ".denselayer1.norm.1.", ".denselayer1.norm1."),
        ("vit_b_32", ".mlp.linear_2.", ".mlp.3."),
    ],
)
def test_the_names_in_torchvision_s_own_files_are_understood(name, then, now):
    with torch.device("meta"):
        backbone = TorchvisionBackbone(name, 64)
        whole = torchvision.models.get_model(name, **({"image_size": 224} if name == "vit_b_32" else {}))
        state = {key.replace(now, then): value for key, value in whole.state_dict().items()}
        assert set(state) != set(whole.state_dict())
        assert set(backbone.translated(state, Path("any.pth"), "")) == set(backbone.state_dict())


def test_auxiliary_classifiers_and_another_head_are_left_out(tmp_path):
    whole = torchvision.models.googlenet(aux_logits=True, init_weights=False, num_classes=7)
    whole.fc = nn.Sequential(nn.Dropout(), nn.Linear(1024, 7))  # as tutorials replace it
    backbone = made("googlenet")
    load_weights(backbone, saved(tmp_path, whole.state_dict()))
    assert torch.equal(backbone.model.inception5b.branch1.conv.weight, whole.inception5b.branch1.conv.weight)


def test_a_transformer_s_positions_are_resampled():
    """From 2 x 2 places to 3 x 3: corners stay, the middle is the mean of all four (bicubic, corners aligned)."""
    with torch.device("meta"):
        backbone = made("vit_b_32", 96)
        state = torchvision.models.vit_b_32(image_size=64).state_dict()
    state["encoder.pos_embedding"] = torch.arange(5.0).view(1, 5, 1).expand(1, 5, 768)
    found = backbone.translated(state, Path("any.pth"), "")["model.embedding.pos_embedding"][0, :, 0]
    torch.testing.assert_close(found[[0, 1, 3, 5, 7, 9]], torch.tensor([0.0, 1.0, 2.0, 2.5, 3.0, 4.0]))


def test_what_was_written_is_read_again():
    """torchvision's MnasNet asks a state for a version, which arrays do not have."""
    one, other = made("mnasnet0_5"), made("mnasnet0_5")
    from_arrays(other, to_arrays(one))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_another_architecture_is_named_with_the_first_mismatch(tmp_path):
    with torch.device("meta"):
        whole = torchvision.models.resnet34()
        shallower, wider, other = (made(name) for name in ("resnet18", "resnet50", "densenet121"))
    path = saved(tmp_path, {key: torch.zeros(value.shape) for key, value in whole.state_dict().items()})
    with pytest.raises(DataError, match=r"has 96 .* first 'layer1\.2\.conv1\.weight'; it looks like a resnet34"):
        load_weights(shallower, path)
    with pytest.raises(DataError, match=r"'model\.layer1\.0\.conv1\.weight' has the shape \[64, 64, 3, 3\] in place"):
        load_weights(wider, path)
    with pytest.raises(DataError, match=r"lacks 604 of the backbone's 725 tensors, first 'model\.stem\.conv0\.weight'"):
        load_weights(other, path)
    with pytest.raises(DataError, match=r"'stem\.0\.weight' has the shape \[4, 3, 3, 3\] in place of \[8, 3, 3, 3\]"):
        load_weights(small((8, 4, 4)), saved(tmp_path, small().state_dict()))


def test_values_that_are_no_numbers_are_refused(tmp_path):
    state = small().state_dict()
    state["stem.0.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match=r"values in 'stem\.0\.weight' that are no finite numbers"):
        load_weights(small(), saved(tmp_path, state))


def test_a_file_without_weights_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"weights\.pth has no tensors by name; its keys are epoch"):
        load_weights(small(), saved(tmp_path, {"epoch": 3}))
    with pytest.raises(DataError, match=r"weights\.pth holds a list"):
        load_weights(small(), saved(tmp_path, [1, 2]))


def test_weights_without_linear_layers_are_refused():
    with torch.device("meta"):
        backbone = TorchvisionBackbone("vgg16", 64)
    with pytest.raises(ParamsError, match=r"'IMAGENET1K_FEATURES', which has no values .* choose from: IMAGENET1K_V1"):
        load_weights(backbone, "IMAGENET1K_FEATURES")


def test_the_sizes_that_images_are_stored_in():
    assert stored_size("resnet50", "IMAGENET1K_V2") == (232, 224, "bilinear")
    assert stored_size("vit_b_16", "IMAGENET1K_SWAG_E2E_V1") == (384, 384, "bicubic")
    assert stored_size("resnet18", "IMAGENET1K_V1", 112) == (128, 112, "bilinear")
    assert stored_size("small_resnet", "pretrain") == (32, 32, "bilinear")
    assert stored_size("lenet", "pretrain", 40) == (40, 40, "bilinear")


def test_our_own_networks_read_the_middle_of_larger_images():
    found = preprocess_of("small_resnet", "pretrain", size=36, interpolation="bicubic", input_size=32)
    assert (found.size, found.resize, found.interpolation) == (32, 36, "bicubic")
    with pytest.raises(ParamsError, match=r"backbone\.input_size is 40, but images are stored at 36"):
        preprocess_of("small_resnet", "pretrain", size=36, interpolation="bilinear", input_size=40)
