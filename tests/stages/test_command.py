"""A stage as a command: what goes wrong is one line and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components import errors
from components.stages import command

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["GraftError", "ParamsError", "DataError", "MachineError", "ParityError"])
def test_a_graft_error_is_one_line_and_its_exit_code(kind, monkeypatch, capsys):
    error = getattr(errors, kind)

    def prepare() -> None:
        raise error("what went wrong")

    monkeypatch.setattr(sys, "argv", ["prepare"])
    with pytest.raises(SystemExit) as caught:
        command.main(prepare)
    assert caught.value.code == error.exit_code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "prepare: what went wrong\n")


def test_no_memory_is_one_line_too(monkeypatch, capsys):
    def train() -> None:
        raise MemoryError

    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit) as caught:
        command.main(train)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "train: out of memory\n"


def test_any_other_exception_is_a_bug_and_keeps_its_traceback(monkeypatch):
    def train() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(RuntimeError, match="a bug"):
        command.main(train)


def test_the_parameters_of_the_function_are_the_arguments(monkeypatch):
    got = []

    def train(name: str) -> None:
        """Trains."""
        got.append(name)

    monkeypatch.setattr(sys, "argv", ["train", "dan"])
    command.main(train)
    assert got == ["dan"]
    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit) as caught:
        command.main(train)
    assert caught.value.code == 2


def test_parameters_with_a_default_are_options(monkeypatch):
    got = []

    def monitor(until: str | None = None, from_: str | None = None, by_hand: bool = False) -> None:
        """Looks."""
        got.append((until, from_, by_hand))

    for given in ([], ["--until", "noon"], ["--from", "there", "--by-hand"]):
        monkeypatch.setattr(sys, "argv", ["monitor", *given])
        command.main(monitor)
    assert got == [(None, None, False), ("noon", None, False), (None, "there", True)]


def test_progress_is_shown_at_once_through_a_pipe():
    code = "import time; from components.stages.command import say; say('first'); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "first\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_real_stage_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "components.stages.prepare"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("prepare: there is no params.yaml in ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
