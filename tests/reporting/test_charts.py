"""Positions, ticks, fronts and labels against numbers worked out by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from components.reporting import axes, charts, page, scatter


def test_a_scale_puts_values_where_a_ruler_would():
    linear = axes.Scale(10, 20, 100, 300)
    assert [linear.at(value) for value in (10, 15, 20, 99)] == [100, 200, 300, 300]
    log = axes.Scale(0.1, 1000, 0, 400, log=True)
    assert [log.at(value) for value in (0.1, 1, 10, 1000)] == pytest.approx([0, 100, 200, 400])
    assert log.at(-1) == 0


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.84, 0.97, False, [0.85, 0.9, 0.95]),
        (3, 152, False, [50, 100, 150]),
        (0.5, 20_000, True, [1, 10, 100, 1000, 10_000]),
        (0.8, 12, True, [1, 3, 10]),
    ],
)
def test_ticks_are_round(low, high, log, ticks):
    found = axes.Scale(low, high, 0, 1, log=log).ticks()
    if ticks == [1, 3, 10]:
        assert set(ticks[::2]) <= set(found) and 3 <= len(found) <= 10
    else:
        assert found == pytest.approx(ticks)


def test_a_scale_of_one_value_has_a_length():
    for value in (0.0, 1.0, 0.3):
        found = axes.scale([value], 0, 100, bounds=(0, 1))
        assert found.low < found.high and found.low <= value <= found.high
        assert len(found.ticks()) >= 2
    assert axes.scale([5.0], 0, 100, log=True).low < 5


def test_numbers_read_well():
    assert [axes.number(value) for value in (0, 0.2, 1500, 2e6, 1e-5)] == ["0", "0.2", "1500", "2e6", "1e-5"]
    assert [page.points(value) for value in (0.0194, -0.031, -0.00001)] == ["+1.9", "−3.1", "0.0"]
    assert [page.seconds(value) for value in (1.25, 99.6, 600, 9000)] == ["1.2 s", "100 s", "10 min", "2.5 h"]
    assert [page.milliseconds(value) for value in (0.453, 1.9, 9.996, 99.96)] == ["0.45", "1.90", "10.0", "100"]
    assert page.p_value(0.0001) == "< 0.001" and page.p_value(0.0412) == "0.041"


def test_the_front_holds_what_nothing_beats():
    points = [{"x": x, "y": y} for x, y in [(1, 0.5), (2, 0.9), (2, 0.8), (3, 0.9), (4, 0.95), (1, 0.5), (0.5, 0.2)]]
    # (3, 0.9) is slower than (2, 0.9) and no better; the twins at (1, 0.5) do not beat each other.
    assert [points[index] for index in scatter.pareto_front(points)] == [
        {"x": 0.5, "y": 0.2}, {"x": 1, "y": 0.5}, {"x": 1, "y": 0.5}, {"x": 2, "y": 0.9}, {"x": 4, "y": 0.95},
    ]  # fmt: skip


def test_labels_lie_on_nothing():
    rng = np.random.default_rng(0)
    positions = [(float(x), float(y)) for x, y in rng.uniform([50, 40], [850, 420], (31, 2))]
    names = [f"strategy_{index:02d}" for index in range(31)]
    placed = scatter.place_labels(names, positions, (0, 0, 900, 480))
    boxes = [
        (left, base - 10, left + len(name) * axes.CHARACTER, base + 3)
        for name, place in zip(names, placed, strict=True)
        if place is not None
        for left, base in [place]
    ]
    assert len(boxes) == 31  # there is room for all
    for index, box in enumerate(boxes):
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= 900 and box[3] <= 480
        for other in boxes[:index]:
            assert box[0] >= other[2] or other[0] >= box[2] or box[1] >= other[3] or other[1] >= box[3]
        for x, y in positions:
            assert not (box[0] < x < box[2] and box[1] < y < box[3])


def test_where_there_is_no_room_there_is_no_label():
    assert scatter.place_labels(["a" * 40], [(50, 50)], (0, 0, 100, 100)) == [None]


def test_a_line_goes_through_its_points():
    series = [{"name": "a", "x": [0, 10], "y": [0.0, 1.0], "low": [0.0, 0.5], "high": [0.5, 1.0], "emphasis": True}]
    drawn = charts.lines(series, x_label="x", y_label="y", title="T", description="It rises.", percent=True)
    assert 'aria-label="T. It rises."' in drawn
    line = re.search(r'class="line c1 strong" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', drawn)
    band = re.search(r'class="band c1" d="M([\d.L ]+)z"', drawn)
    assert line and band
    x1, y1, x2, y2 = map(float, line.groups())
    assert x1 < x2 and y1 > y2  # up is less in SVG
    corners = [tuple(map(float, corner.split())) for corner in band[1].split("L")]
    assert corners == [(x1, (y1 + y2) / 2), (x2, y2), (x2, (y1 + y2) / 2), (x1, y1)]


def test_seeds_of_one_term_share_a_colour_and_a_place_in_the_legend():
    series = [
        {"name": "mmd", "x": [1, 2], "y": [1, 2], "emphasis": seed == 0, "colour": 3, "low": None, "high": None}
        for seed in (0, 1)
    ]
    other = {**series[0], "name": "coral", "colour": 0}
    drawn = charts.lines([*series, other], x_label="", y_label="", title="T", description="")
    assert drawn.count(">mmd<") == 1
    assert drawn.count("line c4 strong") == 2  # the line and its swatch
    assert drawn.count('line c4"') == 1


def test_bars_are_as_long_as_their_counts():
    drawn = charts.stacked(
        [{"name": "cat", "counts": [30, 0, 10, 0]}, {"name": "dog", "counts": [20, 5, 0, 0]}],
        ["train", "val", "test", "nothing"], x_label="images", title="T", description="D",
    )  # fmt: skip
    bars = re.findall(r'class="bar c(\d)" d="M([\d.]+) ([\d.]+)H([\d.]+)', drawn)
    lengths = {(css, y): float(end) - float(start) for css, start, y, end in bars}
    assert len(bars) == 4  # a count of nothing has no bar
    assert "nothing" not in drawn
    longest = max(lengths.values())
    assert sorted(round(30 * length / longest) for length in lengths.values()) == [5, 10, 20, 30]


def test_an_interval_lies_on_its_axis():
    drawn = charts.interval(0.5, 0.25, 1.0, (0.0, 1.0))
    start, end = map(float, re.findall(r'strong" d="M([\d.]+) 8H([\d.]+)"', drawn)[0])
    assert (start, end) == (4 + 112 / 4, 116)
    assert 'cx="60"' in drawn
