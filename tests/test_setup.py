"""What `make` installs, and what it says where it cannot."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, Version]:
    """Pinned version by name, of those lines that apply to this machine."""
    requirements = [Requirement(line) for line in LOCK.splitlines()]
    applies = [r for r in requirements if r.marker is None or r.marker.evaluate()]
    assert all(str(r.specifier).startswith("==") for r in applies)
    return {r.name: Version(str(r.specifier)[2:]) for r in applies}


def ranges() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *(text for name in ("train", "pipeline", "dev") for text in extras[name])]
    found = [Requirement(text) for text in texts]
    return [r for r in found if r.name != "graft" and (r.marker is None or r.marker.evaluate())]


@pytest.mark.parametrize("wanted", ranges(), ids=str)
def test_the_lock_pins_everything_that_is_asked_for_within_its_range(wanted: Requirement) -> None:
    assert wanted.specifier.contains(pins()[wanted.name])


def test_the_lock_names_no_registry() -> None:
    assert not re.search(r"https?://|file:|--index-url|--find-links|--extra-index|@", LOCK)
    assert not (ROOT / "uv.lock").exists()


def test_the_installed_versions_are_the_locked_ones() -> None:
    wrong = {
        name: (str(pin), metadata.version(name))
        for name, pin in pins().items()
        if Version(metadata.version(name)) != pin
    }
    assert wrong == {}


def test_onnxruntime_is_pinned_once() -> None:
    assert len({"onnxruntime", "onnxruntime-gpu"} & set(pins())) == 1


@pytest.mark.parametrize(
    ("missing", "advice"),
    [("ensurepip", "apt install python3-venv"), ("sys.version_info", "Python 3.11 or 3.12 is needed")],
)
def test_make_says_what_is_missing(tmp_path: Path, missing: str, advice: str) -> None:
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *{missing}*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    fake.chmod(0o755)
    told = subprocess.run(
        ["make", "setup", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}"], cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode != 0
    assert advice in told.stdout
    assert not (tmp_path / "venv").exists()


def test_make_turns_telemetry_off_and_lets_python_keep_what_it_compiled() -> None:
    shown = subprocess.run(
        ["make", "-s", "--eval=show:;@env", "show"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {
        "DO_NOT_TRACK=1",
        "DVC_NO_ANALYTICS=1",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "PREFECT_SERVER_ANALYTICS_ENABLED=false",
    } <= set(shown)
    assert not [line for line in shown if line.startswith("PYTHONDONTWRITEBYTECODE=")]
