"""What is kept of each class, and which places hold nothing."""

from __future__ import annotations

import torch

from components.layers.support_memory import SupportMemory

LABELS = torch.tensor([2, 0, 2, 2, 0, 2, 2])
FEATURES = torch.arange(7.0)[:, None] + 1


def test_a_class_with_room_is_kept_whole_in_order():
    memory = SupportMemory(3, 5, 1)
    memory.fill(FEATURES, LABELS)
    assert memory.features[:, :, 0].tolist() == [[2, 5, 0, 0, 0], [0] * 5, [1, 3, 4, 6, 7]]
    assert memory.taken.tolist() == [[True, True, False, False, False], [False] * 5, [True] * 5]
    assert memory.known().tolist() == [True, False, True]


def test_of_more_images_than_places_those_are_kept_that_stand_evenly_apart():
    memory = SupportMemory(3, 2, 1)
    memory.fill(FEATURES, LABELS)
    assert memory.features[:, :, 0].tolist() == [[2, 5], [0, 0], [1, 4]]


def test_filling_again_leaves_nothing_of_before():
    memory = SupportMemory(3, 5, 1)
    memory.fill(FEATURES, LABELS)
    memory.fill(FEATURES[:2], LABELS[:2])
    assert memory.taken.sum(1).tolist() == [1, 0, 1]
    assert memory.features.count_nonzero() == 2
