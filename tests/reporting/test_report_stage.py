"""The stage: it reads what the others wrote, and writes the leaderboard and the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from components import jsonfile, paths, tensorfile
from components.data import prepared
from components.errors import DataError
from components.stages.report import report
from components.types import TASK, LabelSpace


@pytest.fixture
def workspace(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    evidence = make(["fine_tune", "linear_probe"])
    jsonfile.write(paths.EVALUATION, evidence.evaluation)
    jsonfile.write(paths.AUDIT, evidence.audit)
    jsonfile.write(paths.BENCHMARK, {**evidence.benchmark, "strategies": {}})
    jsonfile.write(paths.BUNDLE / "bundle.json", evidence.bundle)
    jsonfile.write(paths.EXPLANATIONS / "explanations.json", evidence.explanations)
    tensorfile.save(paths.EXPLANATIONS / "explanations.safetensors", dict(evidence.heat))
    for name, records in evidence.histories.items():
        jsonfile.write_lines(paths.MODELS / name / "history.jsonl", records)
        jsonfile.write(paths.MODELS / name / "model.json", {"best_seed": 1})
        (paths.MODELS / name / "model.safetensors").write_bytes(bytes(3 * 2**18))
        jsonfile.write(paths.TIMINGS / f"{name}.json", {"train_time_s": 7.0, "seeds": 3})
    rows = [
        {
            "path": f"{domain}/{index}",
            "domain": domain,
            "split": "train",
            "sha256": "",
            "width": 1,
            "height": 1,
            TASK: "0",
        }
        for domain, images in evidence.pixels.items()
        for index in range(len(images))
    ]
    prepared.write(paths.PREPARED, rows, dict(evidence.pixels), LabelSpace({TASK: tuple("0123456789")}), {})
    return tmp_path


def test_it_writes_the_leaderboard_and_the_page(workspace: Path):
    report()
    rows = jsonfile.read(paths.LEADERBOARD)
    assert [(row["strategy"], row["train_time_s"], row["latency_ms"], row["size_mib"]) for row in rows] == [
        ("fine_tune", 7.0, None, 0.75),
        ("linear_probe", 7.0, None, 0.75),
    ]
    page = paths.REPORT.read_text(encoding="utf-8")
    mistakes = len(jsonfile.read(paths.EVALUATION)["strategies"][0]["mistakes"])
    assert page.count("data:image/webp") == mistakes + 4 * 2 + 3 + 6  # explained with heat, near-duplicates, suspects
    assert "fine_tune: loss" in page


def test_it_names_what_is_missing(workspace: Path):
    paths.AUDIT.unlink()
    with pytest.raises(DataError, match=r"audit\.json does not exist"):
        report()
