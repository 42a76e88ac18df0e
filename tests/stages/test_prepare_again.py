"""prepare on top of a previous result: only what is new is decoded, nothing is lost, and the bytes are the first's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components import lineage, paths
from components.data import decoding, images
from components.errors import MachineError
from components.stages.prepare import prepare
from prepare_support import COLOURS, fill, manifest_rows, prepared_bytes, set_params

ROOT = Path(__file__).parents[2]


def _count_decoded(monkeypatch) -> list[str]:
    decoded: list[str] = []
    decode = images.pixels
    monkeypatch.setattr(
        images, "pixels", lambda content, **options: decoded.append(options["origin"]) or decode(content, **options)
    )
    return decoded


def test_the_same_data_gives_the_same_bytes_and_another_seed_another_split(workspace):
    prepare()
    first = lineage.folder_digest(paths.PREPARED)
    shutil.rmtree(paths.PREPARED)
    prepare()
    assert lineage.folder_digest(paths.PREPARED) == first
    splits = [row["split"] for row in manifest_rows()]
    set_params(seed=1)
    prepare()
    assert [row["split"] for row in manifest_rows()] != splits


def test_preparing_again_decodes_what_is_new_and_gives_the_bytes_of_a_first_time(workspace, monkeypatch, capsys):
    fill(workspace / "drawings", classes=("cat", "dog"), count=40, seed=1)
    set_params(data={"target": {"folder": "images"}, "source": {"folder": "drawings"}})
    prepare()
    fill(workspace / "later", classes=("owl",), count=5, seed=9)
    for path in (workspace / "later" / "owl").iterdir():
        path.rename(workspace / "images" / "owl" / f"a{path.name}")
    (workspace / "images" / "cat" / "07.png").unlink()
    (workspace / "images" / "dog" / "07.png").rename(workspace / "images" / "dog" / "renamed.png")
    decoded = _count_decoded(monkeypatch)
    prepare()
    assert {Path(path).name for path in decoded} >= {f"a0{number}.png" for number in range(5)}
    assert len(decoded) <= 5 + decoding.VERIFIED_AT_LEAST
    again = capsys.readouterr().out.splitlines()[-2:]
    assert again == [
        "target: 94 images of 3 classes from images (89 decoded before)",
        "source: 80 images of 2 classes from drawings (80 decoded before)",
    ]
    found = prepared_bytes()
    shutil.rmtree(paths.PREPARED)
    prepare()
    assert prepared_bytes() == found


def test_a_damaged_result_is_not_built_upon(workspace, capsys):
    prepare()
    found = prepared_bytes()
    content = np.load(paths.PREPARED / "target.npy")
    np.save(paths.PREPARED / "target.npy", 255 - content)
    prepare()
    assert prepared_bytes() == found
    assert "all images are decoded again" in capsys.readouterr().out


@pytest.mark.parametrize("limit", [10_000, 110_000])
def test_a_disk_that_gets_full_leaves_the_previous_result(limit, workspace):
    """The system refuses to let any file grow beyond a limit, as it refuses on a full disk: once the pixels, once the
    manifest, when the pixels are there already."""
    prepare()
    before = prepared_bytes()
    rows = "".join(f"{name}/{n:02d}.png,{'x' * 3000}\n" for name in COLOURS for n in range(30))
    Path("long.csv").write_text("path,text\n" + rows)
    set_params(data={"target": {"folder": "images", "metadata": "long.csv"}})
    command = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
runpy.run_module("components.stages.prepare", run_name="__main__")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == MachineError.exit_code, done.stderr
    assert re.fullmatch(
        r"prepare: .*data/prepared needs [\d,]+ bytes, which .* has no room for \(File too large\); nothing was "
        r"changed\n",
        done.stderr,
    )
    assert prepared_bytes() == before
    assert [path.name for path in paths.PREPARED.parent.iterdir()] == ["prepared"]
