"""Processes that answer, fail and die: in a process of their own, since pytest's may have threads, and forks none."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from components.data import pool

ROOT = Path(__file__).parents[2]
BEGIN = """
import os, signal, time
from components.data import pool
from components.errors import DataError, MachineError

def run(one, count=100, told=None):
    told = [] if told is None else told
    try:
        return pool.run(one, count, lambda number: f"file {number}.jpg", told.append)
    except (DataError, MachineError) as error:
        print(error)
    finally:
        try:
            os.waitpid(-1, os.WNOHANG)
            print("a process is left")
        except ChildProcessError:
            pass
"""
ALL = """
told = []
answers = run(lambda number: (number, os.getpid()), 1000, told)
numbers, processes = zip(*answers)
print(list(numbers) == list(range(1000)), os.getpid() in processes)
print(told == sorted(told), told[-1], len(told) > 5)

def killed(number):
    if number == 37:
        os.kill(os.getpid(), signal.SIGKILL)
run(killed)

def left(number):
    if number == 98:
        os._exit(3)
run(left)

def failed(number):
    if number == 50:
        raise DataError("fifty")
    time.sleep(0.001)
run(failed, 100_000)
"""
ORPHANS = """
parent = os.getpid()
def one(number):
    if number == 20:
        os.kill(parent, signal.SIGKILL)
    time.sleep(0.01)
run(one)
"""


def _python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def lines() -> list[str]:
    done = _python(ALL)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_answers_come_in_order_from_other_processes(lines):
    assert lines[:2] == ["True False", "True 1000 True"]


def test_a_process_that_dies_is_an_error_that_names_what_it_was_at(lines):
    assert lines[2:4] == [
        "one of the processes was ended by SIGKILL while it was at file 37.jpg, perhaps because memory ran out",
        "one of the processes ended with exit code 3 while it was at file 98.jpg",
    ]


def test_an_error_ends_all_processes(lines):
    assert lines[4:] == ["fifty"]


def test_no_process_outlives_a_parent_that_is_killed():
    """The captured output ends when the last process that could write to it does: `run` returns only then."""
    assert _python(ORPHANS).returncode == -9


def test_beside_other_threads_processes_are_started_afresh():
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        told: list[int] = []
        assert pool.run(abs, 20, str, told.append) == list(range(20))
        assert told[-1] == 20
    finally:
        release.set()
        thread.join()


def test_nothing_to_do_starts_nothing():
    assert pool.run(abs, 0, str, lambda done: None) == []
