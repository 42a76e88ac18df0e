"""Work done ahead by threads: while a batch is in the model, the next images are being decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, distance: int) -> Iterator[Result]:
    """`work(item)` for every item, in order.

    Items are taken as they are needed: never more than `distance` beyond the result asked for, so an endless iterable
    takes no more memory than a short one. An error of `items` itself comes after the results of what it gave before.
    """
    source = iter(items)
    end: Exception | None = None
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        while True:
            while end is None and len(waiting) < distance:
                try:
                    item = next(source)
                except Exception as error:  # StopIteration is the end, and anything else ends it as well
                    end = error
                else:
                    waiting.append(pool.submit(work, item))
            if not waiting:
                break
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if end is not None and not isinstance(end, StopIteration):
        raise end


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
