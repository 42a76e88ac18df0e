"""The doctor tells what a model can run on here, and what is missing where it cannot."""

from __future__ import annotations

import pytest

from components import machine
from components.runtimes import providers
from components.runtimes.providers import present
from graft.commands import doctor


def _lines(root) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine(root)}


def test_every_provider_that_is_present_has_answered(tmp_path):
    lines = _lines(tmp_path)
    for name in present():
        assert lines[f"runs on {name}"] == doctor.Finding(True, f"runs on {name}", "yes")


@pytest.mark.skipif(bool(machine.gpus()), reason="this machine has a GPU")
def test_what_a_machine_without_gpu_lacks_is_told_and_no_fault(monkeypatch):
    monkeypatch.setattr(providers, "missing", lambda name: f"the library of {name} is missing")
    lines = {finding.what: finding for finding in doctor._providers(has_gpu=False)}
    assert lines["runs on cuda"] == doctor.Finding(None, "runs on cuda", "no: the library of cuda is missing")
    assert "runs on tensorrt" not in lines


def test_a_gpu_that_cannot_be_used_is_a_fault(monkeypatch):
    """The driver reports a GPU, but a library is missing: the error of a session is the finding."""
    from components.runtimes import session

    monkeypatch.setattr(machine, "gpus", lambda: [machine.Gpu("GPU-0", "A")])
    for module in (providers, session):
        monkeypatch.setattr(module, "missing", lambda name: "libcurand.so.10 is missing" if name == "cuda" else None)
    monkeypatch.setattr(providers, "present", lambda: ["cpu", "cuda"])
    lines = {finding.what: finding for finding in doctor._providers(has_gpu=True)}
    assert lines["runs on cpu"].good is True
    assert lines["runs on cuda"].good is False
    assert lines["runs on cuda"].found == "provider 'cuda' cannot run here: libcurand.so.10 is missing"
