"""Batches are a function of seed, stream and step; an epoch shows every image once; evaluation goes in order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.data.prepared import HIDDEN, Domain, Prepared
from components.data.streams import Streams, crop, normalise
from components.errors import DataError
from components.types import Labelled, LabelSpace, Preprocess, Sampling, Unlabelled

PREPROCESS = Preprocess(size=8, resize=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _domain(count: int, start: int, hidden: int = 0) -> Domain:
    """Every image is filled with its own number; the last five are validation, of the rest `hidden` have no label."""
    numbers = np.arange(start, start + count)
    labels = (numbers % 3).astype(np.int64)
    labels[:hidden] = HIDDEN
    pixels = np.broadcast_to(numbers[:, None, None, None], (count, 8, 8, 3)).astype(np.uint8)
    splits = np.array(["train"] * (count - 5) + ["val"] * 5)
    return Domain(pixels, {"label": labels}, splits, [str(n) for n in numbers], [str(n) for n in numbers])


@pytest.fixture
def data() -> Prepared:
    domains = {"target": _domain(25, 0, hidden=8), "source": _domain(35, 100)}
    return Prepared(LabelSpace({"label": ("a", "b", "c")}), domains)


def _streams(data, seed=0, batch_size=7, augment="none", **more) -> Streams:
    return Streams(data, PREPROCESS, batch_size=batch_size, augment=augment, seed=seed, **more)


def _numbers(batch) -> list[int]:
    return (batch.image[:, 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize("stream", ["target", "source", "unlabelled"])
def test_a_batch_is_a_function_of_seed_stream_and_step(stream, data):
    one, other = _streams(data, augment="light"), _streams(data, augment="light")
    for step in (5, 0, 5, 900):  # in any order, with nothing read before
        assert torch.equal(one.batch(stream, step).image, other.batch(stream, step).image)
    assert not torch.equal(one.batch(stream, 0).image, one.batch(stream, 1).image)
    assert not torch.equal(one.batch(stream, 0).image, _streams(data, seed=1, augment="light").batch(stream, 0).image)


@pytest.mark.parametrize(
    ("stream", "expected"), [("target", range(8, 20)), ("source", range(100, 130)), ("unlabelled", range(20))]
)
def test_every_epoch_shows_every_image_once_in_another_order(stream, expected, data):
    count, size = len(expected), 7
    streams = _streams(data, batch_size=size)
    seen = [number for step in range(3 * count) for number in _numbers(streams.batch(stream, step))]
    epochs = [seen[start : start + count] for start in range(0, len(seen), count)]
    assert len(epochs) == 3 * size
    assert all(sorted(epoch) == list(expected) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_every_batch_is_full_even_when_it_is_larger_than_the_data(data):
    assert len(_streams(data, batch_size=50).batch("target", 3).image) == 50


@pytest.fixture
def uneven() -> Prepared:
    """In training 14 images of class 0, 3 of class 1 and 1 of class 2."""
    domain = _domain(23, 0)
    labels = np.zeros(23, dtype=np.int64)
    labels[[2, 5, 7]], labels[11] = 1, 2
    return Prepared(LabelSpace({"label": ("a", "b", "c")}), {"target": replace(domain, labels={"label": labels})})


def test_a_balanced_sampler_draws_every_class_equally_often_and_each_image_once_before_again(uneven):
    streams = _streams(uneven, batch_size=7, sampler="balanced")
    batches = [streams.batch("target", step) for step in range(36)]  # 252 = 3 * 84 = 3 * 14 * 6
    seen = [number for batch in batches for number in _numbers(batch)]
    labels = [label for batch in batches for label in batch.labels["label"].tolist()]
    assert [labels.count(number) for number in range(3)] == [84, 84, 84]
    assert all(set(labels[start : start + 3]) == {0, 1, 2} for start in range(0, len(labels), 3))
    assert len({tuple(labels[start : start + 3]) for start in range(0, len(labels), 3)}) == 6  # in any order
    for number, count in enumerate((14, 3, 1)):
        own = [image for image, label in zip(seen, labels, strict=True) if label == number]
        epochs = [own[start : start + count] for start in range(0, len(own), count)]
        assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
        assert len(set(epochs[0])) == count
    assert len({tuple(seen[start : start + 42]) for start in range(0, 252, 42)}) == 6  # no two epochs alike
    again = _streams(uneven, batch_size=7, sampler="balanced")
    for step in (30, 2):  # with nothing read before
        assert _numbers(again.batch("target", step)) == _numbers(batches[step])
    unlabelled = _streams(uneven, batch_size=18, sampler="balanced").batch("unlabelled", 0)
    assert sorted(_numbers(unlabelled)) == list(range(18))  # whose classes nobody knows


def test_counts_are_of_what_training_sees(data, uneven):
    assert _streams(uneven).class_counts("target")["label"].tolist() == [14, 3, 1]
    assert _streams(data).class_counts("target")["label"].tolist() == [4, 4, 4]  # 8 to 19


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mixed_batches_have_shares_for_labels_and_evaluation_sees_none(mix, data):
    streams = _streams(data, mix=mix)
    plain = _streams(data).batch("target", 3)
    mixed = streams.batch("target", 3)
    assert mixed.labels["label"].shape == (7, 3)
    torch.testing.assert_close(mixed.labels["label"].sum(1), torch.ones(7))
    assert not torch.equal(mixed.image, plain.image)
    assert torch.equal(mixed.image, _streams(data, mix=mix).batch("target", 3).image)
    for batch in (*streams.batches("target"), *streams.split("val")):
        assert batch.labels["label"].dtype == torch.int64
    assert torch.equal(streams.batch("unlabelled", 0).image, _streams(data).batch("unlabelled", 0).image)


def test_photographs_are_stored_larger_and_seen_in_parts():
    y, x = np.meshgrid(np.arange(12), np.arange(12), indexing="ij")
    image = np.stack([y, x, 0 * x], 2).astype(np.uint8)
    domain = replace(_domain(25, 0), pixels=np.broadcast_to(image, (25, 12, 12, 3)))
    prepared = Prepared(LabelSpace({"label": ("a", "b", "c")}), {"target": domain})
    preprocess = Preprocess(size=8, resize=12, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    streams = Streams(prepared, preprocess, batch_size=200, augment="flip", seed=0)
    found = (streams.batch("target", 0).image * 255).round().int()
    columns, rows = found[:, 1, 0], found[:, 0, :, 0]
    steps = torch.diff(columns, dim=1)
    assert set(steps.flatten().tolist()) == {-1, 1}  # pixels as they are, from left to right or the other way
    assert 60 < (steps[:, 0] < 0).sum() < 140
    assert set(columns.amin(1).tolist()) == set(rows[:, 0].tolist()) == set(range(5))
    centre = next(streams.split("val")).image
    assert (centre[0, :2, 0, 0] * 255).round().tolist() == [2, 2]
    light = Streams(prepared, preprocess, batch_size=4, augment="none", seed=0).batch("target", 0)
    assert torch.equal(light.image[0], centre[0])


def test_streams_of_one_training_are_shuffled_apart(data):
    """Or two streams over the same images would always show the same ones together."""
    same = Prepared(data.label_space, {"target": data.domains["source"]})
    streams = _streams(same, batch_size=30)
    assert _numbers(streams.batch("target", 0)) != _numbers(streams.batch("unlabelled", 0))


def test_labels_stay_with_their_images(data):
    streams = _streams(data)
    for stream in ("target", "source"):
        for step in range(5):
            batch = streams.batch(stream, step)
            assert isinstance(batch, Labelled)
            assert batch.labels["label"].tolist() == [number % 3 for number in _numbers(batch)]
            assert batch.labels["label"].dtype == torch.int64


def test_unlabelled_batches_carry_no_labels(data):
    batch = _streams(data).batch("unlabelled", 0)
    assert isinstance(batch, Unlabelled)
    assert not hasattr(batch, "labels")


def test_one_pass_goes_in_order_with_a_short_last_batch_and_no_augmentation(data):
    passes = list(_streams(data, augment="light").batches("target"))
    assert [len(batch.image) for batch in passes] == [7, 5]
    assert [number for batch in passes for number in _numbers(batch)] == list(range(8, 20))


@pytest.mark.parametrize(("domain", "expected"), [("target", range(20, 25)), ("source", range(130, 135))])
def test_a_split_goes_in_order(domain, expected, data):
    passes = list(_streams(data, batch_size=2, augment="light").split("val", domain))
    assert [number for batch in passes for number in _numbers(batch)] == list(expected)
    labels = [label for batch in passes for label in batch.labels["label"].tolist()]
    assert labels == [number % 3 for number in expected]


def test_no_validation_image_is_trained_on(data):
    streams = _streams(data, batch_size=20)
    assert max(max(_numbers(streams.batch("unlabelled", step))) for step in range(10)) < 20


def test_a_stream_that_the_data_cannot_fill_is_refused(data):
    alone = Prepared(data.label_space, {"target": data.target})
    with pytest.raises(DataError, match=r"'source' needs source images, but data\.source is not set"):
        _streams(alone).batch("source", 0)
    nothing = Prepared(data.label_space, {"target": _domain(25, 0, hidden=20)})
    with pytest.raises(DataError, match="'target' is empty"):
        _streams(nothing).batch("target", 0)
    with pytest.raises(DataError, match="no stream 'sorce'"):
        _streams(data).batch("sorce", 0)


SMALL = Sampling("target", n_way=2, k_shot=1, n_query=2)


def _images(batch) -> list[torch.Tensor]:
    """Of an episode or of pairs."""
    return [getattr(part, "image", part) for part in batch]


@pytest.mark.parametrize("stream", ["episodes", "pairs"])
def test_episodes_and_pairs_are_a_function_of_seed_and_step(stream, data):
    one, other = (_streams(data, augment="light", draw=SMALL) for _ in range(2))
    for step in (5, 0, 5, 900):
        parts = zip(_images(one.batch(stream, step)), _images(other.batch(stream, step)), strict=True)
        assert all(torch.equal(a, b) for a, b in parts)
    first = _images(one.batch(stream, 0))[0]
    assert not torch.equal(first, _images(one.batch(stream, 1))[0])
    assert not torch.equal(first, _images(_streams(data, seed=1, augment="light", draw=SMALL).batch(stream, 0))[0])


@pytest.mark.parametrize(("domain", "allowed"), [("target", range(8, 20)), ("source", range(100, 130))])
def test_an_episode_is_labelled_by_its_own_classes(domain, allowed, data):
    streams = _streams(data, draw=Sampling(domain, n_way=3, k_shot=1, n_query=2))
    orders = set()
    for step in range(20):
        support, query = streams.batch("episodes", step)
        assert support.labels["label"].tolist() == [0, 1, 2]
        assert query.labels["label"].tolist() == [0, 0, 1, 1, 2, 2]
        assert {*_numbers(support), *_numbers(query)} <= set(allowed)
        assert len({*_numbers(support), *_numbers(query)}) == 9
        classes = [number % 3 for number in _numbers(support)]
        assert [number % 3 for number in _numbers(query)] == [label for label in classes for _ in range(2)]
        orders.add(tuple(classes))
    assert len(orders) > 1  # a class has no fixed place, or its number could be learned


def test_pairs_say_whether_their_classes_agree(data):
    pairs = _streams(data, batch_size=12, draw=SMALL).batch("pairs", 0)
    left, right = (_numbers(Labelled(image, {})) for image in (pairs.left, pairs.right))
    assert pairs.same.tolist() == [1.0, 0.0] * 6
    assert [float(a % 3 == b % 3) for a, b in zip(left, right, strict=True)] == pairs.same.tolist()
    assert set(left + right) <= set(range(8, 20))


def test_the_two_sides_of_a_pair_are_augmented_apart(data):
    white = replace(data.target, pixels=np.full_like(data.target.pixels, 200))  # or the images themselves would differ
    pairs = _streams(Prepared(data.label_space, {"target": white}), augment="light", draw=SMALL).batch("pairs", 0)
    assert not torch.equal(pairs.left, pairs.right)


@pytest.mark.parametrize("stream", ["episodes", "pairs"])
def test_episodes_and_pairs_need_their_domain(stream, data):
    alone = Prepared(data.label_space, {"target": data.target})
    with pytest.raises(DataError, match=r"needs source images, but data\.source is not set"):
        _streams(alone, draw=Sampling("source", n_way=2, k_shot=1, n_query=1)).batch(stream, 0)
    with pytest.raises(DataError, match="the target has 0 of them"):
        _streams(data, draw=Sampling("target", n_way=2, k_shot=5, n_query=5)).batch("episodes", 0)


def test_augmentation_changes_training_batches(data):
    plain, changed = _streams(data).batch("source", 0), _streams(data, augment="light").batch("source", 0)
    assert plain.labels["label"].tolist() == changed.labels["label"].tolist()
    assert not torch.equal(plain.image, changed.image)


def test_crop_takes_the_centre_and_scales_to_one():
    pixels = torch.zeros(2, 10, 10, 3, dtype=torch.uint8)
    pixels[:, 3:7, 3:7] = torch.tensor([255, 51, 0], dtype=torch.uint8)
    found = crop(pixels, Preprocess(size=4, resize=10, mean=(0, 0, 0), std=(1, 1, 1)))
    assert found.shape == (2, 3, 4, 4)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([1.0, 0.2, 0.0]))
    assert found[:, 0].min() == 1


def test_normalise_by_hand():
    image = torch.tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1)
    found = normalise(image, Preprocess(size=1, resize=1, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 0.25)))
    assert found.flatten().tolist() == [0.0, 0.5, 4.0]


def test_the_streams_of_prepared_pixels_match_the_pixels(toy):
    preprocess = Preprocess(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    batch = next(Streams(toy, preprocess, batch_size=4, augment="none", seed=0).split("val"))
    rows = toy.target.rows("val")[:4]
    back = (batch.image * 0.5 + 0.5) * 255
    np.testing.assert_allclose(back.permute(0, 2, 3, 1).numpy(), toy.target.pixels[rows], atol=1e-3)
