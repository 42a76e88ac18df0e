"""What charts are made of: scales, ticks, frames and the SVG around them.

Lengths are in the SVG's own units, which are pixels where it is shown at full size. Colours are classes (`c1` to `c8`),
which the style sheet defines for light and for dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

COLOURS = 8
CHARACTER = 6.6
"""Width of a character of the charts' text, on the safe side of the mean."""


@dataclass(frozen=True)
class Scale:
    """A range of values laid over a range of positions. `low` < `high`; both above zero where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The position of a value; one outside the range lies on its border."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        share = (value - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the range, some `about` of them."""
        found = _log_ticks(self.low, self.high, about) if self.log else []
        return found if len(found) >= 3 else _linear_ticks(self.low, self.high, about)


def scale(
    values: Iterable[float],
    start: float,
    end: float,
    *,
    log: bool = False,
    bounds: tuple[float, float] | None = None,
    margin: float = 0.05,
) -> Scale:
    """The scale that holds all values with a little room around them, but nothing beyond `bounds`."""
    held = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = (min(held), max(held)) if held else (1.0, 1.0)
    if log:
        room = max((high / low) ** margin, 1.05)
        return Scale(low / room, high * room, start, end, log=True)
    room = margin * (high - low) or 0.1 * abs(high) or 0.5
    low, high = low - room, high + room
    if bounds is not None:
        low, high = max(bounds[0], low), min(bounds[1], high)
    return Scale(low, high, start, end)


def _linear_ticks(low: float, high: float, about: int) -> list[float]:
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float, about: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(inside) >= min(about, 4):
            break
    return inside[:: math.ceil(len(inside) / (2 * about))] if inside else []


def number(value: float) -> str:
    """A tick's text: as short as the value allows."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.10g}".replace(",", "\u202f") if abs(value) >= 10_000 else f"{value:.6g}"


def per_cent(value: float) -> str:
    return f"{100 * value:.4g} %"


def n(position: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{position:.1f}".removesuffix(".0")


def shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def text(x: float, y: float, content: str, *, anchor: str = "start", css: str = "") -> str:
    css = f' class="{css}"' if css else ""
    anchor = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{n(x)}" y="{n(y)}"{anchor}{css}>{escape(content)}</text>'


def svg(width: float, height: float, body: Iterable[str], *, title: str, description: str, css: str = "") -> Markup:
    """A picture with its alternative text: what it is, and what is to be seen in it."""
    label = escape(f"{title}. {description}".strip())
    return Markup(
        f'<svg class="chart {css}" viewBox="0 0 {n(width)} {n(height)}" style="--full:{n(width)}px" '
        f'role="img" aria-label="{label}">{"".join(body)}</svg>'
    )


def frame(
    x: Scale,
    y: Scale,
    *,
    x_label: str,
    y_label: str,
    x_text: Callable[[float], str] = number,
    y_text: Callable[[float], str] = number,
    ticks: int = 5,
) -> list[str]:
    """Grid lines, ticks and the axes' names. `y` runs upwards: its start lies below its end."""
    left, right, bottom, top = x.start, x.end, y.start, y.end
    parts = [text(left - 6 if left > 30 else left, top - 10, y_label, css="soft")]
    for tick in y.ticks(ticks):
        position = y.at(tick)
        parts.append(f'<path class="rule" d="M{n(left)} {n(position)}H{n(right)}"/>')
        parts.append(text(left - 6, position + 4, y_text(tick), anchor="end", css="soft"))
    reached = -math.inf
    for tick in x.ticks(ticks):
        position, shown = x.at(tick), x_text(tick)
        half = len(shown) * CHARACTER / 2
        if position - half < reached:
            continue
        reached = position + half + 6
        parts.append(f'<path class="axis" d="M{n(position)} {n(bottom)}v4"/>')
        parts.append(text(position, bottom + 17, shown, anchor="middle", css="soft"))
    parts.append(f'<path class="axis" d="M{n(left)} {n(bottom)}H{n(right)}"/>')
    parts.append(text((left + right) / 2, bottom + 34, x_label, anchor="middle", css="soft"))
    return parts


def legend(names: Sequence[tuple[str, str]], left: float, top: float, right: float) -> tuple[list[str], float]:
    """Swatches with names, in as many lines as they need; also returns their height. `names`: the swatch's SVG, drawn
    around (0, 0) and 18 wide, and the text."""
    parts, x, y = [], left, top
    for swatch, name in names:
        name = shortened(name, 40)
        width = 26 + len(name) * CHARACTER + 14
        if x + width > right and x > left:
            x, y = left, y + 18
        parts.append(f'<g transform="translate({n(x + 9)} {n(y)})">{swatch}</g>{text(x + 24, y + 4, name)}')
        x += width
    return parts, y - top + 18


def margin_for(names: Iterable[str], limit: int) -> float:
    """Room for names at the left of a chart, none longer than `limit` characters."""
    return 14 + CHARACTER * min(limit, max(map(len, names), default=0))
