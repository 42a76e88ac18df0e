"""The routes of the bundle on the page: what was measured, what was refused, and why."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from components.reporting import routes
from components.reporting.report import render
from components.reporting.verdicts import single, verdicts


@pytest.fixture
def evidence(make):
    return make(["fine_tune", "dan"])


def test_every_route_has_a_verdict_and_a_reason(evidence):
    found = {verdict.route: verdict for verdict in verdicts(evidence.benchmark, evidence.bundle)}
    assert {route: verdict.kind for route, verdict in found.items()} == {
        "fp32@cpu": "shipped",
        "int8@cpu": "fastest",
        "fp32@openvino": "shipped",
        "bf16@openvino": "not shipped",
        "int8@openvino": "refused",
    }
    assert found["int8@openvino"].reason == "98.00% of 345 decisions agree <too few>"
    assert "benchmark.min_speed_up" in found["bf16@openvino"].reason


def test_a_route_that_was_admitted_elsewhere_is_not_measured_here(evidence):
    admission = {**evidence.bundle["admission"], "fp16@cuda": {"admitted": True, "reason": "100% agree"}}
    last = verdicts(evidence.benchmark, {**evidence.bundle, "admission": admission})[-1]
    assert (last.route, last.kind) == ("fp16@cuda", "not measured")


def test_an_old_bundle_has_no_admission(evidence):
    old = {key: value for key, value in evidence.bundle.items() if key != "admission"}
    assert len(verdicts(evidence.benchmark, old)) == 4
    assert "fp32@cpu" in render(replace(evidence, bundle=old))


def test_the_table_of_routes(evidence):
    rows = {row["verdict"].route: row for row in routes.routes(evidence.benchmark, evidence.bundle)}
    assert list(rows)[-1] == "torch eager"
    assert (rows["int8@cpu"]["one"]["batch_size"], rows["int8@cpu"]["many"]["batch_size"]) == (1, 32)
    assert (rows["int8@cpu"]["accuracy"], rows["int8@cpu"]["agreement"]) == (0.968, 0.997)
    assert rows["int8@openvino"]["one"] is None
    assert single(evidence.benchmark, "int8@cpu")["from"] == "arrays"


def test_the_page_tells_all_of_it(evidence):
    page = render(evidence)
    section = page[page.index('<section id="routes"') : page.index('<section id="lineage"')]
    text = " ".join(re.sub("<[^>]+>", " ", section).split())
    for words in (
        "int8@cpu 96.8 99.7 0.40 0.48 2.5k 0.33 71 0.31 s fastest 3.00 times as fast as fp32@cpu",
        "int8@openvino – 98.0 – – – – – – refused 98.00% of 345 decisions agree &lt;too few&gt;",
        "torch eager 97.0 – 4.80",
        "not shipped 0.85 (0.76 to 0.93)",
        "2 cores of a CPU; onnxruntime 1.31.1, openvino 2026.4.1, torch 2.15.0",
        "12.0 times as fast as torch (10.8 to 13.2)",
        "median CPU time of a batch of 1 in ms",
        "the same model in torch",
    ):
        assert words in text, words
    assert section.count("<tr") > 20 + 5  # the numbers of every measurement too


def test_by_the_wall_where_threads_wait_for_each_other(evidence):
    rows = [{**row, "clock": "wall", "cpu_ms_per_image": 99.0} for row in evidence.benchmark["measurements"]]
    found = replace(evidence, benchmark={**evidence.benchmark, "measurements": rows})
    figure = routes.chart(found)[0]
    assert "median latency of a batch of 1 in ms" in figure.chart
    assert ("int8@cpu", "96.8", "95.3 to 97.8", "0.40") in figure.rows


def test_where_no_accuracy_is_known_nothing_is_drawn(evidence):
    assert routes.chart(replace(evidence, benchmark={**evidence.benchmark, "accuracy": {}})) is None
