"""benchmarks/inference.py and cold_start.py: the tables say what was measured, and a tiny network goes all the way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cold_start, inference, inference_tables, performance_page
from benchmarks.inference import Cell
from components.speed.timing import Sample

ROUTES = {"torch eager": 40.0, "fp32@cpu": 10.0, "int8@cpu": 4.0, "fp32@openvino": 8.0, "int8@openvino": 8.0}


def sample(milliseconds: float, images: int = 1) -> Sample:
    """The same time in each of six rounds."""
    rounds = [[milliseconds / 1e3]] * 6
    return Sample(images, wall=rounds, cpu=rounds)


@pytest.fixture
def measured() -> Cell:
    """ResNet-18, as if of 1 GFLOP; a product of 1 GFLOP takes 8, 4 and 2 ms."""
    samples = {name: sample(time) for name, time in ROUTES.items()}
    samples |= {inference_tables.peak(p): sample(t) for p, t in (("fp32", 8.0), ("bf16", 4.0), ("int8", 2.0))}
    precision = {name: "int8" if "int8" in name else "fp32" for name in ROUTES}
    deviation = dict.fromkeys(ROUTES, 0.02)
    pair = {"fp32@cpu": sample(10.0), "network alone": sample(9.8)}
    return Cell("resnet18", 1, precision, samples, deviation, 10**9, 10**9, pair)


def row(table: str, title: str) -> list[str]:
    return next(
        [cell.strip() for cell in line.split("|")[2:-1]] for line in table.splitlines() if f"| {title} |" in line
    )


def test_ratios_are_of_torch_and_torch_is_in_milliseconds(measured: Cell) -> None:
    table = inference_tables.speed([measured], "torch eager", "cpu")
    assert row(table, "torch eager") == ["*40 ms*"]
    assert row(table, "fp32@cpu") == ["4.00 (4.00 to 4.00)"]
    assert row(table, "int8@cpu") == ["10.00 (10.00 to 10.00)"]
    assert "peak" not in table


def test_share_of_peak_is_held_against_the_own_precision(measured: Cell) -> None:
    table = inference_tables.share_of_peak([measured])
    assert row(table, "fp32@cpu") == ["80%"]  # 1 GFLOP in 10 ms, where the product takes 8
    assert row(table, "int8@cpu") == ["50%"]


def test_openvino_wins_only_beyond_five_per_cent(measured: Cell) -> None:
    found = row(inference_tables.against_openvino([measured]), "resnet18 b1")
    assert found == ["0.80 (0.80 to 0.80) **OpenVINO**", "2.00 (2.00 to 2.00) onnxruntime", "int8@cpu"]
    measured.samples["fp32@openvino"] = sample(9.6)
    found = row(inference_tables.against_openvino([measured]), "resnet18 b1")
    assert found[0] == "0.96 (0.96 to 0.96) within 5 %"


def test_preprocessing_is_what_the_graph_takes_longer_than_the_network(measured: Cell) -> None:
    found = row(inference_tables.preprocessing([measured], "fp32@cpu", "network alone"), "resnet18 b1")
    assert found == ["9.8 ms", "10 ms", "+2.0% (+2.0% to +2.0%)", "yes"]


def test_goals_are_reached_by_the_best_of_their_routes(measured: Cell) -> None:
    goals = inference_tables.goals([measured], "torch eager")
    assert row(goals, "resnet18, batch 1")[-1] == "yes"
    measured.samples["int8@cpu"] = sample(9.0)
    assert row(inference_tables.goals([measured], "torch eager"), "resnet18, batch 1")[-1] == "**no**"


def test_cold_start_compares_with_torch() -> None:
    starts = {
        "torch and torchvision": [{"cpu_s": 4.0, "s": 4.4, "mib": 700.0}] * 3,
        "onnx": [{"cpu_s": 0.5, "s": 0.6, "mib": 90.0}] * 3,
    }
    assert row(cold_start.table(starts), "onnx") == ["0.50", "8.0", "0.60", "90"]


def test_a_place_of_the_page_is_replaced_and_a_missing_one_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- measured: x -->\nold\n<!-- /measured -->\nb\n<!-- measured: y -->\n<!-- /measured -->\n")
    performance_page.replace("x", "new", page)
    assert page.read_text().startswith("a\n<!-- measured: x -->\nnew\n<!-- /measured -->\nb\n")
    with pytest.raises(SystemExit, match="measured: z"):
        performance_page.replace("z", "new", page)


def test_the_page_has_a_place_for_everything_that_is_measured(measured: Cell) -> None:
    pytest.importorskip("torch")
    places = set(re.findall("<!-- measured: (.*) -->", performance_page.PAGE.read_text(encoding="utf-8")))
    assert places == {*inference.report([measured]), "cold start"}


def test_a_small_network_is_measured_on_every_route() -> None:
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    try:
        (cell,) = inference.cells({"lenet": (2,)}, 0.01, compiled=False, networks={"lenet": (5, 32)})
    finally:
        torch.set_num_threads(threads)
    assert {"torch eager", "fp32@cpu", "int8@cpu", "peak int8"} <= set(cell.samples)
    assert set(cell.preprocessing) == {"fp32@cpu", "network alone"}
    assert cell.deviation["fp32@cpu"] < 1e-5 < cell.deviation["int8@cpu"] < 0.5
    # LeNet's first layer alone: 6 filters of 5 x 5 x 3 at 28 x 28 places, a multiplication and an addition each.
    assert cell.operations > 2 * 6 * 75 * 28 * 28
    assert all(np.concatenate(sample.cpu).min() > 0 for sample in cell.samples.values())
