"""Charts of points: what a lead in accuracy costs in time, and features drawn in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape

from components.reporting.axes import CHARACTER, frame, legend, n, number, per_cent, scale, svg, text
from components.reporting.charts import mark

Box = tuple[float, float, float, float]  # left, top, right, bottom


def pareto_front(points: Sequence[Mapping]) -> list[int]:
    """Indices of the points that no other beats in both: lower or equal x and higher or equal y, one of them strictly.
    Ordered by x."""
    order = sorted(range(len(points)), key=lambda index: (points[index]["x"], -points[index]["y"]))
    front: list[int] = []
    for index in order:
        if not front or points[index]["y"] > points[front[-1]]["y"]:
            front.append(index)
        elif all(points[index][key] == points[front[-1]][key] for key in "xy"):
            front.append(index)  # equal in both: neither beats the other
    return front


def place_labels(
    names: Sequence[str], positions: Sequence[tuple[float, float]], bounds: Box, blocked: Sequence[Box] = ()
) -> list[tuple[float, float] | None]:
    """Where each name may stand so that it lies on no point, no other name and nothing `blocked`: the left end of its
    base line, or None where there is no room. Names are placed in the given order, each as near to its point as can be.
    """
    taken: list[Box] = [*blocked, *((x - 5, y - 5, x + 5, y + 5) for x, y in positions)]
    placed: list[tuple[float, float] | None] = []
    for name, (x, y) in zip(names, positions, strict=True):
        width = len(name) * CHARACTER
        for left, base in _places(x, y, width):
            box = (left - 1, base - 10, left + width + 1, base + 3)
            inside = box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                placed.append((left, base))
                break
        else:
            placed.append(None)
    return placed


def _places(x: float, y: float, width: float) -> list[tuple[float, float]]:
    """Candidates around a point, the best first: beside it, above and below, then ever farther away."""
    near = [(x + 11, y + 4), (x - 11 - width, y + 4), (x - width / 2, y - 9), (x - width / 2, y + 17)]
    for distance in (12, 20, 30, 42, 56, 72, 90):
        for side in (x + 9, x - 9 - width):
            near += [(side, y + 4 - distance), (side, y + 4 + distance)]
        near += [(x - width / 2, y + 4 - distance), (x - width / 2, y + 4 + distance)]
        near += [(x + distance, y + 4), (x - distance - width, y + 4)]
    return near


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def tradeoff(
    points: Sequence[Mapping],
    *,
    x_label: str,
    y_label: str,
    title: str,
    description: str,
    chosen: str = "chosen",
    other: str,
) -> tuple[Markup, list[str]]:
    """Shares over positive costs (logarithmic) with the Pareto front; also returns the names for which was no room.

    A point has `name`, `x`, `y`, `low` and `high` (bounds of y), `chosen`, and `other` (True where it was measured in
    another way, so that it is no part of the front). `chosen` and `other` are these kinds' names in the legend.
    """
    width, height = 900, 480
    mine = [index for index, point in enumerate(points) if not point["other"]]
    front = [mine[index] for index in pareto_front([points[index] for index in mine])]
    outer = [index for index, point in enumerate(points) if index in front or point["chosen"] or point["other"]]
    x = scale([point["x"] for point in points], 62, width - 20, log=True, margin=0.06)
    heights = [point["y"] for point in points] + [points[index][key] for index in outer for key in ("low", "high")]
    y = scale(heights, height - 46, 46, bounds=(0, 1))
    keys = [
        (f'<path class="mark c1" d="{mark(0, 0, 0, 4.5)}"/>', "on the front"),
        (f'<path class="mark pale" d="{mark(0, 0, 0)}"/>', "off the front"),
        (f'<path class="ring" d="{mark(0, 0, 0, 7)}"/>', chosen),
    ]
    if any(point["other"] for point in points):
        keys.append((f'<path class="mark c2" d="{mark(0, 0, 3, 4.5)}"/>', other))
    body, _ = legend(keys, 8, 12, width)
    body += frame(x, y, x_label=x_label, y_label=y_label, x_text=number, y_text=per_cent)
    positions = [(x.at(point["x"]), y.at(point["y"])) for point in points]
    corners = _stairs([positions[index] for index in front], x.end)
    body.append(f'<path class="front" d="M{"L".join(f"{n(a)} {n(b)}" for a, b in corners)}"/>')
    for index in outer:
        low, high, across = y.at(points[index]["low"]), y.at(points[index]["high"]), positions[index][0]
        body.append(
            f'<path class="whisker {"c2" if points[index]["other"] else "c1"}" d="M{n(across)} {n(low)}V{n(high)}"/>'
        )
    order = sorted(range(len(points)), key=lambda index: (not points[index]["chosen"], index not in outer, index))
    names = [points[index]["name"] for index in order]
    places = place_labels(
        names,
        [positions[index] for index in order],
        bounds=(x.start, y.end, x.end + 14, y.start - 2),
        blocked=[(a - 1, min(b, d) - 1, c + 1, max(b, d) + 1) for (a, b), (c, d) in pairwise(corners)],
    )
    missing = []
    for index, place in zip(order, places, strict=True):
        point, (across, up) = points[index], positions[index]
        css, kind, size = (
            ("mark c2", 3, 4.5) if point["other"] else ("mark c1", 0, 4.5) if index in front else ("mark pale", 0, 3.5)
        )
        shown = f"{point['name']}: {per_cent(point['y'])} at {point['x']:.3g} ms"
        if point["chosen"]:
            body.append(f'<path class="ring" d="{mark(across, up, 0, 8)}"/>')
        body.append(f'<path class="{css}" d="{mark(across, up, kind, size)}"><title>{escape(shown)}</title></path>')
        if place is None:
            missing.append(point["name"])
            continue
        body.append(_leader(across, up, place, len(point["name"]) * CHARACTER))
        body.append(text(*place, point["name"], css="strong" if index in front or point["chosen"] else "soft"))
    return svg(width, height, body, title=title, description=description, css="wide"), missing


def _stairs(points: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """The corners of the front: along to the next point's time, then up to its accuracy."""
    corners = [points[0]]
    for across, up in points[1:]:
        corners += [(across, corners[-1][1]), (across, up)]
    return [*corners, (end, corners[-1][1])]


