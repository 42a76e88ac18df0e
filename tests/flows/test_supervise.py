"""A command ends with everything it started, however its parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from flows import supervise
from tests_support import all_gone

# Starts a grandchild that ignores SIGTERM and notes both process ids, as a stage with a stubborn data loader would.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"])
with open(sys.argv[1] + ".part", "w") as stream:
    stream.write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(120)
"""


def pids(file: Path) -> list[int]:
    until = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < until, "the command did not start"
        time.sleep(0.02)
    return [int(pid) for pid in file.read_text().split()]


def start(file: Path, **options) -> subprocess.Popen:
    command = supervise.command([sys.executable, "-c", STUBBORN, str(file)], **options)
    return subprocess.Popen(command, stdin=subprocess.PIPE)


@pytest.mark.parametrize("code", [0, 1, 2, 77])
def test_the_exit_code_is_the_commands(code: int) -> None:
    command = supervise.command([sys.executable, "-c", f"raise SystemExit({code})"])
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(20) == code


def test_a_command_that_a_signal_ended_reports_as_shells_do() -> None:
    command = supervise.command([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(20) == 128 + signal.SIGKILL


def test_timeout_ends_the_whole_group_even_if_it_ignores_sigterm(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with start(file, timeout_s=1.0) as process:
        running = pids(file)
        assert process.wait(2 * supervise.GRACE_S + 10) == supervise.TIMED_OUT
    assert all_gone(running, 1)


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE).wait()",
            *supervise.command([sys.executable, "-c", STUBBORN, str(file)]),
        ]
    )
    running = pids(file)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert all_gone(running, 2 * supervise.GRACE_S + 5)


def test_a_terminal_that_is_closed_ends_the_command_unless_it_is_to_go_on() -> None:
    waits = "import os, time; print(os.getpid(), flush=True); time.sleep(120)"
    command = supervise.command([sys.executable, "-c", waits])
    nohup = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    for before, ends in ((None, True), (nohup, False)):
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=before
        ) as process:
            assert process.stdout is not None
            running = [int(process.stdout.readline())]
            process.send_signal(signal.SIGHUP)
            assert all_gone(running, 1) is ends
            process.terminate()
            assert process.wait(10) == supervise.STOPPED
        assert all_gone(running, 1)


def test_sigterm_to_the_supervisor_ends_the_command(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with start(file) as process:
        running = pids(file)
        process.terminate()
        assert process.wait(2 * supervise.GRACE_S + 10) == supervise.STOPPED
    assert all_gone(running, 1)


def test_what_a_command_started_does_not_outlive_it_when_it_is_killed(tmp_path: Path) -> None:
    """As when the system kills `dvc` and leaves the stage."""
    file = tmp_path / "pids"
    with start(file) as process:
        leader, child = pids(file)
        os.kill(leader, signal.SIGKILL)
        assert process.wait(2 * supervise.GRACE_S + 10) == 128 + signal.SIGKILL
    assert all_gone([leader, child], 1)
