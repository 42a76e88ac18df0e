"""A test of the tests: faults that are easily made in these formulas, each planted in a copy of the code, and a test
that must notice it.

A fault replaces text of one file, and must find it, so that this list cannot fall behind the code in silence.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
        {"            module.eval()": "            pass"},
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


def _run(folder: Path, tests: str, match: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", f"tests/{tests}", "-k", match, "-x", "-n", "0", "--no-header"]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, text=True, capture_output=True
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A copy in which nothing is wrong."""
    return _copy(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(name: str, sound: Path) -> None:
    fault = FAULTS[name]
    path = sound / "components" / fault.file
    right = path.read_text()
    wrong = right
    for old, new in fault.edits.items():
        assert wrong.count(old) == 1, f"{fault.file} has {wrong.count(old)} times {old!r}"
        wrong = wrong.replace(old, new)
    path.write_text(wrong)
    try:
        found = _run(sound, fault.tests, fault.match)
    finally:
        path.write_text(right)
    # A test failed, and nothing else went wrong: the same tests pass where the fault is not, in this very run.
    summary = found.stdout.strip().splitlines()[-1]
    assert found.returncode == 1, found.stdout[-2000:]
    assert "1 failed" in summary and "error" not in summary, found.stdout[-2000:]