def _leader(x: float, y: float, place: tuple[float, float], width: float) -> str:
    """A thin line from a point to its name, where the two lie apart."""
    left, base = place
    nearest = min(max(x, left), left + width), min(max(y, base - 8), base + 1)
    if np.hypot(nearest[0] - x, nearest[1] - y) < 14:
        return ""
    return f'<path class="leader" d="M{n(x)} {n(y)}L{n(nearest[0])} {n(nearest[1])}"/>'


def plane(points: np.ndarray, groups: np.ndarray, names: Sequence[str], *, title: str, description: str) -> Markup:
    """Points [N, 2] without axes, since their coordinates mean nothing; `groups` [N] indexes `names`. Groups differ in
    shape and in colour: dots and crosses."""
    width, height, top = 340, 330, 30
    low, high = points.min(0), points.max(0)
    spread = np.where(high > low, high - low, 1.0)
    shown = (points - low) / spread * [width - 24, height - top - 24] + [12, top + 12]
    present = [index for index in range(len(names)) if np.any(groups == index)]
    swatch = {0: '<path class="dots c1" d="M0 0h0"/>', 1: '<path class="crosses c2" d="M-3-3l6 6m0-6l-6 6"/>'}
    body, _ = legend([(swatch[index], names[index]) for index in present], 8, 12, width)
    body.append(f'<path class="box" d="M.5 {top}h{width - 1}v{height - top - 1}h{1 - width}z"/>')
    for index in sorted(present, reverse=True):  # the target lies above the source
        own = shown[groups == index]
        if index == 0:
            body.append(f'<path class="dots c1" d="{"".join(f"M{n(a)} {n(b)}h0" for a, b in own)}"/>')
        else:
            crosses = "".join(f"M{n(a - 2.5)} {n(b - 2.5)}l5 5m0-5l-5 5" for a, b in own)
            body.append(f'<path class="crosses c2" d="{crosses}"/>')
    return svg(width, height, body, title=title, description=description)
