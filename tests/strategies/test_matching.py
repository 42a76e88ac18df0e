"""The attention by hand, its limits, and the deployed memory against the same images as an episode."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from components.data.streams import Streams
from components.errors import ParamsError
from components.types import TASK, Labelled


def _episode(strategy, points, query) -> torch.Tensor:
    """points [n_way][k_shot] and query as features -> probabilities."""
    logits = strategy.classify_features(torch.tensor(query), support=torch.tensor(points))
    return logits.softmax(1)


@pytest.fixture
def strategy(make_strategy):
    return make_strategy("matching").eval()


def test_the_attention_by_hand(strategy):
    # Cosines of (1, 0) with class 0: 1 and 0.6, with class 1: 0 and -1. Eq. 1 with exp of these as weights.
    weights = [math.exp(1) + math.exp(0.6), math.exp(0) + math.exp(-1)]
    found = _episode(strategy, [[[2.0, 0.0], [3.0, 4.0]], [[0.0, 1.0], [-5.0, 0.0]]], [[1.0, 0.0]])
    assert found[0].tolist() == pytest.approx([weights[0] / sum(weights), weights[1] / sum(weights)], abs=1e-6)


def test_the_scale_sharpens_the_attention(make_strategy):
    found = _episode(make_strategy("matching", scale=3.0), [[[2.0, 0.0]], [[0.0, 1.0]]], [[1.0, 0.0]])
    assert found[0, 0].item() == pytest.approx(math.exp(3) / (math.exp(3) + 1), abs=1e-6)


def test_a_very_sharp_attention_is_the_nearest_neighbour_by_the_angle(make_strategy):
    rng = np.random.default_rng(0)
    support, query = rng.normal(size=(4, 3, 6)), rng.normal(size=(30, 6))
    unit = support / np.linalg.norm(support, axis=2, keepdims=True)
    nearest = np.einsum("qd,ckd->qck", query, unit).max(2).argmax(1)
    found = _episode(make_strategy("matching", scale=2000.0), support.tolist(), query.tolist())
    assert found.argmax(1).tolist() == nearest.tolist()


def test_one_image_of_one_class_leaves_no_choice(strategy):
    assert _episode(strategy, [[[2.0, 1.0]]], [[-1.0, 0.0], [1.0, 0.0]]).tolist() == [[1.0], [1.0]]


def _memory_of(strategy, toy) -> tuple[Streams, Labelled]:
    """The target's training images, and those of them that a full memory would hold, class by class."""
    data = Streams(toy, strategy.backbone.preprocess, batch_size=16, augment="none", seed=0)
    parts = list(data.batches("target"))
    image, labels = (torch.cat([part.image for part in parts]), torch.cat([part.labels[TASK] for part in parts]))
    room = strategy.memory.taken.shape[1]
    rows = []
    for label in range(4):
        own = torch.nonzero(labels == label)[:, 0]
        rows.append(own[torch.arange(room) * len(own) // room])
    return data, Labelled(image[torch.cat(rows)], {TASK: labels[torch.cat(rows)]})


@pytest.mark.parametrize("full_context", [False, True])
def test_the_deployed_model_answers_like_an_episode_with_its_memory(full_context, toy, make_strategy):
    torch.manual_seed(0)
    strategy = make_strategy("matching", memory_per_class=3, full_context=full_context, processing_steps=2).eval()
    data, support = _memory_of(strategy, toy)
    query = next(iter(data.split("test"))).image
    with torch.no_grad():
        strategy.finish(data)
        found, expected = strategy(query)[TASK], strategy.classify_episode(support, query)
    torch.testing.assert_close(found.log_softmax(1), expected.log_softmax(1), rtol=1e-4, atol=1e-5)


def test_classes_with_fewer_images_are_not_held_back(strategy):
    support = F.normalize(torch.tensor([[[1.0, 0.2], [1.0, 0.2]], [[1.0, -0.2], [9.0, 9.0]]]), dim=2)
    taken = torch.tensor([[True, True], [True, False]])
    logits = strategy.attend(torch.tensor([[1.0, 0.0]]), support, taken)
    assert logits[0, 0].item() == pytest.approx(logits[0, 1].item(), abs=1e-6)


def test_a_class_without_images_is_never_answered(toy, make_strategy):
    strategy = make_strategy("matching").eval()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=16, augment="none", seed=0)
    with torch.no_grad():
        strategy.finish(data)
        strategy.memory.taken[2] = False
        logits = strategy(next(iter(data.split("test"))).image)[TASK]
    assert bool((logits.argmin(1) == 2).all())


def test_full_context_embeddings_are_trained_and_exported(toy, make_strategy):
    from components.deployment.onnx_export import export

    strategy = make_strategy("matching", full_context=True, processing_steps=2).train()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=16, augment="none", seed=0, draw=strategy.sampling)
    strategy.losses(episodes=data.batch("episodes", 0))["cross_entropy"].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in strategy.context.parameters())
    strategy.eval()
    with torch.no_grad():
        strategy.finish(data)
    facts = {"classes": strategy.label_space.classes, "preprocess": strategy.backbone.preprocess.to_dict()}
    import onnxruntime

    session = onnxruntime.InferenceSession(export(strategy, facts), providers=["CPUExecutionProvider"])
    pixels = toy.target.pixels[toy.target.rows("test", labelled=True)][:5]
    with torch.no_grad():
        expected = strategy(next(iter(data.split("test"))).image[:5])[TASK].numpy()
    np.testing.assert_allclose(session.run(["logits"], {"image": pixels})[0], expected, atol=1e-4)


@pytest.mark.parametrize("key", ["memory_per_class", "processing_steps"])
def test_nothing_is_not_enough(key, make_strategy):
    with pytest.raises(ParamsError, match=f"{key} is 0, but must be at least 1"):
        make_strategy("matching", **{key: 0})
