"""Features that were computed once: the same bits however they were come by, and the same answers as the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.backbones.small_resnet import SmallResNet
from components.data import features
from components.data.features import Features, Key, Layout, weights_digest
from components.data.streams import Streams, varied
from components.params import Recipe
from components.strategies import catalogue
from components.training import session
from components.training.compute import Compute
from components.training.embedding import Images, TorchEngine, batch, difference, estimated_seconds, fill, missing
from components.training.predict import predict

CPU = Compute(torch.device("cpu"), "fp32", 1)
FROZEN = [name for name in catalogue.STRATEGIES if catalogue.load(name).frozen]


@pytest.fixture(scope="module")
def backbone(pretrained) -> SmallResNet:
    network = SmallResNet(widths=(8, 16, 16), size=16)
    network.load_state_dict(pretrained)
    return network


def _key(network: SmallResNet, augment: str | None = "light") -> Key:
    return Key(weights_digest(network), features.as_json(network.preprocess), {"engine": "torch"}, augment)


class Counting(TorchEngine):
    """Counts the images that are not padding, as far as they differ; refuses batches of another shape."""

    images = 0

    def __call__(self, image):
        assert len(image) == self.batch
        self.images += len(torch.unique(image, dim=0))
        return super().__call__(image)


def _filled(network, data, layout: Layout, known: Features | None = None, threads: int = 1):
    engine, told = Counting(network, torch.device("cpu")), []
    table = np.zeros((len(layout), network.num_features), np.float32)
    count = fill(table, layout, _key(network), known, Images.of(data), engine, told.append, threads)
    return Features(table, layout, _key(network)), engine, count, told


@pytest.fixture(scope="module")
def store(backbone, toy) -> Features:
    return _filled(backbone, toy, features.layout(toy, views=2))[0]


def test_a_row_has_the_same_bits_alone_among_others_and_wherever_it_lies(backbone, toy, store):
    rng = np.random.default_rng(0)
    for count, threads in ((1, 1), (3, 1), (40, 2)):
        names = tuple(rng.permutation(store.layout.images)[:count].tolist())
        found = _filled(backbone, toy, Layout(names), threads=threads)[0]
        np.testing.assert_array_equal(found.table, store.of(names))


def test_ten_new_images_cost_ten_passes_and_give_the_bytes_of_a_fresh_start(backbone, toy, store):
    layout = store.layout
    new = {*layout.images[5:12], *layout.images[-3:]}
    before = Layout(
        tuple(name for name in layout.images if name not in new),
        tuple(name for name in reversed(layout.varied) if name not in new),
        2,
    )
    known = _filled(backbone, toy, before)[0]
    varied = len(new & set(layout.varied))
    assert missing(layout, store.key, known) == 10 + varied
    found, engine, count, told = _filled(backbone, toy, layout, known)
    assert count == engine.images == 10 + varied
    assert told[-1] == count
    np.testing.assert_array_equal(found.table, store.table)
    assert _filled(backbone, toy, layout, store)[2] == 0
    other = replace(known, key=replace(known.key, computed_by={"engine": "another"}))
    assert missing(layout, store.key, other) == len(layout)


def test_a_view_is_the_images_own_and_the_first_is_the_image_itself(backbone, toy, store):
    name, images = store.layout.varied[0], Images.of(toy)
    alone = batch(images, [(name, 1)], backbone.preprocess, "light", 2)
    beside = batch(images, [(store.layout.images[7], 0), (name, 1)], backbone.preprocess, "light", 2)
    torch.testing.assert_close(beside[1], alone[0], rtol=0, atol=0)
    plain = batch(images, [(name, 0)], backbone.preprocess, "light", 1)
    again = batch(images, [(name, 2)], backbone.preprocess, "light", 1)
    assert not torch.equal(plain[0], alone[0])
    assert not torch.equal(again[0], alone[0])
    pixels = torch.from_numpy(images.pixels([name, name]))
    twins = varied(pixels, backbone.preprocess, "light", ["one file", "another"], 1)
    assert not torch.equal(*twins)
    place = toy.target.sha256.index(name)
    expected = torch.from_numpy(toy.target.pixels[place].copy()).permute(2, 0, 1) / 255 * 2 - 1
    torch.testing.assert_close(plain[0], expected)


def test_streams_take_what_is_there_and_compute_what_is_not(backbone, toy, store):
    def streams(known: Features | None) -> Streams:
        return Streams(toy, backbone.preprocess, batch_size=7, augment="light", seed=0, features=known)

    marked = replace(store, table=np.full_like(store.table, 5))
    for name, views in (("target", 1), ("target", 2), ("unlabelled", 1), ("val", 1), ("test", 1)):
        found, labels = streams(store).features(backbone, name, views)
        expected, known = streams(None).features(backbone, name, views)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert all(torch.equal(labels[task], known[task]) for task in known)
        assert (streams(marked).features(backbone, name, views)[0] == 5).all()
    found, expected = (streams(known).features(backbone, "val", domain="source")[0] for known in (store, None))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not (streams(marked).features(backbone, "source")[0] == 5).any()  # training images that nobody asks about
    changed = SmallResNet(widths=(8, 16, 16), size=16)
    assert not (streams(marked).features(changed, "val")[0] == 5).any()


@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_strategy_answers_from_features_as_its_network_does(name, make_strategy, toy, store, tmp_path):
    recipe = Recipe(steps=6, batch_size=16, augment="light", log_every=3, evaluate_every=3)

    def train(known: Features | None) -> session.Trained:
        quiet = {"identity": name, "checkpoints": tmp_path, "log": lambda record: None}
        return session.train(lambda: make_strategy(name), toy, recipe, CPU, seed=0, features=known, **quiet)

    trained = train(store)
    streams = Streams(toy, trained.strategy.backbone.preprocess, batch_size=16, augment="none", seed=0)
    for split, part in (("val", ("val",)), ("test", ("test",)), ("source", ("val", "source"))):
        expected, labels = predict(trained.strategy, streams.split(*part))
        np.testing.assert_allclose(trained.logits[split]["label"], expected["label"], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(trained.labels[split]["label"], labels["label"])
    assert weights_digest(trained.strategy.backbone) == store.key.weights_sha256
    marked = train(replace(store, table=np.zeros_like(store.table)))
    assert not np.ptp(marked.logits["test"]["label"], axis=0).any(), "the network was asked, not its features"


def test_the_probe_learns_from_every_view(make_strategy, toy, store):
    preprocess = make_strategy("linear_probe").backbone.preprocess
    data = Streams(toy, preprocess, batch_size=16, augment="none", seed=0, features=store)
    one, two = (make_strategy("linear_probe", views=views) for views in (1, 2))
    for probe in (one, two):
        probe.finish(data)
    assert not torch.equal(one.heads["label"].weight, two.heads["label"].weight)


def test_the_largest_relative_distance_by_hand():
    reference = np.array([[3.0, 4.0], [0.0, 10.0], [0.0, 0.0]])
    apart = np.array([[0.3, 0.4], [0.0, 0.1], [0.0, 0.0]])
    assert difference(reference + apart, reference) == pytest.approx(0.1)
    assert difference(np.ones((1, 2)), np.zeros((1, 2))) == np.inf


def test_an_estimate_counts_what_is_multiplied_and_handed_on():
    network = SmallResNet(widths=(8,), size=16)  # a stem at stride 2 and one block of two convolutions at 8 x 8
    products = 2 * 64 * 8 * 9 * (3 + 8 + 8)
    numbers = 64 * 8 * 9  # three convolutions, norms and ReLUs; the shortcut hands on what it got
    found = estimated_seconds(network)
    assert found == pytest.approx(12e-12 * products + 1.2e-9 * (numbers + 64 * 8 + 8), rel=1e-6)
