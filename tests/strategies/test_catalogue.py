"""The text that params.yaml is checked against, read where other threads run too."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.strategies import catalogue


@pytest.fixture
def collections_let_others_in():
    """Collects at nearly every allocation, and gives the interpreter away each time, as a finalizer may."""

    def give_way(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            time.sleep(1e-6)

    thresholds = gc.get_threshold()
    gc.callbacks.append(give_way)
    gc.set_threshold(10)
    yield
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(give_way)


def test_threads_that_build_trees_at_the_same_time_get_whole_ones(collections_let_others_in):
    def read(depth: int) -> dict[str, catalogue.Parameter]:
        return read(depth - 1) if depth else catalogue.hyper_parameters.__wrapped__("cdan")

    expected = catalogue.hyper_parameters("cdan")
    with ThreadPoolExecutor(4) as threads:
        assert all(found == expected for found in threads.map(read, [0, 5, 10, 15] * 10))


def test_collections_go_on_after_a_tree():
    assert gc.isenabled()
    catalogue.hyper_parameters.__wrapped__("cdan")
    assert gc.isenabled()
    gc.disable()
    try:
        catalogue.hyper_parameters.__wrapped__("cdan")
        assert not gc.isenabled(), "who had switched it off finds it on"
    finally:
        gc.enable()
