"""Nobody's answer is lost, doubled or somebody else's, and nobody waits longer than the budget."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from components.inference.serving.batcher import Batcher, Full


def negated(batch: list[int]) -> list[int]:
    return [-item for item in batch]


def answer_with(
    scenario: Callable[[Batcher], Any],
    *,
    prepare: Callable[[Any], Any] = lambda source: source,
    run: Callable[[list[Any]], Any] = negated,
    max_batch: int = 4,
    max_delay_s: float = 0.05,
    capacity: int = 100,
) -> Any:
    """What the coroutine `scenario` gives for a batcher, which is closed afterwards."""

    async def whole() -> Any:
        batcher = Batcher(prepare, run, max_batch=max_batch, max_delay_s=max_delay_s, capacity=capacity, workers=2)
        try:
            return await scenario(batcher)
        finally:
            await batcher.close()

    return asyncio.run(asyncio.wait_for(whole(), 20))


def test_everyone_gets_their_own_answer_exactly_once():
    seen: list[list[int]] = []

    def run(batch: list[int]) -> list[int]:
        seen.append(batch)
        return negated(batch)

    async def scenario(batcher: Batcher) -> list[list[int]]:
        async def client(number: int) -> list[int]:
            found = []
            for turn in range(20):
                first = 1000 * number + 10 * turn
                found += await asyncio.gather(*batcher.submit([first, first + 1][: 1 + turn % 2]))
            return found

        return await asyncio.gather(*(client(number) for number in range(32)))

    answers = answer_with(scenario, run=run, capacity=64)
    for number, found in enumerate(answers):
        asked = [1000 * number + 10 * turn + extra for turn in range(20) for extra in range(1 + turn % 2)]
        assert found == negated(asked)
    items = [item for batch in seen for item in batch]
    assert len(items) == len(set(items)) == 32 * 30
    assert max(map(len, seen)) == 4


def test_one_alone_waits_for_nothing():
    async def scenario(batcher: Batcher) -> float:
        start = time.perf_counter()
        assert await batcher.submit([3])[0] == -3
        return time.perf_counter() - start

    assert answer_with(scenario, max_delay_s=10) < 5


@pytest.mark.parametrize(("max_delay_s", "sizes"), [(5, [2]), (0, [1, 1])])
def test_it_waits_for_images_that_are_being_prepared_but_not_beyond_the_budget(max_delay_s, sizes):
    seen = []
    first_ran = threading.Event()

    def prepare(source: int) -> int:
        if source == 2:
            first_ran.wait(0.3)
        return source

    def run(batch: list[int]) -> list[int]:
        seen.append(len(batch))
        first_ran.set()
        return negated(batch)

    async def scenario(batcher: Batcher) -> list[int]:
        return await asyncio.gather(*batcher.submit([1, 2]))

    assert answer_with(scenario, prepare=prepare, run=run, max_delay_s=max_delay_s) == [-1, -2]
    assert seen == sizes


def test_a_full_batch_does_not_wait():
    release = threading.Event()

    def prepare(source: int) -> int:
        if source == 9:
            release.wait(10)
        return source

    async def scenario(batcher: Batcher) -> list[int]:
        slow, *others = batcher.submit([9, 1, 2])
        found = await asyncio.gather(*others)
        release.set()
        return [await slow, *found]

    assert answer_with(scenario, prepare=prepare, max_batch=2, max_delay_s=60) == [-9, -1, -2]


def test_images_gather_while_the_model_runs():
    started, release, seen = threading.Event(), threading.Event(), []

    def run(batch: list[int]) -> list[int]:
        seen.append(batch)
        started.set()
        release.wait(10)
        return negated(batch)

    async def scenario(batcher: Batcher) -> list[int]:
        answers = batcher.submit([1])
        await asyncio.to_thread(started.wait)
        answers += batcher.submit([2, 3, 4])
        while len(batcher._waiting) < 3:
            await asyncio.sleep(0.001)
        release.set()
        return await asyncio.gather(*answers)

    assert answer_with(scenario, run=run) == [-1, -2, -3, -4]
    assert [sorted(batch) for batch in seen] == [[1], [2, 3, 4]]


def test_a_full_queue_refuses_all_of_a_request_or_nothing():
    release = threading.Event()

    def run(batch: list[int]) -> list[int]:
        release.wait(10)
        return negated(batch)

    async def scenario(batcher: Batcher) -> list[int]:
        answers = batcher.submit([1, 2])
        with pytest.raises(Full, match="2 images are waiting, and at most 3 may"):
            batcher.submit([3, 4])
        answers += batcher.submit([5])
        with pytest.raises(Full):
            batcher.submit([6])
        release.set()
        found = await asyncio.gather(*answers)
        assert batcher.accepted == 0
        return found + await asyncio.gather(*batcher.submit([7, 8, 9]))

    assert answer_with(scenario, run=run, capacity=3) == negated([1, 2, 5, 7, 8, 9])


def test_what_cannot_be_prepared_fails_alone():
    def prepare(source: int) -> int:
        if source % 2:
            raise ValueError(f"{source} is odd")
        return source

    async def scenario(batcher: Batcher) -> list:
        found = await asyncio.gather(*batcher.submit([1, 2, 3, 4]), return_exceptions=True)
        assert batcher.accepted == 0
        return [str(one) for one in found]

    assert answer_with(scenario, prepare=prepare) == ["1 is odd", "-2", "3 is odd", "-4"]


@pytest.mark.parametrize("failure", ["raises", "gives too few"])
def test_a_failed_batch_fails_only_its_own(failure):
    def run(batch: list[int]) -> list[int]:
        if 13 in batch:
            if failure == "raises":
                raise RuntimeError("13")
            return []
        return negated(batch)

    async def scenario(batcher: Batcher) -> list:
        found = []
        for number in (12, 13, 14):
            found += await asyncio.gather(*batcher.submit([number]), return_exceptions=True)
        return found

    found = answer_with(scenario, run=run)
    assert (found[0], found[2]) == (-12, -14)
    assert "13" in str(found[1]) or "0 answers to 1 images" in str(found[1])


def test_closing_answers_what_was_accepted_and_takes_nothing_more():
    def prepare(source: int) -> int:
        time.sleep(0.005)
        return source

    async def scenario(batcher: Batcher) -> list[int]:
        answers = batcher.submit(list(range(20)))
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(Full, match="stopping"):
            batcher.submit([1])
        found = await asyncio.gather(*answers)
        await closing
        return found

    assert answer_with(scenario, prepare=prepare) == negated(list(range(20)))


def test_whoever_gave_up_waiting_harms_nobody():
    async def scenario(batcher: Batcher) -> int:
        gone, stays = batcher.submit([1, 2])
        gone.cancel()
        found = await stays
        assert batcher.accepted == 0
        return found

    assert answer_with(scenario) == -2
