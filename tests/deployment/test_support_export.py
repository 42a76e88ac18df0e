"""A support set as an input: torch's answers, also for classes and numbers of images that nobody exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.deployment.onnx_export import METADATA
from components.deployment.support_export import export_support
from components.strategies import catalogue
from components.strategies.few_shot import FewShot
from components.types import Labelled, LabelSpace, Preprocess

TEMPERATURE = 2.0
SPACE = LabelSpace({"label": ("a", "b", "c")})


class Linear(Backbone):
    """As little as a backbone can be: tracing takes time with every step."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 6
        self.preprocess = Preprocess(size=4, resize=6, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
        self.layer = nn.Linear(48, 6)

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(image.flatten(1))

    def stages(self) -> Sequence[nn.Module]:
        return [self.layer]


class Exported:
    """A strategy, and its file with the support as an input."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        strategy = catalogue.load(name)(Linear(), SPACE).eval()
        assert isinstance(strategy, FewShot)
        self.strategy: Any = strategy
        self.scale = 1.5 if name == "siamese" else 1.0
        if name == "siamese":
            self.strategy.scale.fill_(self.scale)
        content = export_support(strategy, {"strategy": name}, {"label": TEMPERATURE})
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(self, image: np.ndarray, features: np.ndarray, label: Sequence[int]) -> dict[str, np.ndarray]:
        names = [output.name for output in self.session.get_outputs()]
        feed = {"image": image, "support_features": features, "support_label": np.array(label, np.int64)}
        return {name: np.asarray(found) for name, found in zip(names, self.session.run(names, feed), strict=True)}

    def features(self, image: np.ndarray) -> np.ndarray:
        return self.run(image, np.zeros((1, 6), np.float32), [0])["features"]

    def normalised(self, image: np.ndarray) -> Tensor:
        preprocess = self.strategy.backbone.preprocess
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
        return (torch.from_numpy(image[:, 1:5, 1:5]).permute(0, 3, 1, 2) / 255 - mean) / std


@pytest.fixture(scope="module", params=["prototypical", "matching", "siamese"])
def model(request) -> Exported:
    return Exported(request.param)


@pytest.fixture
def pictures() -> Callable[[int], np.ndarray]:
    rng = np.random.default_rng(0)
    return lambda count: rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)


def test_it_answers_an_episode_as_torch_does_with_a_class_more_than_was_exported(model, pictures):
    support, query, label = pictures(8), pictures(5), [3, 0, 1, 2, 0, 3, 2, 1]
    found = model.run(query, model.features(support), label)
    with torch.no_grad():
        labelled = Labelled(model.normalised(support), {"label": torch.tensor(label)})
        expected = model.strategy.classify_episode(labelled, model.normalised(query))
        features = model.strategy.backbone(model.normalised(query))
    assert found["logits"].shape == (5, 4)
    np.testing.assert_allclose(found["logits"], model.scale * expected / TEMPERATURE, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["probabilities"], F.softmax(torch.from_numpy(found["logits"]), 1), atol=1e-6)
    np.testing.assert_allclose(found["features"], features, rtol=1e-4, atol=1e-5)


def test_it_answers_as_the_trained_model_does_given_what_that_remembers(model, pictures):
    strategy, support, query, label = model.strategy, pictures(9), pictures(4), [0, 0, 0, 0, 1, 1, 2, 2, 2]
    features = model.features(support)
    with torch.no_grad():
        known, labels = torch.from_numpy(features), torch.tensor(label)
        if hasattr(strategy, "memory"):
            strategy.memory.fill(known, labels)
        else:
            strategy.prototypes.copy_(torch.stack([known[labels == number].mean(0) for number in range(3)]))
            strategy.known.fill_(True)
        expected = strategy(model.normalised(query))["label"] / TEMPERATURE
    np.testing.assert_allclose(model.run(query, features, label)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_the_order_of_the_support_does_not_matter_and_a_class_may_be_added(model, pictures):
    support, query, label = model.features(pictures(7)), pictures(3), np.array([0, 0, 1, 1, 1, 2, 2])
    before = model.run(query, support, label)["logits"]
    order = np.array([6, 2, 0, 5, 3, 1, 4])
    np.testing.assert_allclose(model.run(query, support[order], label[order])["logits"], before, rtol=1e-4, atol=1e-5)
    # The query itself as the only image of a fourth class: that class is the answer, and the others' logits stay.
    more = np.concatenate([support, model.features(query[:1])])
    after = model.run(query[:1], more, [*label, 3])["logits"]
    assert after.shape == (1, 4)
    np.testing.assert_allclose(after[:, :3], before[:1], rtol=1e-4, atol=1e-5)
    assert after.argmax() == 3


def test_a_class_without_an_image_is_never_the_answer(model, pictures):
    found = model.run(pictures(6), model.features(pictures(4)), [0, 2, 2, 0])
    assert found["logits"].shape == (6, 3)
    assert bool((found["logits"].argmin(1) == 1).all())
    assert found["probabilities"][:, 1].max() < 0.01


def test_images_of_any_size_come_and_the_metadata_says_what_they_are(model):
    image = np.random.default_rng(1).integers(0, 256, (2, 15, 9, 3), dtype=np.uint8)
    assert model.run(image, np.zeros((3, 6), np.float32), [0, 1, 2])["logits"].shape == (2, 3)
    facts = json.loads(model.session.get_modelmeta().custom_metadata_map[METADATA])
    assert facts["classes"] == {"label": ["a", "b", "c"]}
    assert facts["preprocess"]["resize"] == 6
    assert facts["temperature"] == {"label": TEMPERATURE}
