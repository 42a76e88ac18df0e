"""Threads work ahead, but neither out of order nor without end."""

from __future__ import annotations

import threading
import time
from itertools import count, islice

import pytest

from components.inference import stream


def test_results_come_in_order_however_long_each_takes():
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3 == 0))
        return number**2

    assert list(stream.ahead(work, range(50), threads=4, distance=8)) == [number**2 for number in range(50)]


@pytest.mark.parametrize("distance", [1, 3, 8])
def test_never_more_than_the_distance_is_taken_beyond_what_was_asked_for(distance):
    taken = []
    results = stream.ahead(str, (taken.append(number) or number for number in count()), threads=2, distance=distance)
    assert taken == []  # nothing before the first is asked for
    for asked in range(20):
        assert next(results) == str(asked)
        assert len(taken) == asked + distance
    results.close()


def test_the_next_are_worked_on_while_the_caller_is_busy_with_one():
    """Two pieces of work at once, and both go on while nobody asks."""
    started = threading.Barrier(2, timeout=10)

    def work(number: int) -> int:
        started.wait()  # returns only when another thread is here as well
        return number

    results = stream.ahead(work, range(4), threads=2, distance=4)
    assert next(results) == 0
    assert list(results) == [1, 2, 3]


def test_an_error_of_the_source_comes_after_what_it_gave():
    def source():
        yield from (1, 2, 3)
        raise RuntimeError("the camera was unplugged")

    found = []
    with pytest.raises(RuntimeError, match="unplugged"):
        found.extend(stream.ahead(str, source(), threads=2, distance=8))
    results = stream.ahead(str, source(), threads=2, distance=8)
    assert list(islice(results, 3)) == ["1", "2", "3"]
    with pytest.raises(RuntimeError, match="unplugged"):
        next(results)


def test_an_error_of_the_work_is_raised_in_its_place():
    results = stream.ahead(lambda number: 6 // number, [1, 2, 0, 3], threads=2, distance=4)
    assert (next(results), next(results)) == (6, 3)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_who_stops_asking_leaves_no_thread_behind():
    before = threading.active_count()
    results = stream.ahead(str, count(), threads=3, distance=6)
    next(results)
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before


def test_batches_hold_what_is_left_in_the_last_one():
    assert list(stream.batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(stream.batches(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(stream.batches([], 3)) == []
