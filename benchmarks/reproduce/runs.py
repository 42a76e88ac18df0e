"""A protocol's seeds, run one after another or in processes of their own.

Not in `__main__`, whose functions a spawned process does not find.
"""

from __future__ import annotations

import importlib
import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from components.errors import DataError


def answers(
    module: str, data: Path, seeds: Sequence[int], workers: int
) -> Iterator[tuple[int, dict[str, float], float, float]]:
    """(seed, values, seconds, seconds of processor time) in the order in which seeds are done."""
    if workers <= 1:
        for seed in seeds:
            yield _answer(module, data, seed)
        return
    # Forked processes would share torch's threads and locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(seeds)), mp_context=context) as pool:
        for done in as_completed([pool.submit(_answer, module, data, seed) for seed in seeds]):
            yield done.result()


def _answer(module: str, data: Path, seed: int) -> tuple[int, dict[str, float], float, float]:
    # A shared machine's wall time says as much about the others; processor time does not.
    start, cpu_start = time.perf_counter(), time.process_time()
    try:
        values = importlib.import_module(module).run(data, seed)
    except FileNotFoundError as error:
        traceback.print_exc()
        raise DataError(f"{module} misses {error.filename or error} (GRAFT_DATA is {data})") from None
    return seed, values, time.perf_counter() - start, time.process_time() - cpu_start
