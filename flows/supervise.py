"""Runs a command and takes its whole process tree down with it: `python -m flows.supervise [--timeout S] -- COMMAND …`

A killed `dvc repro` leaves the stage's own process running and writing. So commands run in a process group of their
own, which ends when this process is told to stop (SIGTERM, SIGINT, or SIGHUP of a terminal that was closed), when the
time is up, or when whoever started it is gone: standard input is a lifeline that closes with the parent, however the
parent died.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 5.0
POLL_S = 0.05
TIMED_OUT, STOPPED = 124, 130
ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def _accept_signals() -> None:
    """In the child, before the command: the supervisor's blocked signals are not the command's."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


class Supervisor:
    """One command and its process group."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_accept_signals
        )
        self._stopping: str | None = None
        self._lock = threading.Lock()

    def stop(self, reason: str) -> None:
        """Ends the group: politely, then not. Only the first reason counts."""
        with self._lock:
            if self._stopping is not None:
                return
            self._stopping = reason
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return
            until = time.monotonic() + GRACE_S
            while time.monotonic() < until:
                self.process.poll()  # reaps the leader, which would otherwise count as alive
                try:
                    os.killpg(self.process.pid, 0)
                except ProcessLookupError:
                    return
                time.sleep(POLL_S)

    def wait(self, timeout_s: float | None) -> int:
        """The command's exit code, or what says why it was stopped."""
        started = time.monotonic()
        while self.process.poll() is None:
            if timeout_s is not None and time.monotonic() - started > timeout_s:
                self.stop("timeout")
            time.sleep(POLL_S)
        if self._stopping is None and self._group_lives():
            self.stop("command ended")  # what it started does not outlive it, however it ended
            return self.process.returncode
        while self._stopping is not None and self._group_lives():
            time.sleep(POLL_S)
        if self._stopping is not None:
            print(f"supervise: stopped ({self._stopping})", file=sys.stderr, flush=True)
            return TIMED_OUT if self._stopping == "timeout" else STOPPED
        return self.process.returncode

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


def supervise(command: list[str], timeout_s: float | None) -> int:
    # A signal that comes while the command is being started waits until there is something to stop.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    supervisor = Supervisor(command)

    def stop(reason: str) -> None:
        threading.Thread(target=supervisor.stop, args=(reason,), daemon=True).start()

    def lifeline() -> None:
        while os.read(0, 1):
            pass
        supervisor.stop("parent gone")

    threading.Thread(target=lifeline, daemon=True).start()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda n, _: stop(signal.Signals(n).name))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    return supervisor.wait(timeout_s)


def command(arguments: list[str], timeout_s: float | None = None) -> list[str]:
    """The command line that runs `arguments` supervised."""
    limit = [] if timeout_s is None else ["--timeout", str(timeout_s)]
    return [sys.executable, "-m", "flows.supervise", *limit, "--", *arguments]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m flows.supervise", description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=float)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    arguments = options.command[1:] if options.command[:1] == ["--"] else options.command
    code = supervise(arguments, options.timeout)
    # A command that a signal ended has a negative code: report it as shells do. The lifeline thread must not delay the
    # exit.
    os._exit(code if code >= 0 else 128 - code)
