"""A function of many numbers, in as many processes as there are cores.

The processes are forked where nothing speaks against it, so they start in milliseconds and share what is in memory.
Each is given a few numbers at a time through a pipe of its own, so that it is known whose work is lost when one dies.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, sharedctypes
from multiprocessing.process import BaseProcess
from typing import TypeVar

from components.errors import MachineError

CHUNK = 16
"""Numbers that a process takes at a time."""
AHEAD = 2
"""Chunks that each process has got, so that it never waits for the next one."""

T = TypeVar("T")


@dataclass
class _Worker:
    """`pipe`: this side of it; `at`: the number that the process is at, in shared memory; `waiting`: chunks that it has
    not answered yet."""

    process: BaseProcess
    pipe: connection.Connection
    at: ctypes.c_longlong
    waiting: list[range] = field(default_factory=list)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(one: Callable[[int], T], count: int, name: Callable[[int], str], tell: Callable[[int], None]) -> list[T]:
    """`one(number)` for all numbers below `count`. `tell` hears now and then how many are done; `name` says what a
    number stands for.

    Raises what `one` raises, and MachineError when a process dies, with the name of what it was at. However this ends,
    no process is left.
    """
    found: list[T] = []
    answers: dict[int, list[T]] = {}
    done, left = 0, iter([range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)])
    workers = _start(one, min(cores(), -(-count // CHUNK)))
    try:
        for worker in workers * AHEAD:
            _feed(worker, left)
        while busy := {worker.pipe: worker for worker in workers if worker.waiting}:
            ready = connection.wait(list(busy))
            for worker in [busy[pipe] for pipe in busy if pipe in ready]:
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    raise MachineError(_death(worker, name)) from None
                if isinstance(answer, Exception):
                    raise answer
                chunk = worker.waiting.pop(0)
                answers[chunk.start] = answer
                done += len(chunk)
                _feed(worker, left)
            tell(done)
    finally:
        for worker in workers:
            worker.pipe.close()  # which ends those that wait for work
            if done < count:
                worker.process.kill()
        for worker in workers:
            worker.process.join()
    for start in sorted(answers):
        found += answers[start]
    return found


def _start(one: Callable[[int], T], count: int) -> list[_Worker]:
    """Forked where that is safe: in a process with other threads, one of them may hold a lock that no one gives back in
    the copy."""
    forks = sys.platform == "linux" and threading.active_count() == 1
    context = multiprocessing.get_context("fork") if forks else multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    workers = []
    for ours, theirs in pipes:
        # A copy of an end in another process would keep a pipe open that its owner has left.
        others = [end for pair in pipes for end in pair if end is not theirs] if forks else []
        at = sharedctypes.RawValue(ctypes.c_longlong, -1)
        process = context.Process(target=_serve, args=(one, theirs, at, others), daemon=True)
        process.start()
        workers.append(_Worker(process, ours, at))
    for _, theirs in pipes:
        theirs.close()
    return workers


def _feed(worker: _Worker, left: Iterator[range]) -> None:
    chunk = next(left, None)
    if chunk is not None:
        worker.waiting.append(chunk)
        with suppress(OSError):  # it has died, which is found out where its answer is waited for
            worker.pipe.send(chunk)


def _serve(
    one: Callable[[int], T],
    pipe: connection.Connection,
    at: ctypes.c_longlong,
    others: list[connection.Connection],
) -> None:
    """The whole life of a process."""
    for other in others:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, which ends this one
    warnings.simplefilter("ignore")
    with suppress(EOFError, OSError):  # the parent is gone, or wants nothing more
        while True:
            chunk = pipe.recv()
            answer: list[T] | Exception = []
            try:
                for number in chunk:
                    at.value = number
                    answer.append(one(number))
            except Exception as error:
                answer = error
            pipe.send(answer)


def _death(worker: _Worker, name: Callable[[int], str]) -> str:
    worker.process.join()
    code = worker.process.exitcode or 0
    cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    at = worker.at.value
    where = f"while it was at {name(at)}" if at >= 0 else "before it began"
    advice = ", perhaps because memory ran out" if code == -signal.SIGKILL else ""
    return f"one of the processes {cause} {where}{advice}"
