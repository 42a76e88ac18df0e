"""Where somebody's images come from: a folder, a table, a data set by name, or somewhere else altogether. All but the
first two are written below data/raw before they are looked at."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components import paths
from components.data.listing.tables import PARQUET
from components.errors import DataError, MachineError, ParamsError, choices

TABLES = frozenset({".csv", *PARQUET})
NAMED = ("torchvision", "hf")
_REMOTE = re.compile(r"^(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """`text`: as it was given; `name`: of the data, for people and files; `path`: where it is, or will be."""

    text: str
    name: str
    path: Path
    fetch: Callable[[], None] | None = None

    @property
    def table(self) -> bool:
        return self.path.suffix.lower() in TABLES

    @property
    def inside(self) -> bool:
        """Whether it lies in the workspace, itself and not by a link alone."""
        return self.path.resolve().is_relative_to(Path.cwd())

    @property
    def absent(self) -> bool:
        """Whether it has to be fetched before it can be looked at."""
        return self.fetch is not None and not self.path.exists()


def find(text: str, option: str, *, imported: bool, labels: tuple[str, ...] = ()) -> Origin:
    """What a path on the command line means; `imported`: a copy below data/raw is wanted, with its origin remembered.
    Raises DataError for a path that is not there."""
    kind, _, rest = text.partition(":")
    if kind in NAMED and rest and not _REMOTE.match(text):
        return _named(kind, rest, text, labels)
    if _REMOTE.match(text) and not imported:
        raise ParamsError(f"{option} {text} is not on this machine: add --import to copy it below {paths.RAW} with DVC")
    if imported:
        name = slug(Path(text.partition("?")[0].rstrip("/")).name)
        if not name:
            raise ParamsError(f"{option} {text} has no name at its end that could become a folder below {paths.RAW}")
        if not _REMOTE.match(text):
            _require(Path(text), option)
        place = paths.RAW / name
        return Origin(text, Path(name).stem, place, lambda: import_url(text, place))
    path = Path(text)
    _require(path, option)
    if path.is_file() and path.suffix.lower() not in TABLES:
        raise DataError(
            f"{option} {text} is a file, but no table: give a folder, or a file ending in {' '.join(sorted(TABLES))}"
        )
    return Origin(text, path.resolve().stem, path)


def _require(path: Path, option: str) -> None:
    if path.exists():
        return
    near = path.parent
    if not near.is_dir():
        raise DataError(f"{option} {path}: there is no such file or folder, nor a folder {near}")
    beside = sorted(entry.name for entry in near.iterdir() if not entry.name.startswith("."))
    raise DataError(f"{option} {path}: there is no such file or folder; {choices(path.name, beside)}")


def _named(kind: str, rest: str, text: str, labels: tuple[str, ...]) -> Origin:
    if kind == "torchvision":
        from components.data.datasets import torchvision_sets

        name, _, arguments = rest.partition("?")
        options = dict(pair.partition("=")[::2] for pair in arguments.split("&") if pair)
        torchvision_sets.find(name)
        place = paths.RAW / slug("-".join([name.lower(), *options.values()]))
        return Origin(text, place.name, place, lambda: torchvision_sets.materialise(name, place, options))
    from components.data.datasets import huggingface_sets

    name, _, configuration = rest.partition("?")
    place = paths.RAW / slug("-".join(filter(None, [Path(name).name, configuration, *labels])))
    return Origin(
        text,
        place.name,
        place / huggingface_sets.TABLE if len(labels) > 1 else place,
        lambda: huggingface_sets.materialise(name, place, configuration=configuration or None, labels=labels),
    )


def slug(name: str) -> str:
    """A name as files and registries take it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.").lower()


def _dvc() -> str:
    import sys

    beside = Path(sys.executable).with_name("dvc")
    found = str(beside) if beside.exists() else shutil.which("dvc")
    if found is None:
        raise MachineError("there is no `dvc` on this machine: install graft[pipeline]")
    return found


def import_url(text: str, place: Path) -> None:
    """`dvc import-url`: a copy below data/raw, and a .dvc file that knows where it came from (`dvc update` looks
    again)."""
    place.parent.mkdir(parents=True, exist_ok=True)
    source = text if _REMOTE.match(text) else str(Path(text).resolve())
    run_dvc("import-url", source, place.as_posix())


def add(path: Path) -> None:
    """`dvc add`: the data's digest in a .dvc file for git, the data in DVC's cache."""
    run_dvc("add", path.as_posix())


def run_dvc(*arguments: str) -> None:
    """Raises DataError with DVC's own words."""
    import os
    import subprocess

    done = subprocess.run(
        [_dvc(), *arguments], capture_output=True, text=True, check=False, env={**os.environ, "DVC_NO_ANALYTICS": "1"}
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines()]
        said = " ".join(line for line in lines if line and not line.startswith("Having any troubles"))
        raise DataError(f"dvc {' '.join(arguments)} failed: {said.removeprefix('ERROR: ')}")
