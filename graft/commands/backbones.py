"""graft backbones: what there is to start from, and which of it suits the prepared images."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from components import paths
from components.errors import ParamsError, choices
from graft.console import console, grid

if TYPE_CHECKING:
    from components.backbones.local_weights import Weights

MOST_BUILT = 20
"""Models of timm's whose parameters are counted, by building them without weights: none says how many it has."""


def backbones(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to list: names or patterns such as 'resnet*' or 'timm:convnext*'. With --rank, what to rank: "
            "NAME or NAME=PATH of its weights, also with commas between.",
            show_default=False,
        ),
    ] = None,
    rank: Annotated[
        bool, typer.Option("--rank", help="Rank on data/prepared, without training; else all whose weights are here.")
    ] = False,
    images: Annotated[int, typer.Option(help="Training images to look at, at most, and as many of validation.")] = 2000,
    seconds: Annotated[float, typer.Option(help="Of timing for each backbone and size of batch.")] = 1.0,
    engine: Annotated[str, typer.Option(help="What computes: auto, onnxruntime or torch.")] = "auto",
) -> None:
    """List backbones and the weights on this machine, or rank them on your images."""
    if rank:
        _rank(names or [], images, seconds, engine)
    else:
        console().print(listing(names or []))


def _rank(names: Sequence[str], images: int, seconds: float, engine: str) -> None:
    from components.reporting import backbones_page
    from components.stages import ranking

    found = ranking.rank(ranking.parse(names), images=images, seconds=seconds, engine=engine)
    out = console()
    out.print(backbones_page.table(found))
    for sentence in backbones_page.verdict(found):
        out.print(f"- {sentence}", markup=False)
    for row in found["left_out"]:
        out.print(f"- Left out: {row['name']}: {row['reason']}", markup=False)
    out.print(backbones_page.conditions(found), markup=False)
    out.print(f"To take {found['backbones'][0]['label']}, write into params.yaml:", markup=False)
    out.print(backbones_page.advice(found), markup=False)
    out.print(f"Page: {paths.BACKBONES / 'index.html'}   Numbers: {paths.BACKBONES / 'backbones.json'}")


def listing(patterns: Sequence[str]) -> Table:
    """The backbones that fit one of the patterns, by default Graft's own and torchvision's."""
    from components.backbones import local_weights

    rows = grid("Backbones", "name", "parameters", "input", "weights", "here", folded=("weights", "here"))
    found = _matching(patterns)
    build_timm = sum(name.startswith("timm:") for name in found) <= MOST_BUILT
    for name in found:
        weights = local_weights.published(name)
        here = ", ".join(entry.name for entry in weights if entry.path is not None)
        rows.add_row(name, *_facts(name, weights, build_timm), ", ".join(w.name for w in weights) or "pretrain", here)
    return rows


def _matching(patterns: Sequence[str]) -> list[str]:
    from components.backbones.catalogue import BACKBONES, TIMM, TORCHVISION, candidates

    known = candidates() if any(pattern.startswith(TIMM) for pattern in patterns) else (*BACKBONES, *TORCHVISION)
    if not patterns:
        return list(known)
    found = [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not found:
        raise ParamsError(f"no backbone is called {patterns[0]!r}; {choices(patterns[0], known[:100])}")
    return found


def _facts(name: str, weights: Sequence[Weights], build_timm: bool) -> tuple[str, str]:
    """Parameters of the published model with its head (of Graft's own: without one), and the side of its input."""
    from components.backbones.build import stored_size
    from components.backbones.catalogue import BACKBONES
    from components.reporting.page import si

    if name in BACKBONES:
        return si(_own_parameters(name)), "any"
    parameters = weights[0].parameters if weights else None
    if parameters is None and build_timm:
        parameters = _timm_parameters(name)
    try:
        stored, size, _ = stored_size(name, weights[0].name if weights else "pretrain")
    except ParamsError:  # an image that is no square, or has a border
        needs = "not supported"
    else:
        needs = f"{size} of {stored}"
    return "–" if parameters is None else si(parameters), needs


def _own_parameters(name: str) -> int:
    from components.backbones.build import build, preprocess_of

    backbone = build(name, preprocess=preprocess_of(name, "pretrain", size=32, interpolation="bilinear"))
    return sum(parameter.numel() for parameter in backbone.parameters())


def _timm_parameters(name: str) -> int:
    import timm
    import torch

    with torch.device("meta"):  # shapes alone
        model = timm.create_model(name.removeprefix("timm:"))
    return sum(parameter.numel() for parameter in model.parameters())
