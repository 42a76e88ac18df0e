"""What README.md says is so. That its commands work is tried in whole/test_end_to_end.py, where there has been a
run."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from components import params as parameters
from whole_support import README, ROOT, commands


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


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
def test_the_parameters_shown_are_accepted(block: str) -> None:
    assert parameters.parse(yaml.safe_load(block)).strategies


def test_figures_in_the_readme_are_measured() -> None:
    assert not re.search(r"@[A-Z_]+|-->\n<!-- /", README), "a figure has not been filled in"
    assert Path(ROOT / "CHANGELOG.md").exists()


def test_contributing_shows_the_strategy_as_it_is() -> None:
    from benchmarks import strategy_diff

    assert strategy_diff.diff() in strategy_diff.PAGE.read_text(encoding="utf-8"), "python benchmarks/strategy_diff.py"
