from __future__ import annotations

import io

import onnx
import pytest
import torch

from components.data.streams import Streams
from components.deployment.onnx_export import export
from components.errors import ParamsError
from components.params import Recipe
from components.training import session
from components.training.compute import Compute

CPU = Compute(torch.device("cpu"), "fp32", 1)


def test_before_the_first_step_it_is_the_pretrained_network_to_the_bit(toy, make_strategy):
    plain, strategy = make_strategy("fine_tune"), make_strategy("lora")
    strategy.heads.load_state_dict(plain.heads.state_dict())
    data = Streams(toy, plain.backbone.preprocess, batch_size=16, augment="none", seed=0)
    image = data.batch("target", 0).image
    with torch.no_grad():
        expected = plain.eval()(image)["label"]
        assert torch.equal(strategy.eval()(image)["label"], expected)
        strategy.train().backbone.eval()
        _train_changes(strategy)  # the sum of weight and product is computed now
        assert torch.equal(strategy(image)["label"], expected)
        strategy.finish(data)
        assert torch.equal(strategy.eval()(image)["label"], expected)


def _train_changes(strategy) -> None:
    """The changes in training mode, all else as it is."""
    for _, low_rank in strategy._adapted:
        low_rank.train()


def test_trained_and_merged_it_answers_as_while_training(toy, make_strategy, tmp_path):
    recipe = Recipe(steps=5, batch_size=16, lr=0.1, augment="none", log_every=5, evaluate_every=5)

    strategy = session.train(
        lambda: make_strategy("lora"),
        toy, recipe, CPU, seed=0, identity="lora", checkpoints=tmp_path, log=lambda record: None,
    ).strategy  # fmt: skip
    image = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        merged = strategy.eval()(image)["label"]
        _train_changes(strategy)
        torch.testing.assert_close(strategy(image)["label"], merged, rtol=1e-5, atol=1e-5)
        for _, low_rank in strategy._adapted:
            low_rank.up.zero_()
        assert (strategy(image)["label"] - merged).abs().max() > 1e-3  # it was the changes that learned


def test_the_exported_graph_has_the_sums_as_its_weights(make_strategy):
    strategy = make_strategy("lora").eval()
    facts = {"classes": strategy.label_space.classes, "preprocess": strategy.backbone.preprocess.to_dict()}
    graph = onnx.load(io.BytesIO(export(strategy, facts))).graph
    stored = {initializer.name for initializer in graph.initializer}
    weights = [node.input[1] for node in graph.node if node.op_type == "Conv"]
    assert len(weights) == len(strategy._adapted) == 9
    assert stored.issuperset(weights)
    assert not any(node.op_type == "MatMul" for node in graph.node)


def test_a_rank_of_zero_is_refused(make_strategy):
    with pytest.raises(ParamsError, match="rank is 0"):
        make_strategy("lora", rank=0)
