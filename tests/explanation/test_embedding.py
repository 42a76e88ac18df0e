"""Pictures of features: which images are drawn, that they come out the same, and how far domains are apart."""

from __future__ import annotations

import numpy as np
import pytest

from components.explanation import embedding, examples


def test_as_many_of_each_class_as_there_are():
    labels = np.array([0] * 50 + [1] * 3 + [2] * 20)
    rng = np.random.default_rng(0)
    places = embedding.stratified(labels, 23, rng)
    assert np.bincount(labels[places]).tolist() == [10, 3, 10]
    assert (np.diff(places) > 0).all()
    assert not np.array_equal(places, embedding.stratified(labels, 23, rng))
    assert np.array_equal(places, embedding.stratified(labels, 23, np.random.default_rng(0)))
    assert np.array_equal(embedding.stratified(labels, 100, rng), np.arange(73))


def test_features_are_standardised_and_constant_ones_say_nothing():
    table = embedding.standardised(np.array([[1.0, 7.0], [3.0, 7.0]], np.float32))
    assert table.tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def _two_groups(distance: float, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    domain = np.repeat([0, 1], count)
    table = rng.normal(0, 1, (2 * count, 8))
    table[:, 3] += distance * domain
    return table.astype(np.float32), domain


def test_equal_features_give_the_same_picture_to_the_byte_and_groups_stay_together():
    table, domain = _two_groups(0.0)
    table += 20 * domain[:, None]
    plane = embedding.in_the_plane(table, 0)
    assert (plane.shape, plane.dtype) == ((120, 2), np.float32)
    assert plane.tobytes() == embedding.in_the_plane(table.copy(), 0).tobytes()
    centres = np.stack([plane[domain == value].mean(0) for value in (0, 1)])
    nearest = ((plane[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == domain).mean() == 1.0


@pytest.mark.parametrize("table", [np.ones((20, 4)), np.zeros((3, 4)), np.arange(12.0).reshape(3, 4)])
def test_what_has_no_neighbours_has_a_picture_too(table):
    assert not embedding.in_the_plane(table.astype(np.float32), 0).any()


def test_the_smallest_picture():
    assert np.isfinite(embedding.in_the_plane(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), 0)).all()


@pytest.mark.parametrize("distance", [1.0, 2.0, 6.0])
def test_the_domain_accuracy_is_that_of_two_normal_distributions(distance):
    """Best possible for two of variance 1 that are so far apart: Phi(distance / 2)."""
    from statistics import NormalDist

    table, domain = _two_groups(distance, 600)
    found = embedding.domain_accuracy(table, domain, 0)
    assert found == pytest.approx(NormalDist().cdf(distance / 2), abs=0.03)
    assert found == embedding.domain_accuracy(table, domain, 0)


def test_domains_alike_are_told_apart_by_guessing_only():
    table, domain = _two_groups(0.0, 600)
    assert embedding.domain_accuracy(table, domain, 0) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("domain", [np.zeros(20, int), np.array([0] * 16 + [1] * 4)])
def test_too_few_images_of_a_domain_have_no_domain_accuracy(domain):
    assert embedding.domain_accuracy(np.random.default_rng(0).normal(size=(20, 3)), domain, 0) is None


def test_right_answers_are_of_different_classes_first_and_confident_ones():
    probabilities = np.array(
        [[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.99, 0.0, 0.01], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.0, 0.95, 0.05]]
    )
    labels = np.array([0, 0, 1, 1, 2, 1])  # the third answer is wrong
    found = [examples.most_confident_right(probabilities, labels, count).tolist() for count in (0, 2, 3, 9)]
    assert found == [[], [5, 0], [5, 0, 4], [5, 0, 4, 1, 3]]
