"""No Docker engine is needed to see that every path the Dockerfile copies exists and every command it names is real."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MADE_BY_THE_PIPELINE = {"models/champion"}
# Programs that the base image (Debian with Python) has, and packages that bring others.
OF_THE_IMAGE = {"apt-get", "pip", "rm", "useradd"}
BROUGHT_BY = {"uv": "pip install", "dvc": "requirements.lock", "graft": "-e ."}


def instructions() -> dict[str, list[tuple[str, str]]]:
    """target -> (instruction, arguments), a target's parents' first, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    stages: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in joined:
        word, _, rest = line.partition(" ")
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            current = stages[name] = list(stages.get(parent, []))
        current.append((word, rest.strip()))
    return stages


def commands(target: str) -> list[list[str]]:
    """Every command that building the target runs."""
    runs = [rest for word, rest in instructions()[target] if word == "RUN"]
    return [shlex.split(part) for run in runs for part in run.split("&&")]


def test_there_are_the_two_targets() -> None:
    assert {"train", "predict"} <= set(instructions())


def test_every_path_that_is_copied_exists_and_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*"
    for target in ("train", "predict"):
        for word, rest in instructions()[target]:
            if word == "COPY":
                for source in rest.split()[:-1]:
                    assert source in allowed, f".dockerignore keeps {source} out"
                    assert source in MADE_BY_THE_PIPELINE or (ROOT / source).exists(), source


@pytest.mark.parametrize("target", ["train", "predict"])
def test_every_command_is_real(target: str) -> None:
    for command in commands(target):
        program = command[0]
        if program in OF_THE_IMAGE:
            continue
        assert program in BROUGHT_BY, f"nothing in the image brings {program}"
        assert any(BROUGHT_BY[program] in " ".join(earlier) for earlier in commands(target)), program


@pytest.mark.parametrize(("target", "arguments"), [("train", ["run"]), ("predict", ["predict"])])
def test_the_entry_point_is_a_command_of_graft(target: str, arguments: list[str]) -> None:
    entry = [rest for word, rest in instructions()[target] if word == "ENTRYPOINT"][-1]
    default = [rest for word, rest in instructions()[target] if word == "CMD"]
    words = eval(entry) + (eval(default[-1]) if default else [])
    assert words == ["graft", *arguments]
    scripts = {script.name for script in metadata.entry_points(group="console_scripts")}
    assert "graft" in scripts
    shown = subprocess.run([sys.executable, "-m", "graft", *arguments, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0


def test_predict_runs_as_an_ordinary_user_and_installs_no_torch() -> None:
    users = [rest for word, rest in instructions()["predict"] if word == "USER"]
    assert users and users[-1] not in ("root", "0")
    installs = [command for command in commands("predict") if "install" in command]
    assert installs == [["pip", "install", "--no-cache-dir", "--constraint", "requirements.lock", "."]]
    required = [line for line in metadata.requires("graft") or [] if "extra ==" not in line]
    assert not [line for line in required if re.match(r"(torch|torchvision|mlflow|prefect|dvc)\b", line)]
    assert any(line.startswith("onnxruntime") for line in required)


def test_what_predict_copies_is_all_that_its_command_imports() -> None:
    copied = {rest.split()[0] for word, rest in instructions()["predict"] if word == "COPY"}
    code = (
        "import sys\nfrom graft.cli import app\nimport components.inference.predictor\n"
        "print(*{m.split('.')[0] for m in sys.modules if m.split('.')[0] in ('components', 'flows', 'graft')})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(shown.stdout.split()) <= copied
