"""Every classification model of torchvision: the same features as torchvision's own, and stages that hold all of it.

All eighty are taken apart on the meta device, where arithmetic costs nothing. Values are computed with the smallest
member of each family at the smallest image it reads, cut down where it repeats itself; with GRAFT_ALL_BACKBONES=1 in
the environment, with all of them as they are, which takes many minutes and gigabytes, and more of them are exported.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models import regnet

from components.backbones.catalogue import TORCHVISION
from components.backbones.torchvision_models import TorchvisionBackbone, preprocess_of_weights, sizes_of
from components.backbones.torchvision_parts import FAMILIES
from components.deployment.onnx_export import export
from components.errors import ParamsError
from components.inference.predictor import Predictor
from components.runtimes.options import Options
from components.strategies.fine_tune import FineTune
from components.strategies.teacher import stage_outputs
from components.types import TASK, LabelSpace, Preprocess

# The smallest member of each family; of those whose generations have other layers, of each.
SMALLEST = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_32",
)  # fmt: skip
ALL = os.environ.get("GRAFT_ALL_BACKBONES") == "1"
COMPUTED = TORCHVISION if ALL else SMALLEST
EXPORTED = ("vit_b_32", *(("squeezenet1_1", "resnet18", "swin_t", "densenet121") if ALL else ()))
STAGES = {
    "alexnet": ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"],
    "convnext": ["stem", "stage1", "stage2", "stage3", "stage4", "norm"],
    "densenet": ["stem", "denseblock1", "denseblock2", "denseblock3", "denseblock4"],
    "efficientnet_b": ["stem", *(f"stage{number}" for number in range(1, 8)), "conv_head"],
    "googlenet": ["stem", *(f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"))],
    "inception": [
        "stem",
        *(f"Mixed_{name}" for name in ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]),
    ],
    "maxvit": ["stem", "block1", "block2", "block3", "block4", "pre_logits"],
    "mnasnet": ["stem", *(f"stack{number}" for number in range(1, 7)), "conv_head"],
    "mobilenet_v2": ["stem", *(f"bottleneck{number}" for number in range(1, 18)), "conv_head"],
    "regnet": ["stem", "block1", "block2", "block3", "block4"],
    "resnet": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "shufflenet": ["stem", "stage2", "stage3", "stage4", "conv5"],
    "squeezenet": ["stem", *(f"fire{number}" for number in range(2, 10))],
    "swin": ["stem", "stage1", "stage2", "stage3", "stage4", "norm"],
    "vgg": ["block1", "block2", "block3", "block4", "block5", "fc6", "fc7"],
    "vit_b": ["embedding", *(f"block{number}" for number in range(1, 13)), "norm"],
    "vit_h": ["embedding", *(f"block{number}" for number in range(1, 33)), "norm"],
}
COUNTED_AUXILIARY = {"inception_v3": 128 * 768 + 2 * 128 + 768 * 128 * 25 + 2 * 768 + 769 * 1000}
SPACE = LabelSpace({TASK: ("ant", "bee", "wasp")})


@contextlib.contextmanager
def on_meta(monkeypatch):
    """RegNet works its widths out with tensors, which must have values."""
    widths = regnet.BlockParams.from_init_params.__func__

    def computed(cls, *args, **kwargs):
        with torch.device("cpu"):
            return widths(cls, *args, **kwargs)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", classmethod(computed))
    with torch.device("meta"), torch.no_grad():
        yield


def cut_down(model: nn.Module) -> nn.Module:
    """The same network with narrower hidden layers before its last one, and with fewer of its equal blocks."""
    family = type(model).__name__
    if family in ("AlexNet", "VGG"):
        first, second, last = (n for n, part in enumerate(model.classifier) if isinstance(part, nn.Linear))
        model.classifier[first] = nn.Linear(model.classifier[first].in_features, 64)
        model.classifier[second], model.classifier[last] = nn.Linear(64, 32), nn.Linear(32, 1000)
    if family in ("ConvNeXt", "SwinTransformer"):
        for blocks in model.features[1::2]:
            del blocks[2:]  # the second of Swin's shifts its windows
    if family == "MaxVit":
        for block in model.blocks:
            del block.layers[1:]  # the first halves the resolution
    if family == "VisionTransformer":
        del model.encoder.layers[2:]
    return model


@pytest.fixture
def quick(cheap_weights, monkeypatch):
    """Cheap weights, and of a large model only what is not said twice."""
    complete = torchvision.models.get_model
    if not ALL:
        monkeypatch.setattr(torchvision.models, "get_model", lambda *args, **more: cut_down(complete(*args, **more)))
    return cheap_weights


def features_of(whole: nn.Module, head: str, image: torch.Tensor) -> torch.Tensor:
    """What torchvision's own model gives its last layer."""
    parent, _, leaf = head.rpartition(".")
    setattr(whole.get_submodule(parent), leaf, nn.Identity())
    with torch.no_grad():
        return whole.eval()(image)


def test_the_list_of_names_is_torchvision_s():
    assert sorted(TORCHVISION) == sorted(torchvision.models.list_models(module=torchvision.models))


def test_every_family_is_known():
    modules = {torchvision.models.get_model_builder(name).__module__ for name in TORCHVISION}
    assert len(modules) == len(FAMILIES)


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_model_in_parts(name, cheap_weights, monkeypatch):
    with on_meta(monkeypatch):
        backbone = TorchvisionBackbone(name)
    stages = backbone.stages()
    assert len(stages) >= 5
    found = [id(parameter) for stage in stages for parameter in stage.parameters()]
    assert len(found) == len(set(found))
    assert set(found) == {id(parameter) for parameter in backbone.parameters()}
    # Nothing but the head is gone: torchvision says how many parameters there are with it.
    entry = torchvision.models.get_model_weights(name)["DEFAULT"]
    head = entry.meta["num_params"] - sum(parameter.numel() for parameter in backbone.parameters())
    assert head == (backbone.num_features + (name != "maxvit_t")) * 1000 + COUNTED_AUXILIARY.get(name, 0)


