"""Heat maps: Grad-CAM by hand, for every strategy and every kind of backbone, and where the object is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from components.backbones.base import Backbone
from components.backbones.build import build
from components.backbones.catalogue import BACKBONES
from components.backbones.small_resnet import SmallResNet
from components.backbones.torchvision_models import TorchvisionBackbone
from components.explanation.grad_cam import GRAD_CAM, INPUT_GRADIENT, ON_TOKENS, grad_cam, heat_maps
from components.strategies import catalogue
from components.strategies.base import Classifier
from components.strategies.fine_tune import FineTune
from components.types import LabelSpace, Preprocess

SPACE = LabelSpace({"label": ("a", "b", "c")})


def test_grad_cam_by_hand():
    # Two channels of 1 x 2 places. Mean gradients: (1 + 3) / 2 = 2 and (-1 + 0) / 2 = -0.5.
    activations = torch.tensor([[[[1.0, 0.0]], [[2.0, 4.0]]]])
    gradient = torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]]])
    # 2 * 1 - 0.5 * 2 = 1 and 2 * 0 - 0.5 * 4 = -2, of which nothing is left.
    assert grad_cam(activations, gradient).tolist() == [[[1.0, 0.0]]]


class Halves(Backbone):
    """A map of 2 x 2 places without any weight: each quarter's mean, for each colour."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(size=4, resize=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.num_features = 3
        self.quarters = nn.AvgPool2d(2)
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, image):
        return self.mean(self.quarters(image)).flatten(1)

    def stages(self) -> Sequence[nn.Module]:
        return [self.quarters]


def test_the_map_is_the_last_one_and_lies_on_the_stored_image():
    strategy = FineTune(Halves(), SPACE)
    with torch.no_grad():
        strategy.heads["label"].weight.copy_(torch.eye(3))  # class a counts red, class b green
    image = torch.zeros(2, 3, 4, 4)
    image[0, 0, :2, :2] = 1.0  # red above on the left
    image[1, 1, 2:, 2:] = 5.0  # green below on the right
    method, heat = heat_maps(strategy, image, torch.tensor([0, 1]))
    assert method == GRAD_CAM
    assert heat.shape == (2, 8, 8)
    # Bilinear between the centres of the quarters: weights 1, 3/4, 1/4, 0 along each side; the crop is in the middle.
    slope = np.array([1.0, 0.75, 0.25, 0.0])
    expected = np.pad(np.outer(slope, slope), 2)
    np.testing.assert_allclose(heat[0], expected, atol=1e-6)
    np.testing.assert_allclose(heat[1], expected[::-1, ::-1], atol=1e-6)
    # Nothing speaks for blue in an image without it.
    assert not heat_maps(strategy, image, torch.tensor([2, 2])).heat.any()


def test_cudnn_s_settings_stay_as_they_were_chosen(monkeypatch):
    """On a GPU, TF32 and sums in any order would give other bytes in each run."""
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", True)
    strategy, seen = FineTune(Halves(), SPACE), []
    strategy.register_forward_hook(lambda *_: seen.append((cudnn.enabled, cudnn.deterministic)))
    before = cudnn.enabled, cudnn.deterministic
    heat_maps(strategy, torch.ones(1, 3, 4, 4), torch.tensor([0]))
    assert seen == [before]


