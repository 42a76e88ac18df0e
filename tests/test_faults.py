"""A test of the tests: faults that are easily made in these formulas, each planted in a copy of the code, and a test
that must notice it.

A fault replaces text of one file, and must find it, so that this list cannot fall behind the code in silence.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Fault(NamedTuple):
    """`edits`: old text -> new text in `file`; `tests`: what is run, and must fail, with pytest's -k in `match`."""

    file: str
    edits: dict[str, str]
    tests: str
    match: str = ""


FAULTS = {
    "the gradient is not reversed": Fault(
        "layers/gradient_reversal.py", {"return -factor": "return factor"}, "layers/test_gradient_reversal.py"
    ),
    "CORAL is off by 4": Fault("losses/coral.py", {"/ (4 * source": "/ (source"}, "losses/test_coral.py"),
    "the squared temperature is lost": Fault(
        "losses/soft_targets.py", {"temperature**2 * F.kl_div": "F.kl_div"}, "losses/test_soft_targets.py"
    ),
    "the divergence runs the other way": Fault(
        "losses/soft_targets.py",
        {"F.kl_div(log_student, log_teacher": "F.kl_div(log_teacher, log_student"},
        "losses/test_soft_targets.py",
    ),
    "student and teacher are swapped": Fault(
        "strategies/distillation.py",
        {"student=logits, teacher=answers[task]": "student=answers[task], teacher=logits"},
        "strategies/test_distillation.py",
    ),
    "a frozen backbone's statistics drift": Fault(
        "training/loop.py",
        {"            module.training = False": "            pass"},
        "training/test_loop.py",
        "frozen_backbone",
    ),
    "the target stream is never read": Fault(
        "strategies/adaptation.py",
        {"images = [source.image, unlabelled.image,": "images = [source.image, source.image,"},
        "strategies/test_contract.py",
        "every_stream and dann",
    ),
    "prototypes are never computed": Fault(
        "strategies/prototypical.py", {"    def finish(self": "    def never(self"}, "strategies/test_prototypical.py"
    ),
    "MMD's cross term is halved": Fault("losses/mmd.py", {"- 2 * kernel[": "- kernel["}, "losses/test_mmd.py"),
    "L2-SP pulls the head to where it started": Fault(
        "strategies/l2_sp.py",
        {
            "for parameter in self.backbone.parameters()]": "for parameter in self.parameters()]",
            "weights=self.backbone.parameters()": "weights=self.parameters()",
        },
        "strategies/test_l2_sp.py",
    ),
    "L2-SP pulls the backbone to zero": Fault(
        "strategies/l2_sp.py",
        {"half_squared_distance(weights=self.backbone.parameters(), start=self._start)":
         "half_squared_norm(self.backbone.parameters())"},
        "strategies/test_l2_sp.py",
    ),
    "labels of unseen classes are used": Fault(
        "strategies/zero_shot.py",
        {"usable = self.seen[labels]": "usable = torch.ones_like(self.seen[labels])"},
        "strategies/test_zero_shot.py",
        "leave_no_trace",
    ),
    "conflicting gradients are left as they are": Fault(
        "losses/conflicting_gradients.py", {"projected[i] -= scale": "projected[i] -= 0 * scale"},
        "losses/test_conflicting_gradients.py",
    ),
    "a change of low rank is there from the start": Fault(
        "layers/low_rank.py", {"nn.Parameter(torch.zeros(rows, rank))": "nn.Parameter(torch.ones(rows, rank))"},
        "layers/test_low_rank.py",
    ),
}  # fmt: skip


def _copy(folder: Path) -> Path:
    for name in ("components", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "whole", "flows"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


# Imports what all tests import, but nothing of ours, and becomes a pytest of its own for each line that it reads:
# to import torch anew for every fault would take most of the time.
FORKING = """
import json, os, sys
import numpy, PIL.Image, pytest, torch, yaml

assert not any(name.partition(".")[0] in ("components", "conftest") for name in sys.modules)
for line in sys.stdin:
    folder, arguments, output = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": folder, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # other packages' plugins are slow
        sys.path.insert(0, folder)
        code = int(pytest.main(arguments))
        sys.stdout.flush()
    finally:
        os._exit(code)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path, str, str], tuple[int, str]]]:
    """(folder, tests, match) -> the exit code and the output of these tests there, in a process of their own."""
    output = tmp_path_factory.mktemp("output") / "told"
    command = [sys.executable, "-c", FORKING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forking:
        assert forking.stdin is not None and forking.stdout is not None

        def run(folder: Path, tests: str, match: str) -> tuple[int, str]:
            output.unlink(missing_ok=True)
            arguments = [
                f"tests/{tests}",
                "-k",
                match,
                "-x",
                "-n",
                "0",
                "--no-header",
                "-p",
                "no:cacheprovider",
                "-p",
                "xdist.plugin",
            ]
            print(json.dumps([str(folder), arguments, str(output)]), file=forking.stdin, flush=True)
            return int(forking.stdout.readline()), output.read_text()

        yield run
        forking.stdin.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A copy in which nothing is wrong."""
    return _copy(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(name: str, sound: Path, run) -> None:
    fault = FAULTS[name]
    path = sound / "components" / fault.file
    right = path.read_text()
    wrong = right
    for old, new in fault.edits.items():
        assert wrong.count(old) == 1, f"{fault.file} has {wrong.count(old)} times {old!r}"
        wrong = wrong.replace(old, new)
    path.write_text(wrong)
    try:
        code, told = run(sound, fault.tests, fault.match)
    finally:
        path.write_text(right)
    # A test failed, and nothing else went wrong: the same tests pass where the fault is not, in this very run.
    summary = told.strip().splitlines()[-1]
    assert code == 1, told[-2000:]
    assert "1 failed" in summary and "error" not in summary, told[-2000:]
