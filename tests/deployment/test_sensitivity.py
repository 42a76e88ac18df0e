"""Sensitivity: the layers that bear 8 bits worst are found by what their quantisation does to the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.deployment import sensitivity
from components.deployment.int8 import Network


def test_the_ratio_of_signal_to_noise_by_hand():
    """Signal (1, -1) about its mean has power 2, twice; noise (0.1, 0) has 0.01: 10 log10(400) = 26.02 dB."""
    signal = np.array([[3.0, 1.0], [-1.0, 1.0]], np.float32)
    noisy = signal + np.array([[0.1, 0.0], [0.0, 0.0]], np.float32)
    assert sensitivity.signal_to_noise_db([signal], [noisy]) == pytest.approx(10 * math.log10(4 / 0.01), abs=1e-3)
    assert sensitivity.signal_to_noise_db([signal], [signal]) == math.inf
    assert sensitivity.signal_to_noise_db([signal, signal], [signal, noisy]) < 30  # the worst output counts


def test_answers_that_are_no_numbers_are_nothing_but_noise():
    signal = np.array([[1.0, 2.0]], np.float32)
    assert sensitivity.signal_to_noise_db([signal], [np.array([[np.nan, 0]], np.float32)]) == -math.inf


def test_the_layers_around_a_value_with_an_outlying_channel_come_first(chain, smooth_images):
    """Channel 0 behind layer 3 is 300 times the others: 8 bits for all of them leave those next to nothing."""
    images = smooth_images(48)
    ready = Network(chain(8, {3: 300.0}))
    found = ready.ranges(images, "minmax")
    order = sensitivity.worst_first(ready, found, images)
    assert set(order[:2]) == {"node_conv3", "node_conv4"}
    assert sorted(order) == sorted(ready.nodes.layers)


def test_layers_in_float_get_what_they_read_and_make_in_float(chain, smooth_images):
    """Only then does it help: a layer in float that reads rounded values is no better than before."""
    images = smooth_images(48)
    ready = Network(chain(8, {3: 300.0}))
    found = ready.ranges(images, "minmax")
    expected = sensitivity.answers(ready.model, images)

    def quality(*kept: str) -> float:
        return sensitivity.signal_to_noise_db(expected, sensitivity.answers(ready.quantise(found, fp32=kept), images))

    assert quality() < 12
    assert quality("node_conv3", "node_conv4") > quality() + 8
    assert quality(*ready.nodes.layers) > 60
