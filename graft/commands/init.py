"""graft init: from a path to your images to parameters of a run on them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graft.console import console

if TYPE_CHECKING:
    from rich.console import Console

    from graft.initial.origins import Origin

Names = list[str] | None


def init(
    path: Annotated[
        str,
        typer.Argument(help="A folder, a table (.csv, .parquet), torchvision:NAME, hf:NAME, or with --import a URL."),
    ],
    source: Annotated[str | None, typer.Option(help="Labelled images of another kind, given in the same ways.")] = None,
    unlabelled: Annotated[str | None, typer.Option(help="More images of this kind, without labels.")] = None,
    layout: Annotated[
        str | None, typer.Option(help="What the folders' levels mean, such as class, split/class or domain/class.")
    ] = None,
    domain: Annotated[Names, typer.Option(help="The domain the model is for; may be repeated.")] = None,
    source_domain: Annotated[
        Names, typer.Option(help="Domains to transfer from; may be repeated. All others, if not given.")
    ] = None,
    test: Annotated[str | None, typer.Option(help="The folder, or value of the split column, that reports.")] = None,
    label: Annotated[
        str | None, typer.Option(help="Of a table: column of labels; for tasks several, with commas.")
    ] = None,
    path_column: Annotated[str | None, typer.Option(help="Of a table: column of paths.")] = None,
    split: Annotated[str | None, typer.Option(help="Of a table: column of parts, train, val or test.")] = None,
    group: Annotated[str | None, typer.Option(help="Of a table: column of what must share a part.")] = None,
    domain_column: Annotated[str | None, typer.Option(help="Of a table: column of domains.")] = None,
    attributes: Annotated[str | None, typer.Option(help="A CSV of what is known of each class.")] = None,
    backbone: Annotated[str | None, typer.Option(help="See `graft backbones`.")] = None,
    weights: Annotated[str | None, typer.Option(help="Their name, or a .pth, .pt or .safetensors file.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Have DVC keep the data: `dvc add`.")] = False,
    import_: Annotated[
        bool, typer.Option("--import", help="Have DVC copy the data below data/raw: `dvc import-url`.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
) -> None:
    """Point Graft at your own images: look at them, and write params.yaml."""
    from components.errors import ParamsError
    from graft.initial import origins, session
    from graft.initial.columns import Given
    from graft.initial.images import Wishes

    if track and import_:
        raise ParamsError("--track keeps the data where they are, --import copies them: give one of the two")
    out = console()
    labels = tuple(name.strip() for name in (label or "").split(",") if name.strip())
    wishes = Wishes(layout, test, tuple(domain or ()), Given(path_column, labels, split, group, domain_column))
    given = [("PATH", "target", path), ("--source", "source", source), ("--unlabelled", "unlabelled", unlabelled)]
    found = {
        role: origins.find(text, option, imported=import_ and role == "target", labels=labels)
        for option, role, text in given
        if text is not None
    }
    if track and not found["target"].inside:
        raise ParamsError(f"--track: {path} lies outside of the workspace; --import copies it below data/raw")
    _fetch(out, found, yes=yes, dry_run=dry_run)
    plan = session.examine(
        found,
        wishes,
        source_domains=tuple(source_domain or ()),
        attributes=Path(attributes) if attributes else None,
        backbone=backbone,
        weights=weights,
    )
    session.tell(out, plan)
    adding = [origin.path for origin in found.values() if track and origin.inside and origin.fetch is None]
    if not plan.changed and not adding:
        out.print("Nothing to do: params.yaml says so already.")
        return
    if dry_run:
        out.print("Nothing was written (--dry-run).")
        return
    _confirm("Write this?", yes)
    for folder in adding:
        origins.add(folder)
        out.print(f"DVC keeps {folder}: commit {folder}.dvc")
    plan.write()
    out.print("Written. Next: graft run")


def _fetch(out: Console, found: dict[str, Origin], *, yes: bool, dry_run: bool) -> None:
    """Brings here what has to be looked at and is not here yet; asked about first, for it may take long."""
    from components.errors import ParamsError

    absent = [origin for origin in found.values() if origin.absent]
    for origin in absent:
        if dry_run:
            raise ParamsError(f"{origin.text} is not below {origin.path.parent} yet, and --dry-run fetches nothing")
    for origin in absent:
        _confirm(f"Fetch {origin.text} into {origin.path}?", yes)
        assert origin.fetch is not None  # absent: to be fetched
        with out.status(f"Fetching {origin.text} into {origin.path}"):
            origin.fetch()
        out.print(f"Fetched {origin.text} into {origin.path}.")


def _confirm(question: str, yes: bool) -> None:
    """Raises ParamsError where nobody can answer, and ends the command on a no."""
    from components.errors import ParamsError

    if yes:
        return
    if not sys.stdin.isatty():
        raise ParamsError(
            f"{question} Nobody can be asked, for this is no terminal: add --yes, or --dry-run to look only"
        )
    if not typer.confirm(question, default=True):
        raise typer.Exit(1)
