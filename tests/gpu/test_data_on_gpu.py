"""What happens to batches and features on a GPU is what happens on the CPU: the random numbers are drawn there."""

from __future__ import annotations

import pytest
import torch

from components.backbones.small_resnet import SmallResNet
from components.data.augmentation.mixing import MIXES
from components.data.augmentation.policies import AUGMENTATIONS
from components.training.embedding import TorchEngine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no usable GPU here"),
]


def _images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_policy_changes_a_batch_alike(name):
    changed = [
        AUGMENTATIONS[name](_images(64).to(device), torch.Generator().manual_seed(1)).cpu()
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(*changed, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in MIXES if name != "none"])
def test_images_and_labels_are_mixed_alike(name):
    found = []
    for device in ("cpu", "cuda"):
        labels = {"label": torch.eye(4).repeat(16, 1).to(device)}
        image, mixed = MIXES[name](_images(64).to(device), labels, torch.Generator().manual_seed(1))
        found.append((image.cpu(), mixed["label"].cpu()))
    torch.testing.assert_close(*found)


def test_features_are_those_of_the_cpu():
    torch.manual_seed(0)
    backbone = SmallResNet()
    on_cpu = TorchEngine(backbone, torch.device("cpu"))(_images(32))
    on_gpu = TorchEngine(backbone, torch.device("cuda"))(_images(256))[:32]
    torch.testing.assert_close(torch.from_numpy(on_gpu), torch.from_numpy(on_cpu), rtol=1e-3, atol=1e-4)
