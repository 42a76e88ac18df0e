"""Pages for people: one HTML file each that needs nothing else, neither the network nor another file."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup, escape

ROOM = "components.reporting"


@dataclass(frozen=True)
class Figure:
    """A chart that never stands alone: what it is, what is to be seen in it, and its numbers as a table of texts."""

    chart: Markup
    title: str
    finding: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def render(template_name: str, **context: object) -> str:
    """The text of a page. Names are escaped, and a name that the context lacks is an error, not a gap in the page."""
    return _environment().get_template(template_name).render(verbatim=_verbatim, **context)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {function.__name__: function for function in (percent, points, si, seconds, milliseconds, p_value)}
    )
    environment.filters.update(plain=_plain, breakable=_breakable)
    return environment


def _text(name: str) -> str:
    return resources.files(ROOM).joinpath("templates", name).read_text(encoding="utf-8")


def _verbatim(name: str) -> Markup:
    """The style sheet and the script: ours and not data, so not escaped."""
    return Markup(_text(name))


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _breakable(name: str) -> Markup:
    """A long name may go on in the next line after an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def percent(share: float, digits: int = 1) -> str:
    """0.984 -> "98.4"; the unit stands in the heading or behind it."""
    return f"{100 * share:.{digits}f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign: 0.019 -> "+1.9"."""
    shown = f"{100 * difference:+.1f}"
    return "0.0" if float(shown) == 0 else shown.replace("-", "−")


def si(value: float) -> str:
    """308650 -> "308.7k"."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f}{letter}"
    return f"{value:.0f}"


def seconds(value: float) -> str:
    """Seconds up to two minutes, minutes up to two hours, then hours."""
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 119.5:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7170 else f"{value / 3600:.1f} h"


def milliseconds(value: float) -> str:
    """Three digits, and no more than two behind the point; the unit stands in the heading or behind it."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def p_value(p: float) -> str:
    """As papers print it: three decimals, and no p is zero."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
