"""Training where images come in that are of another kind than what is labelled."""

from __future__ import annotations

import recent_support
import torch

from components.data.prepared import RECENT
from components.data.streams import Streams
from components.params import Recipe
from components.strategies.adabn import norms
from components.training import session
from components.training.compute import Compute
from components.types import TASK


def test_adabn_ends_with_the_statistics_of_what_comes_in(toy, make_strategy, tmp_path):
    data = recent_support.with_recent(toy)
    trained = session.train(
        lambda: make_strategy("adabn"),
        data,
        Recipe(steps=2, batch_size=8, lr=0.1, augment="none"),
        Compute(torch.device("cpu"), "fp32", 1),
        seed=1,
        identity="adapted",
        checkpoints=tmp_path,
        log=lambda record: None,
    )
    assert set(trained.logits) == {"val", "test", "source", RECENT}
    assert len(trained.logits[RECENT][TASK]) == len(data.recent.rows("val"))
    model = trained.strategy
    layer, seen = norms(model.backbone)[0], []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].double()))
    streams = Streams(data, model.backbone.preprocess, batch_size=1000, augment="none", seed=0)
    for stream in ("unlabelled", "target"):
        for batch in streams.batches(stream):
            model(batch.image)
    recent, target = (values.mean((0, 2, 3)).float() for values in seen)
    torch.testing.assert_close(layer.running_mean, recent, rtol=1e-4, atol=1e-5)
    assert (recent - target).abs().max() > 0.01, "the two kinds of images look alike to it"
