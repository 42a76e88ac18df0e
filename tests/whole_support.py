"""The real pipeline on the built-in data, cut down to a minute, in workspaces of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPARED, STUDENTS = ("linear_probe", "fine_tune", "dan", "hard_sharing"), ("distillation",)
GRAFT = [sys.executable, "-m", "graft"]


@dataclass(frozen=True)
class Runs:
    """`workspace`: `graft run` was killed there, and then a stage of the next one, which finished all the same;
    `reference`: `dvc repro` ran there undisturbed, up to what depends on measured times; `output`: what the run that
    finished printed."""

    workspace: Path
    reference: Path
    output: str


def environment() -> dict[str, str]:
    """This process's, without what would lead a run out of its workspace."""
    led = ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**{key: value for key, value in os.environ.items() if key not in led}, "PATH": path}


def small_workspace(root: Path) -> Path:
    """The repository without git, with parameters that train for seconds."""
    root.mkdir()
    for name in ("components", "flows", "graft"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root)
    (root / "data/raw").mkdir(parents=True)
    shutil.copy(ROOT / "data/raw/README.md", root / "data/raw")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text() + "    no_scm = true\n")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"]["source"]["per_class"] = 15
    short = {"checkpoint_every": 5, "log_every": 5}
    params["pretrain"] |= {"steps": 40, **short}
    params["train"] |= {"steps": 20, "seeds": [0, 1], "episodes": 20, **short}
    params |= {"compare": list(COMPARED), "students": list(STUDENTS)}
    for entry in params["strategies"].values():
        entry.get("recipe", {}).pop("steps", None)
    params["prepare"] |= {"val_fraction": 0.1, "test_fraction": 0.15}  # every training answers all of both
    params["evaluate"]["resamples"] = 200
    # One decision of the few that these images ask for may differ: the search for a better int8 has tests of its own.
    params["export"]["min_precision_agreement"] = 0.98
    params["explain"] |= {"images": 4, "points": 40}
    params["benchmark"]["seconds"] = 0.05
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return root


def processes(root: Path, text: str) -> list[int]:
    """Running processes whose command line holds `text`, started in the workspace."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if text in (entry / "cmdline").read_text().replace("\0", " ") and (entry / "cwd").resolve() == root:
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


def wait_for(condition: Callable[[], object], within_s: float) -> object:
    until = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return result


def start(root: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*GRAFT, *arguments], cwd=root, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def commands() -> list[str]:
    """Every command of the README's shell blocks, comments cut off."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))
