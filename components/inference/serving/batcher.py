"""Dynamic batching: images of many requests share one run of the model, without waiting longer than they have to.

An image goes through two steps. `prepare` (decoding and resizing) runs in a pool of threads, one image at a time;
`run` (the model) runs in a thread of its own, on as many prepared images as there are. While it runs, the next ones
gather, so that batches grow with the load by themselves. It waits only for images that are being prepared at that very
moment, and never longer than `max_delay_s` since the first image of the batch was ready: one client alone waits for
nothing.

Nothing here knows of HTTP or of images: what `prepare` gives, `run` gets.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Full(Exception):
    """More images than the queue takes: try again later."""


class _Waiting(NamedTuple):
    """A prepared image. `since`: when it was ready, in seconds of the monotonic clock."""

    item: Any
    answer: asyncio.Future
    since: float


class Batcher:
    """`prepare`: what was submitted -> an item; `run`: items -> one result for each, in their order. An exception
    that either raises is not raised again but becomes the result: of that image, or of every one in that batch.

    `max_batch`: most items in a run, which may change; `capacity`: most images accepted and not answered yet;
    `workers`: threads that prepare. Made, used and closed on the thread of one event loop.
    """

    def __init__(
        self,
        prepare: Callable[[Any], Any],
        run: Callable[[list[Any]], Sequence[Any]],
        *,
        max_batch: int,
        max_delay_s: float,
        capacity: int,
        workers: int,
    ) -> None:
        self.prepare, self.run = prepare, run
        self.max_batch, self.max_delay_s, self.capacity = max_batch, max_delay_s, capacity
        self.accepted = 0
        """Images that were let in and are not answered yet. Only the event loop's thread touches it."""
        self._loop = asyncio.get_running_loop()
        self._arrived: list[tuple[Any, asyncio.Future]] = []
        lock = threading.Lock()  # of all that follows
        self._sources: deque[tuple[Any, asyncio.Future]] = deque()
        self._waiting: deque[_Waiting] = deque()
        self._preparing = 0
        self._closing = False
        self._work = threading.Condition(lock)
        """There are sources, or it is closing."""
        self._change = threading.Condition(lock)
        """There is something to run, or to run at once, or it is closing."""
        self._threads = [
            threading.Thread(target=self._prepare_all, name="prepare", daemon=True) for _ in range(workers)
        ]
        self._threads.append(threading.Thread(target=self._run_batches, name="run", daemon=True))
        for thread in self._threads:
            thread.start()

    def submit(self, sources: Sequence[Any]) -> list[asyncio.Future]:
        """A future for the result of each. Accepts all of them, or raises Full and accepts none."""
        if self._closing:
            raise Full("the server is stopping")
        if self.accepted + len(sources) > self.capacity:
            raise Full(f"{self.accepted} images are waiting, and at most {self.capacity} may")
        self.accepted += len(sources)
        if not self._arrived:
            self._loop.call_soon(self._hand_over)
        jobs = [(source, self._loop.create_future()) for source in sources]
        self._arrived += jobs
        return [answer for _, answer in jobs]

    def _hand_over(self) -> None:
        """Gives the threads all that this turn of the event loop brought: waking them up one by one costs more."""
        with self._work:
            self._sources += self._arrived
            self._preparing += len(self._arrived)
            self._work.notify(len(self._arrived))
        self._arrived.clear()

    async def close(self) -> None:
        """Answers what was accepted, then ends the threads."""
        if self._arrived:
            self._hand_over()
        with self._change:
            self._closing = True
            self._change.notify()
            self._work.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _prepare_all(self) -> None:
        while self._prepare_next():
            pass

    def _prepare_next(self) -> bool:
        """False when the batcher is closed. A thread that waits for work holds on to nothing of the work before, which
        may be the last that keeps a model in memory."""
        with self._work:
            while not self._sources:
                if self._closing:
                    return False
                self._work.wait()
            source, answer = self._sources.popleft()
        self._prepare(source, answer)
        return True

    def _prepare(self, source: Any, answer: asyncio.Future) -> None:
        try:
            item = self.prepare(source)
        except Exception as error:
            self._deliver([answer], error)
            item = None
        with self._change:
            self._preparing -= 1
            if item is not None:
                self._waiting.append(_Waiting(item, answer, time.monotonic()))
            # The first one starts the clock, and these two end the wait: other images change nothing for the thread.
            if len(self._waiting) in (1, self.max_batch) or not self._preparing:
                self._change.notify()

    def _run_batches(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """False when it is closed and everything was answered. Like `_prepare_next`, this holds on to nothing."""
        batch = self._next_batch()
        if not batch:
            return False
        answers = [waiting.answer for waiting in batch]
        try:
            results = self.run([waiting.item for waiting in batch])
            if len(results) != len(batch):
                raise ValueError(f"the model gave {len(results)} answers to {len(batch)} images")
        except Exception as error:
            self._deliver(answers, error)
        else:
            self._deliver(answers, results)
        return True

    def _next_batch(self) -> list[_Waiting]:
        """Blocks until there is something to run. Empty when the batcher is closed and everything was answered."""
        with self._change:
            while not self._waiting:
                if self._closing and not self._preparing:
                    return []
                self._change.wait()
            deadline = self._waiting[0].since + self.max_delay_s
            while self._preparing and len(self._waiting) < self.max_batch:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._change.wait(left)
            return [self._waiting.popleft() for _ in range(min(self.max_batch, len(self._waiting)))]

    def _deliver(self, answers: list[asyncio.Future], results: Sequence[Any] | Exception) -> None:
        """Hands a whole batch to the event loop in one go: waking it up costs more than all the rest."""
        with contextlib.suppress(RuntimeError):  # the loop was closed by force, and nobody waits for answers any more
            self._loop.call_soon_threadsafe(self._resolve, answers, results)

    def _resolve(self, answers: list[asyncio.Future], results: Sequence[Any] | Exception) -> None:
        self.accepted -= len(answers)
        for number, answer in enumerate(answers):
            if not answer.cancelled():
                answer.set_result(results if isinstance(results, Exception) else results[number])
