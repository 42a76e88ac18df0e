"""Histograms as inline SVG: shares of several samples, side by side in every bin."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from components.reporting.axes import Scale, frame, legend, n, number, per_cent, scale, svg


def shares(
    edges: Sequence[float],
    samples: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    title: str,
    description: str,
) -> Markup:
    """`edges`: of the bins, rising, one more than there are bins; `samples`: name -> the share in each bin."""
    width, height = 640.0, 300.0
    keys = [(f'<path class="bar c{colour}" d="M-8-6h16v12h-16z"/>', name) for colour, name in enumerate(samples, 1)]
    body, taken = legend(keys, 8, 12, width)
    top, bottom = taken + 28, height - 44
    y = scale([0, *(share for sample in samples.values() for share in sample)], bottom, top, bounds=(0, 1))
    left = 12 + max(len(per_cent(tick)) for tick in y.ticks()) * 6.2
    x = Scale(edges[0], edges[-1], left, width - 20)
    body += frame(x, y, x_label=x_label, y_label=y_label, x_text=number, y_text=per_cent)
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        start, end = x.at(low) + 2, x.at(high) - 2
        bar = (end - start) / len(samples)
        for index, sample in enumerate(samples.values()):
            if sample[place]:
                path = f"M{n(start + index * bar)} {n(bottom)}V{n(y.at(sample[place]))}h{n(bar)}V{n(bottom)}z"
                body.append(f'<path class="bar c{index + 1}" d="{path}"/>')
    return svg(width, height, body, title=title, description=description, css="wide")