@pytest.mark.parametrize("name", list(catalogue.STRATEGIES))
def test_every_strategy_s_answers_are_explained(name, ready):
    strategy, streams = ready(name)
    with torch.no_grad():
        image = next(streams.split("test")).image[:4]
        answers = next(iter(strategy(image).values())).argmax(1)
    before = {key: value.clone() for key, value in strategy.state_dict().items()}
    method, heat = heat_maps(strategy, image, answers)
    assert method == GRAD_CAM
    assert heat.shape == (4, 16, 16)
    assert heat.dtype == torch.float32
    assert not heat.requires_grad
    assert heat.isfinite().all()
    assert heat.min() >= 0
    assert set(heat.amax((1, 2)).tolist()) <= {0.0, 1.0}
    assert heat.any()
    assert all(torch.equal(strategy.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_backbone_of_ours(name):
    torch.manual_seed(0)
    image = torch.randn(2, 3, 32, 32)
    preprocess = Preprocess(size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    method, heat = heat_maps(FineTune(build(name, preprocess=preprocess), SPACE), image, torch.tensor([0, 1]))
    assert method == (INPUT_GRADIENT if "lstm" in name or "gru" in name else GRAD_CAM)
    assert heat.shape == (2, 32, 32)
    assert heat.amax((1, 2)).tolist() == [1.0, 1.0]


class Wrapped(TorchvisionBackbone):
    """torchvision's own model, smaller than any that it has by name."""

    def __init__(self, model: nn.Module, features: int) -> None:
        nn.Module.__init__(self)
        self.model, self.num_features = model, features
        self.preprocess = Preprocess(size=32, resize=36, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _vit() -> Wrapped:
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    model.heads = nn.Identity()
    return Wrapped(model, 16)


def test_a_transformer_s_patches_are_put_back_into_their_grid():
    backbone = _vit()
    strategy = FineTune(backbone, SPACE)
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    method, heat = heat_maps(strategy, image, torch.tensor([0, 1]))
    assert method == ON_TOKENS
    assert heat.shape == (2, 36, 36)
    assert not heat[:, :2].any()  # cut off by the crop
    assert heat.amax((1, 2)).tolist() == [1.0, 1.0]
    # The same from the formula: what the last attention reads, the class token left out, as a grid of 4 x 4.
    tokens = {}
    last = backbone.model.encoder.layers[-1].ln_1
    handle = last.register_forward_hook(lambda module, inputs, output: tokens.update(last=output))
    strategy(image)["label"][torch.arange(2), torch.tensor([0, 1])].sum().backward(inputs=[last.bias])
    logits = strategy(image)["label"]
    gradient = torch.autograd.grad(logits[0, 0] + logits[1, 1], tokens["last"])[0][:, 1:]
    handle.remove()
    grid = (gradient.mean(1, keepdim=True) * tokens["last"][:, 1:]).sum(2).relu().view(2, 1, 4, 4)
    expected = nn.functional.interpolate(grid, (32, 32), mode="bilinear")[:, 0]
    expected = expected / expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(heat[:, 2:-2, 2:-2], expected.detach())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "swin_t"])
def test_torchvision_s_models(name):
    torch.manual_seed(0)
    strategy = FineTune(TorchvisionBackbone(name), SPACE)
    strategy.backbone.preprocess = Preprocess(size=64, resize=64, mean=(0.0,) * 3, std=(1.0,) * 3)  # ty: ignore
    maps = []
    network = strategy.backbone.model
    last = {"resnet18": "layer4", "mobilenet_v3_small": "conv_head", "swin_t": "permute"}[name]
    handle = network.get_submodule(last).register_forward_hook(lambda module, inputs, output: maps.append(output))
    image = torch.randn(1, 3, 64, 64)
    method, heat = heat_maps(strategy, image, torch.tensor([0]))
    handle.remove()
    assert method == GRAD_CAM
    logit = strategy(image)["label"]
    assert logit.shape == (1, 3)
    (output,) = maps
    assert min(output.shape[2:]) == 2
    assert heat.shape == (1, 64, 64)
    assert heat.isfinite().all()


def test_answers_without_a_gradient_are_not_explained():
    class Blind(Classifier):
        @torch.no_grad()
        def forward(self, image):
            return super().forward(image)

    class Constant(Classifier):
        def forward(self, image):
            return {task: logits * 0 for task, logits in super().forward(image).items()}

    for kind in (Blind, Constant):
        method, heat = heat_maps(
            kind(SmallResNet(widths=(8, 8, 8), size=16), SPACE), torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
        )
        assert method is None
        assert heat.shape == (0, 16, 16)


def _halves(count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Noise, and in a random half of it the stripes that are the class: images [N, 3, 32, 32], labels, right half?"""
    labels, right = rng.integers(0, 2, count), rng.integers(0, 2, count).astype(bool)
    image = rng.normal(0, 0.5, (count, 32, 32))
    y, x = np.mgrid[0:32, 0:16]
    for index in range(count):
        wave = np.sin(np.pi / 2 * (x if labels[index] else y) + rng.uniform(0, 6))
        image[index, :, 16 * right[index] : 16 * right[index] + 16] += 2 * wave
    tensor = torch.from_numpy(image).float()[:, None].expand(-1, 3, -1, -1).contiguous()
    return tensor, torch.from_numpy(labels), right


def test_the_heat_lies_on_the_half_that_shows_the_class():
    """Trained on images whose object is in a half that says nothing of the class."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    strategy = FineTune(SmallResNet(widths=(8, 16, 16)), LabelSpace({"label": ("flat", "upright")}))
    updates = torch.optim.SGD(strategy.parameters(), lr=0.05, momentum=0.9)
    for _ in range(60):
        image, labels, _ = _halves(32, rng)
        updates.zero_grad()
        nn.functional.cross_entropy(strategy(image)["label"], labels).backward()
        updates.step()
    image, labels, right = _halves(64, rng)
    answers = strategy.eval()(image)["label"].argmax(1)
    assert (answers == labels).float().mean() > 0.95
    method, heat = heat_maps(strategy, image, answers)
    assert method == GRAD_CAM
    halves = heat.view(64, 32, 2, 16).sum((1, 3)).numpy()
    share = halves[np.arange(64), right.astype(int)] / halves.sum(1)
    assert share.mean() > 0.7
    # Not because one side is always preferred: it follows the object.
    assert share[right].mean() > 0.6
    assert share[~right].mean() > 0.6
