"""What strategies read where images come in that are of another kind than the target's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.backbones.small_resnet import SmallResNet
from components.data import features
from components.data.features import Features, Key
from components.data.prepared import HIDDEN, RECENT, Domain, Prepared
from components.data.streams import Streams
from components.errors import DataError
from components.types import LabelSpace, Preprocess, Sampling

PREPROCESS = Preprocess(size=8, resize=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _domain(count: int, first: int, labels: dict[int, int], held_out: int = 5) -> Domain:
    """Every image is filled with its own number; the last ones are validation. `labels`: number -> class."""
    numbers = np.arange(first, first + count)
    known = np.array([labels.get(number, HIDDEN) for number in numbers])
    pixels = np.broadcast_to(numbers[:, None, None, None], (count, 8, 8, 3)).astype(np.uint8)
    splits = np.array(["train"] * (count - held_out) + ["val"] * held_out)
    return Domain(pixels, {"label": known}, splits, [str(n) for n in numbers], [str(n) for n in numbers])


def _data(recent: dict[int, int], *, source: bool = True) -> Prepared:
    """Target 0 to 24, of which 8 to 24 have a label; source 100 to 134; recent 200 to 219."""
    domains = {
        "target": _domain(25, 0, {n: n % 3 for n in range(8, 25)}),
        "source": _domain(35, 100, {n: n % 3 for n in range(100, 135)}),
        RECENT: _domain(20, 200, recent),
    }
    if not source:
        del domains["source"]
    return Prepared(LabelSpace({"label": ("a", "b", "c")}), domains)


def _streams(data: Prepared, **more) -> Streams:
    return Streams(data, PREPROCESS, **{"batch_size": 4, "augment": "none", "seed": 0, **more})


def _numbers(image: torch.Tensor) -> list[int]:
    return (image[:, 0, 0, 0] * 255).round().int().tolist()


def _epoch(streams: Streams, stream: str) -> list[int]:
    return [number for batch in streams.batches(stream) for number in _numbers(batch.image)]


def test_recent_images_are_adapted_to_and_everything_labelled_else_is_the_source():
    streams = _streams(_data({}))
    assert _epoch(streams, "unlabelled") == list(range(200, 215))
    assert _epoch(streams, "source") == [*range(100, 130), *range(8, 20)]
    assert _epoch(streams, "target") == list(range(8, 20))
    batches = [_numbers(streams.batch("source", step).image) for step in range(15)]
    assert all(sum(number < 100 for number in batch) == 2 for batch in batches)  # of four: the source does not drown it
    shown = [number for batch in batches for number in batch]
    assert sorted(number for number in shown if number >= 100) == list(range(100, 130))
    target = [number for number in shown if number < 100]
    assert sorted(target[:12]) == sorted(target[12:24]) == list(range(8, 20))
    assert target[:12] != target[12:24]


def test_without_a_source_the_target_is_one():
    streams = _streams(_data({}, source=False))
    assert _epoch(streams, "source") == list(range(8, 20))


def test_a_recent_image_that_somebody_has_labelled_is_learned_from_and_still_adapted_to():
    data = _data({201: 0, 207: 1, 216: 2})  # the last is held out
    streams = _streams(data)
    assert _epoch(streams, "target") == [*range(8, 20), 201, 207]
    assert _epoch(streams, "unlabelled") == list(range(200, 215))
    assert _epoch(streams, "source") == [*range(100, 130), *range(8, 20)]
    for batch in streams.batches("target"):
        expected = [{201: 0, 207: 1}.get(number, number % 3) for number in _numbers(batch.image)]
        assert batch.labels["label"].tolist() == expected
    assert streams.class_counts("target")["label"].tolist() == [5, 5, 4]
    assert streams.class_counts("source")["label"].tolist() == [10 + 4, 10 + 4, 10 + 4]


def test_a_further_task_is_learned_from_those_that_answer_it():
    data = _data({201: 0, 207: 1})
    domains = {
        name: replace(own, labels={**own.labels, "odd": np.full(len(own.paths), HIDDEN)})
        for name, own in data.domains.items()
    }
    target, recent = domains["target"].labels, domains[RECENT].labels
    target["odd"][:] = np.where(target["label"] == HIDDEN, HIDDEN, target["label"] % 2)
    recent["odd"][7] = 1
    streams = _streams(Prepared(LabelSpace({"label": ("a", "b", "c"), "odd": ("no", "yes")}), domains))
    assert _epoch(streams, "target") == [*range(8, 20), 207]
    assert _epoch(streams, "source") == [*range(100, 130), *range(8, 20)]  # though the source knows none of it


def test_all_held_out_recent_images_are_answered_labelled_or_not():
    streams = _streams(_data({216: 2}))
    batches = list(streams.split("val", RECENT))
    assert [n for batch in batches for n in _numbers(batch.image)] == list(range(215, 220))
    assert [n for batch in batches for n in batch.labels["label"].tolist()] == [HIDDEN, 2, HIDDEN, HIDDEN, HIDDEN]
    assert [n for batch in streams.split("val") for n in _numbers(batch.image)] == list(range(20, 25))


def test_balanced_batches_episodes_and_pairs_are_drawn_from_the_joined_images():
    streams = _streams(_data({}), batch_size=12, sampler="balanced", draw=Sampling("source", 3, 2, 2))
    seen = []
    for step in range(30):
        batch = streams.batch("source", step)
        assert batch.labels["label"].bincount().tolist() == [4, 4, 4]
        assert sum(number < 100 for number in _numbers(batch.image)) == 6
        seen += _numbers(batch.image)
        episode, pairs = streams.batch("episodes", step), streams.batch("pairs", step)
        for part in episode:
            numbers = torch.tensor(_numbers(part.image)).view(3, 2)
            assert (numbers % 3 == numbers[:, :1] % 3).all()  # of one class each
        same = [a % 3 == b % 3 for a, b in zip(_numbers(pairs.left), _numbers(pairs.right), strict=True)]
        assert same == pairs.same.bool().tolist()
    assert set(seen) == {*range(100, 130), *range(8, 20)}


def test_where_nothing_comes_in_it_is_as_it_was():
    data = _data({})
    plain = replace(data, domains={name: own for name, own in data.domains.items() if name != RECENT})
    streams = _streams(plain)
    assert _epoch(streams, "unlabelled") == list(range(20))
    assert _epoch(streams, "source") == list(range(100, 130))
    assert plain.recent is None
    with pytest.raises(DataError, match=r"data\.source is not set"):
        _streams(replace(plain, domains={"target": plain.target})).batch("source", 0)


def test_features_that_were_computed_are_found_for_recent_and_joined_images():
    torch.manual_seed(0)
    data = _data({201: 0})
    network = SmallResNet(widths=(4, 4, 4), size=8).eval()
    layout = features.layout(data, views=2)
    assert layout.images == tuple(map(str, [*range(25), *range(200, 220), *range(130, 135)]))
    assert layout.varied == (*map(str, range(8, 20)), "201")
    table = np.arange(len(layout) * network.num_features, dtype=np.float32).reshape(len(layout), -1)
    key = Key(features.weights_digest(network), features.as_json(PREPROCESS), {}, "flip")
    streams = _streams(data, features=Features(table, layout, key))
    found, labels = streams.features(network, "target", views=2)
    places = [layout.row(str(n), view) for view in (0, 1) for n in [*range(8, 20), 201]]
    np.testing.assert_array_equal(found.numpy(), table[places])
    assert labels["label"].tolist() == [*[n % 3 for n in range(8, 20)], 0] * 2
    np.testing.assert_array_equal(streams.features(network, "val", domain=RECENT)[0], table[40:45])
    source, _ = streams.features(network, "source")  # not in the table: computed here, from both
    with torch.no_grad():
        expected = torch.cat([network(batch.image) for batch in streams.batches("source")])
    torch.testing.assert_close(source, expected)
