"""Charts as inline SVG: numbers -> Markup. Nothing here knows what the numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from components.reporting.axes import (
    COLOURS,
    Scale,
    frame,
    legend,
    margin_for,
    n,
    number,
    per_cent,
    scale,
    shortened,
    svg,
    text,
)

MARKED_UP_TO = 12
"""Points of a line: with more of them, marks would hide the line."""
NAME = 24
"""Characters of a name beside a bar; the rest of a longer one is in its title."""


def mark(x: float, y: float, kind: int, size: float = 3.5) -> str:
    """A shape around a point as SVG path data: a circle, square, triangle or diamond, so that no one needs colours."""
    r, kind = size, kind % 4
    if kind == 0:
        return f"M{n(x - r)} {n(y)}a{n(r)} {n(r)} 0 1 0 {n(2 * r)} 0a{n(r)} {n(r)} 0 1 0 {n(-2 * r)} 0z"
    if kind == 1:
        return f"M{n(x - r)} {n(y - r)}h{n(2 * r)}v{n(2 * r)}h{n(-2 * r)}z"
    r *= 1.25
    if kind == 2:
        return f"M{n(x)} {n(y - r)}l{n(r)} {n(1.75 * r)}h{n(-2 * r)}z"
    return f"M{n(x)} {n(y - r)}l{n(r)} {n(r)}l{n(-r)} {n(r)}l{n(-r)} {n(-r)}z"


def lines(
    series: Sequence[Mapping],
    *,
    x_label: str,
    y_label: str,
    title: str,
    description: str,
    log_x: bool = False,
    log_y: bool = False,
    percent: bool = False,
    x_percent: bool = False,
    x_whole: bool = False,
    diagonal: bool = False,
    width: float = 640,
    height: float = 340,
) -> Markup:
    """Lines over a common x.

    A series has `name`, `x` and `y` (rising x), `low` and `high` (a band around it, or None) and `emphasis`; it may
    have `colour` (0, 1, …), which it shares with others of its kind: only the first of a colour gets into the legend;
    and `weights`, which its marks show as areas.
    `percent`: y holds shares. `x_whole`: between whole numbers, x has no meaning. `diagonal` draws y = x.
    """
    colours = [entry.get("colour", index) for index, entry in enumerate(series)]
    swatches = {
        colour: (f'<path class="line c{colour % COLOURS + 1} strong" d="M-9 0H9"/>{_marks([(0, 0)], colour)}', name)
        for colour, name in reversed([(colour, entry["name"]) for colour, entry in zip(colours, series, strict=True)])
    }
    named = [swatches[colour] for colour in dict.fromkeys(colours)] if len(swatches) > 1 or diagonal else []
    keys, taken = legend(named, 8, 12, width) if named else ([], 0)
    ys = [value for entry in series for key in ("y", "low", "high") for value in entry.get(key) or ()]
    xs = [value for entry in series for value in entry["x"]]
    y_text = per_cent if percent else number
    top, bottom = taken + 28, height - 44
    y = scale(ys, bottom, top, log=log_y, bounds=(0, 1) if percent else None)
    left = 12 + max((len(y_text(tick)) for tick in y.ticks()), default=4) * 6.2
    x = scale(xs, left, width - 20, log=log_x, margin=0.02, bounds=(0, 1) if x_percent else None)
    x_text = per_cent if x_percent else _whole if x_whole else number
    body = [*keys, *frame(x, y, x_label=x_label, y_label=y_label, x_text=x_text, y_text=y_text)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        body.append(f'<path class="diagonal" d="M{n(x.at(low))} {n(y.at(low))}L{n(x.at(high))} {n(y.at(high))}"/>')
    order = sorted(zip(colours, series, strict=True), key=lambda pair: bool(pair[1]["emphasis"]))
    body += [_band(entry, x, y, colour) for colour, entry in order if entry.get("low") and entry.get("high")]
    body += [_line(entry, x, y, colour) for colour, entry in order]
    return svg(width, height, body, title=title, description=description, css="wide" if width > 400 else "")


def _whole(value: float) -> str:
    return number(value) if value == round(value) else ""


def _band(entry: Mapping, x: Scale, y: Scale, colour: int) -> str:
    there = [f"{n(x.at(a))} {n(y.at(b))}" for a, b in zip(entry["x"], entry["high"], strict=True)]
    back = [f"{n(x.at(a))} {n(y.at(b))}" for a, b in zip(entry["x"], entry["low"], strict=True)][::-1]
    return f'<path class="band c{colour % COLOURS + 1}" d="M{"L".join(there + back)}z"/>'


def _line(entry: Mapping, x: Scale, y: Scale, colour: int) -> str:
    positions = [(x.at(a), y.at(b)) for a, b in zip(entry["x"], entry["y"], strict=True)]
    strong = " strong" if entry["emphasis"] else ""
    path = "L".join(f"{n(a)} {n(b)}" for a, b in positions)
    marks = ""
    if weights := entry.get("weights"):
        sizes = [1.5 + 5 * (weight / max(weights)) ** 0.5 for weight in weights]
        marks = "".join(_marks([position], colour, size) for position, size in zip(positions, sizes, strict=True))
    elif len(positions) <= MARKED_UP_TO:
        marks = _marks(positions, colour, 3.5 if strong else 2.5)
    return f'<path class="line c{colour % COLOURS + 1}{strong}" d="M{path}"/>{marks}'


def _marks(positions: Sequence[tuple[float, float]], colour: int, size: float = 3.5) -> str:
    shapes = "".join(mark(a, b, colour, size) for a, b in positions)
    return f'<path class="mark c{colour % COLOURS + 1}" d="{shapes}"/>'


def interval(value: float, low: float, high: float, axis: tuple[float, float], *, zero: bool = False) -> Markup:
    """A value with its bounds, small enough for a cell of a table. It says nothing that the cell's text does not, so
    screen readers leave it out. `zero` draws a line at 0."""
    x = Scale(*axis, 4, 116)
    line = f'<path class="axis" d="M{n(x.at(0))} 1v14"/>' if zero else ""
    return Markup(
        f'<svg class="interval" viewBox="0 0 120 16" aria-hidden="true">{line}'
        f'<path class="line c1 strong" d="M{n(x.at(low))} 8H{n(max(x.at(high), x.at(low) + 0.5))}"/>'
        f'<circle class="mark c1" cx="{n(x.at(value))}" cy="8" r="3.5"/></svg>'
    )


def rates(
    rows: Sequence[Mapping],
    *,
    names: tuple[str, str],
    title: str,
    description: str,
) -> Markup:
    """Two rates of each row in percent: `first`, with its bounds `low` and `high` as a bar, and `second` as a mark.
    `names` are theirs; a row has a `name` too."""
    step, left = 21, margin_for((row["name"] for row in rows), NAME)
    width, height = 640, 40 + step * len(rows) + 44
    keys = [
        (f'<path class="line c1 strong" d="M-9 0H9"/>{_marks([(0, 0)], 0)}', f"{names[0]}, with its interval"),
        (_marks([(0, 0)], 3), names[1]),
    ]
    body, _ = legend(keys, 8, 12, width)
    x = scale([row[key] for row in rows for key in ("first", "second", "low", "high")], left, width - 24, bounds=(0, 1))
    body += _columns(x, 30, height - 40, per_cent)
    for index, row in enumerate(rows):
        y = 30 + step * index + step / 2
        body.append(_name(row["name"], left - 8, y + 4))
        body.append(f'<path class="line c1 strong" d="M{n(x.at(row["low"]))} {n(y)}H{n(x.at(row["high"]))}"/>')
        body.append(_marks([(x.at(row["first"]), y)], 0) + _marks([(x.at(row["second"]), y)], 3))
    return svg(width, height, body, title=title, description=description, css="wide")


def stacked(
    rows: Sequence[Mapping],
    parts: Sequence[str],
    *,
    x_label: str,
    title: str,
    description: str,
) -> Markup:
    """Bars of counts, one after the other: a row has a `name` and `counts`, one for each of `parts`. A part has its
    colour whether or not the others occur."""
    step, left = 19, margin_for((row["name"] for row in rows), NAME)
    keys = [
        (f'<path class="bar c{index + 1}" d="M-8-6h16v12h-16z"/>', part)
        for index, part in enumerate(parts)
        if any(row["counts"][index] for row in rows)
    ]
    width = 640
    body, taken = legend(keys, 8, 12, width)
    top = taken + 12
    height = top + step * len(rows) + 48
    x = Scale(0, max(1, max((sum(row["counts"]) for row in rows), default=1)), left, width - 30)
    body += _columns(x, top, height - 44, number)
    body.append(text((left + width) / 2, height - 8, x_label, anchor="middle", css="soft"))
    for index, row in enumerate(rows):
        y, reached = top + step * index + 2, 0
        body.append(_name(row["name"], left - 8, y + 12))
        for colour, count in enumerate(row["counts"]):
            if count:
                start, end = x.at(reached), x.at(reached + count)
                body.append(f'<path class="bar c{colour + 1}" d="M{n(start)} {n(y)}H{n(end)}v{step - 5}H{n(start)}z"/>')
                reached += count
    return svg(width, height, body, title=title, description=description, css="wide")


def _columns(x: Scale, top: float, bottom: float, shown) -> list[str]:
    parts = []
    for tick in x.ticks():
        parts.append(f'<path class="rule" d="M{n(x.at(tick))} {n(top)}V{n(bottom)}"/>')
        parts.append(text(x.at(tick), bottom + 15, shown(tick), anchor="middle", css="soft"))
    return parts


def _name(name: str, x: float, y: float) -> str:
    short = shortened(name, NAME)
    if short == name:
        return text(x, y, name, anchor="end")
    return f"<g><title>{escape(name)}</title>{text(x, y, short, anchor='end')}</g>"


def squares(
    names: Sequence[str], cells: Mapping[tuple[int, int], tuple[str, str]], *, title: str, description: str
) -> Markup:
    """A square for each pair of names: (row, column) -> style class and title. Pairs without an entry stay empty."""
    step = 18
    left = margin_for(names, NAME)
    top = left * 0.78 + 6
    width, height = left + step * len(names) + 0.6 * left, top + step * len(names) + 6
    body = []
    for index, name in enumerate(names):
        at = index * step + step / 2
        body.append(_name(name, left - 8, top + at + 4))
        x = left + at + 4
        body.append(
            f'<text transform="translate({n(x)} {n(top - 6)}) rotate(-52)">{escape(shortened(name, NAME))}</text>'
        )
    for (row, column), (css, words) in cells.items():
        x, y = left + column * step + 1, top + row * step + 1
        path = f"M{n(x)} {n(y)}h{step - 2}v{step - 2}h{2 - step}z"
        body.append(f'<path class="{css}" d="{path}"><title>{escape(words)}</title></path>')
    return svg(width, height, body, title=title, description=description, css="squares")
