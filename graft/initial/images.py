"""One domain's images as params.yaml describes them, found out by looking at them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from components.data.listing import Listing, listing
from components.errors import DataError, ParamsError, choices
from components.params import ColumnsParams, ImagesParams
from graft.initial import columns as tables
from graft.initial import layouts
from graft.initial.origins import Origin
from graft.initial.starting import as_written


@dataclass(frozen=True)
class Found:
    """`options`: for params.yaml; `listing`: what they lead to; `domains`: all there are; `notes`: what was decided."""

    options: ImagesParams
    listing: Listing
    domains: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Wishes:
    """What the command line says of the target's images; a source in the same place shares all but the domains."""

    layout: str | None = None
    test: str | None = None
    domains: tuple[str, ...] = ()
    given: tables.Given = field(default_factory=tables.Given)


def look(origin: Origin, key: str, wishes: Wishes, *, labelled: bool = True) -> Found:
    """Finds out how the images lie there and lists them. Raises DataError, or ParamsError where several domains were
    found and none named."""
    read = _of_table if origin.table else _of_folder
    options, domains, notes = read(origin.path, key, wishes, labelled)
    return Found(options, listing(options, key, labelled=labelled), domains, notes)


def _of_folder(
    path: Path, key: str, wishes: Wishes, labelled: bool
) -> tuple[ImagesParams, tuple[str, ...], tuple[str, ...]]:
    folder = as_written(path)
    if not labelled:
        return ImagesParams(folder=folder, layout=None), (), ()
    found = layouts.discover(path, layout=wishes.layout, test=wishes.test)
    if "domain" in found.levels:
        _require_domain(path, key, found, wishes)
    elif wishes.domains:
        raise ParamsError(
            f"--domain {wishes.domains[0]}: {path} was taken for {'/'.join(found.levels)}, which has no domains; "
            "--layout domain/class says otherwise"
        )
    options = ImagesParams(
        folder=folder, layout="/".join(found.levels), splits=found.parts, domain=_one_or_all(wishes.domains)
    )
    return options, found.domains, found.notes


def _of_table(
    path: Path, key: str, wishes: Wishes, labelled: bool
) -> tuple[ImagesParams, tuple[str, ...], tuple[str, ...]]:
    if wishes.layout is not None:
        raise ParamsError(f"--layout {wishes.layout} is of folders, but {path} is a table")
    found = tables.find(path, key, wishes.given, test=wishes.test, labelled=labelled)
    for name in wishes.domains:
        if name not in found.domains:
            hint = choices(name, found.domains) if found.domains else "say which column it stands in: --domain-column"
            raise DataError(f"{path} has no domain {name!r}; {hint}")
    options = ImagesParams(
        manifest=as_written(path),
        folder=as_written(found.folder) if found.folder else None,
        splits=found.parts,
        domain=_one_or_all(wishes.domains),
        columns=found.columns,
    )
    return options, found.domains, found.notes


def _require_domain(path: Path, key: str, found: layouts.Layout, wishes: Wishes) -> None:
    """Of a target, which domain is meant cannot be guessed, nor whether what looks like domains are the classes after
    all. Of a source, all are meant, and its classes are known from the target."""
    for name in wishes.domains:
        if name not in found.domains:
            raise DataError(f"{path} has no domain {name!r}; {choices(name, found.domains)}")
    if key == "data.target" and not wishes.domains and wishes.layout is None:
        few = f"{', '.join(found.classes[:6])}{' …' if len(found.classes) > 6 else ''}"
        raise ParamsError(
            f"{path} holds the folders {', '.join(found.domains)}, and in several of them the folders {few}. If the "
            f"first are domains, say which one the model is for: --domain {found.domains[0]}; if they are the classes: "
            "--layout class"
        )


def source_domains(found: Found, named: tuple[str, ...]) -> Found | None:
    """The other domains of the target's own place, as a source; None where it has none."""
    own = found.options.domains or ()
    others = tuple(name for name in found.domains if name not in own)
    for name in named:
        if name not in found.domains:
            raise DataError(f"--source-domain: there is no domain {name!r}; {choices(name, found.domains)}")
        if name in own:
            raise ParamsError(f"--source-domain {name} is the target's own domain; {choices(name, others)}")
    if not own or not others:
        return None
    options = replace(found.options, domain=_one_or_all(named or others))
    return Found(options, listing(options, "data.source"), found.domains, ())


def _one_or_all(domains: tuple[str, ...]) -> str | tuple[str, ...] | None:
    return domains[0] if len(domains) == 1 else domains or None


def written(options: ImagesParams) -> dict[str, Any]:
    """The keys of params.yaml that are not the defaults."""
    defaults = ImagesParams(folder="")
    found: dict[str, Any] = {}
    for key in ("dataset", "folder", "manifest", "layout", "splits", "domain", "metadata", "per_class"):
        value = getattr(options, key)
        if value != (None if key == "folder" else getattr(defaults, key)) or (
            key == "layout" and options.manifest is None
        ):
            found[key] = list(value) if isinstance(value, tuple) else value
    named = {
        key: list(value) if isinstance(value, tuple) else value
        for key in ("path", "label", "tasks", "split", "group", "domain")
        if (value := getattr(options.columns, key)) != getattr(ColumnsParams(), key)
    }
    return found | ({"columns": named} if named else {})
