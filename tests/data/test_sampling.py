"""Episodes and pairs hold what they say, drawn evenly over classes however uneven these are."""

from __future__ import annotations

import numpy as np
import pytest

from components.data.sampling import by_class, episode, pairs
from components.errors import DataError
from components.types import Sampling

LABELS = np.array([7] * 40 + [2] * 4 + [5] * 4 + [9] * 2)[np.random.default_rng(0).permutation(50)]


def test_by_class_by_hand():
    found = by_class(np.array([5, 2, 5, 9, 2, 5]))
    assert found.order.tolist() == [1, 4, 0, 2, 5, 3]
    assert found.starts.tolist() == [0, 2, 5]
    assert found.counts.tolist() == [2, 3, 1]


def _episodes(count: int, **sampling) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [episode(by_class(LABELS), Sampling(**sampling), rng) for _ in range(count)]


def test_an_episode_has_a_class_in_each_row_and_no_image_twice():
    for support, query in _episodes(50, n_way=3, k_shot=1, n_query=3):
        assert (support.shape, query.shape) == ((3, 1), (3, 3))
        both = np.hstack([support, query])
        assert len(np.unique(both)) == both.size
        labels = LABELS[both]
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == 3


def test_classes_and_images_are_drawn_evenly():
    drawn = np.concatenate([np.hstack(part)[:, 0] for part in _episodes(3000, n_way=1, k_shot=1, n_query=1)])
    labels, counts = np.unique(LABELS[drawn], return_counts=True)
    assert labels.tolist() == [2, 5, 7, 9]
    assert counts / 3000 == pytest.approx(1 / 4, abs=0.03)  # although class 7 has twenty times the images of class 9
    of_seven = np.bincount(drawn, minlength=50)[LABELS == 7]
    assert (of_seven > 0).all()


def test_only_classes_with_enough_images_are_drawn():
    for part in _episodes(50, n_way=3, k_shot=2, n_query=2):
        assert 9 not in LABELS[np.hstack(part)]


def test_an_episode_that_cannot_be_filled_says_what_is_short():
    with pytest.raises(
        DataError, match=r"n_way = 4 .* k_shot \+ n_query = 4 .* the target has 3 of them \(of 4 classes\)"
    ):
        episode(by_class(LABELS), Sampling("target", n_way=4, k_shot=2, n_query=2), np.random.default_rng(0))


@pytest.mark.parametrize("count", [1, 2, 31])
def test_every_second_pair_is_of_one_class_and_of_two_images(count):
    images = by_class(LABELS)
    for seed in range(20):
        left, right, same = pairs(images, count, np.random.default_rng(seed))
        assert same.tolist() == [index % 2 == 0 for index in range(count)]
        assert ((LABELS[left] == LABELS[right]) == same).all()
        assert (left != right).all()


def test_pairs_are_even_over_classes_images_and_sides():
    left, right, same = pairs(by_class(LABELS), 20000, np.random.default_rng(0))
    for chosen in (same, ~same):
        for side in (left, right):
            counts = np.unique(LABELS[side[chosen]], return_counts=True)[1]
            assert counts / chosen.sum() == pytest.approx(1 / 4, abs=0.02)
    of_nine = np.flatnonzero(LABELS == 9)  # two images: each is as often on the left as the other
    counts = [int(((left == image) & same).sum()) for image in of_nine]
    assert counts[0] / sum(counts) == pytest.approx(0.5, abs=0.05)


def test_a_class_with_one_image_is_in_pairs_of_two_classes_only():
    labels = np.array([0, 0, 0, 1])
    left, right, same = pairs(by_class(labels), 50, np.random.default_rng(0))
    assert (labels[left[same]] == 0).all()
    assert ((left == 3) | (right == 3))[~same].all()


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], []], ids=["one class", "single images", "nothing"])
def test_pairs_that_cannot_be_made_are_refused(labels):
    with pytest.raises(DataError, match="pairs need two classes, and one of them with two labelled images"):
        pairs(by_class(np.array(labels, np.int64)), 4, np.random.default_rng(0))