@pytest.mark.parametrize("name", COMPUTED)
def test_one_tiny_step_of(name, quick, monkeypatch):
    """Features as torchvision computes them, the same each time in eval mode, and a gradient for every parameter."""
    torch.manual_seed(0)
    size = max(64, sizes_of(name)[0])  # of those that read anything: one that leaves the last layers several places
    backbone = TorchvisionBackbone(name, size)
    quick(backbone)
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        once, again = backbone.eval()(image), stage_outputs(backbone, image)
    assert once.shape == (2, backbone.num_features)
    assert torch.equal(once, again[1])
    assert len(again[0]) == len(backbone.stages())

    with on_meta(monkeypatch):
        whole = torchvision.models.get_model(name, weights=None, **_given(name, size))
    if hasattr(whole, "transform_input"):
        whole.transform_input = True  # as torchvision sets it for its weights
    assert set(backbone.translated(whole.state_dict(), Path("whole.pth"), "")) == set(backbone.state_dict())
    values = backbone.state_dict()
    state = whole.state_dict()  # MnasNet asks it for a version
    state.update({theirs: values[own] for own, theirs in backbone.theirs.items()})
    whole.load_state_dict(state, assign=True)
    torch.testing.assert_close(once, features_of(whole, backbone.head[:-1], image), rtol=1e-4, atol=1e-5)
    del whole, values, state

    strategy = FineTune(backbone, SPACE).train()
    quick(strategy.heads)
    loss = F.cross_entropy(strategy(image)[TASK], torch.tensor([0, 2]))
    loss.backward()
    assert torch.isfinite(loss)
    for number, stage in enumerate(backbone.stages()):
        for key, parameter in stage.named_parameters():
            assert parameter.grad is not None, f"stage {number}: {key}"
            assert torch.isfinite(parameter.grad).all(), f"stage {number}: {key}"
    before = [parameter.clone() for parameter in strategy.heads.parameters()]
    torch.optim.SGD(strategy.parameters(), lr=1e-3).step()
    assert all(not torch.equal(a, b) for a, b in zip(before, strategy.heads.parameters(), strict=True))
    assert torch.isfinite(F.cross_entropy(strategy.eval()(image)[TASK], torch.tensor([0, 2])))


def _given(name: str, size: int) -> dict:
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": True, "init_weights": True}
    if name.startswith("vit"):
        return {"image_size": size}
    return {"input_size": (size, size)} if name == "maxvit_t" else {}


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_are_those_that_people_freeze_by(name, monkeypatch, cheap_weights):
    model = next(key for key in (*SMALLEST, "vit_h_14") if key.startswith(name))
    with on_meta(monkeypatch):
        backbone = TorchvisionBackbone(model)
    assert [key for key, part in backbone.model.named_children() if part in backbone.stages()] == STAGES[name]


@pytest.mark.parametrize("name", EXPORTED)
def test_the_exported_graph_answers_like_torch(name, quick, tmp_path):
    torch.manual_seed(1)
    strategy = FineTune(TorchvisionBackbone(name, 64), SPACE).eval()
    quick(strategy)
    preprocess = Preprocess(size=64, resize=72, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    strategy.backbone.preprocess = preprocess
    path = tmp_path / "model.onnx"
    path.write_bytes(export(strategy, {"classes": SPACE.classes, "preprocess": preprocess.to_dict()}))
    predictor = Predictor.load(path, provider="cpu", options=Options(threads=1))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 72, 72, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels[:, 4:68, 4:68]).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    with torch.no_grad():
        expected = strategy((image - mean) / std)[TASK].numpy()
    for batch in (1, 3):
        np.testing.assert_allclose(predictor.run(pixels[:batch])["logits"], expected[:batch], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("resnet50", "IMAGENET1K_V1", (224, 256, "bilinear")),
        ("resnet50", "IMAGENET1K_V2", (224, 232, "bilinear")),
        ("resnet50", "pretrain", (224, 232, "bilinear")),
        ("vit_b_16", "IMAGENET1K_V1", (224, 256, "bilinear")),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", (384, 384, "bicubic")),
        ("vit_l_16", "IMAGENET1K_SWAG_E2E_V1", (512, 512, "bicubic")),
        ("efficientnet_b1", "IMAGENET1K_V1", (240, 256, "bicubic")),
        ("inception_v3", "IMAGENET1K_V1", (299, 342, "bilinear")),
    ],
)
def test_each_weights_own_preprocessing(name, weights, expected):
    found = preprocess_of_weights(name, weights)
    assert (found.size, found.resize, found.interpolation) == expected
    assert found.mean == (0.485, 0.456, 0.406)


def test_preprocessing_that_is_not_imagenet_s():
    assert preprocess_of_weights("efficientnet_v2_l", "IMAGENET1K_V1").mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("vit_b_16", 100, "a multiple of 16, such as 96 or 112"),
        ("vit_h_14", 224 + 8, "a multiple of 14, such as 224 or 238"),
        ("maxvit_t", 192, "a multiple of 224, such as 224 or 448"),
        ("inception_v3", 64, "at least 75"),
        ("swin_t", 16, "at least 32"),
    ],
)
def test_a_size_that_a_network_cannot_read_is_refused_with_one_that_it_can(name, size, message):
    with pytest.raises(ParamsError, match=f"{name} .* {size} pixels: backbone.input_size must be {message}"):
        preprocess_of_weights(name, "DEFAULT", input_size=size)
