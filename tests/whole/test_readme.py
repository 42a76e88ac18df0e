"""What README.md tells people to type is typed here, in a workspace where the small pipeline has run."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from components import params as parameters
from whole_support import ROOT, Runs, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Needs git, which the test's workspace is without: what it prints there says so.
NEEDS_GIT = {"dvc params diff"}


def commands() -> list[str]:
    """Every command of the README's shell blocks, comments cut off."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


def test_the_readme_names_the_test_command_and_the_main_job_and_ci_runs_them() -> None:
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert {"make run", "make test"} <= set(commands())
    assert script.index("make test") < script.index("make run")


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make ")])
def test_make_knows_the_word(command: str) -> None:
    told = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("word", sorted(set(re.findall(r"`make (\w+)`", README))))
def test_words_in_the_text_are_words_of_make(word: str) -> None:
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"make {word} " in helped.stdout


@pytest.mark.parametrize("command", [c for c in commands() if not c.startswith(("make ", "source "))])
def test_the_command_works(runs: Runs, command: str) -> None:
    told = subprocess.run(
        shlex.split(command), cwd=runs.workspace, env=environment(), capture_output=True, text=True, timeout=120
    )
    if command in NEEDS_GIT:
        assert "Git" in told.stdout + told.stderr
    else:
        assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
def test_the_parameters_shown_are_accepted(block: str) -> None:
    assert parameters.parse(yaml.safe_load(block)).strategies


def test_every_file_the_readme_names_is_there_or_made_by_a_run(runs: Runs) -> None:
    named = re.findall(r"`((?:components|flows|graft|benchmarks|reports|models)/[\w./]*)`", README)
    assert len(named) > 10
    for name in named:
        assert (ROOT / name).exists() or (runs.workspace / name).exists(), name


def test_figures_in_the_readme_are_measured() -> None:
    assert "@" not in README, "a figure has not been filled in"
    assert Path(ROOT / "CHANGELOG.md").exists()
