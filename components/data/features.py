"""Features of the pretrained backbone, computed once for each image: what is learned and answered from wherever the
backbone stays as it is.

    data/features/features.npy    float32 [M, D], a row for each image and view; memory-mapped when read
    data/features/features.json   what they were computed by, and which row is whose

A row belongs to an image's content and not to its place in the manifest: whoever has the same image finds it, however
the data is laid out, and a row that is there already is taken over when others join it. View 0 of an image is the image
as it is; further views, of labelled training images alone, are changed at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import jsonfile, tensorfile
from components.data.prepared import HIDDEN, Domain, Prepared
from components.errors import DataError
from components.types import Preprocess

if TYPE_CHECKING:
    from torch import nn

TABLE, CONTENTS = "features.npy", "features.json"


@dataclass(frozen=True)
class Key:
    """What a row's numbers depend on beside its image: rows of equal keys are equal. `computed_by`: engine, device,
    versions and code, by name. `augment`: the policy of the views beyond the first, on which view 0 does not depend."""

    weights_sha256: str
    preprocess: dict[str, Any]
    computed_by: dict[str, Any]
    augment: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "weights_sha256": self.weights_sha256,
            "preprocess": self.preprocess,
            "computed_by": self.computed_by,
            "augment": self.augment,
        }

    def covers(self, other: Key, view: int) -> bool:
        """Whether a row of this view that was computed under the other key would have the same numbers under this."""
        mine, theirs = self.to_dict(), other.to_dict()
        return all(mine[name] == theirs[name] for name in mine if view or name != "augment")


@dataclass(frozen=True)
class Layout:
    """Which rows a table has: view 0 of `images`, then view 1 of those that are `varied`, view 2, and so on up to
    `views` of them. Both are sha256 of the images' files, each once."""

    images: tuple[str, ...]
    varied: tuple[str, ...] = ()
    views: int = 1

    def __len__(self) -> int:
        return len(self.images) + (self.views - 1) * len(self.varied)

    @cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, int]]:
        first, more = ({name: place for place, name in enumerate(part)} for part in (self.images, self.varied))
        return first, more

    def row(self, sha256: str, view: int) -> int | None:
        """Where an image's view lies; None where the table does not have it."""
        if view == 0:
            return self._places[0].get(sha256)
        place = self._places[1].get(sha256)
        return None if place is None or view >= self.views else len(self.images) + (view - 1) * len(self.varied) + place

    def entries(self) -> list[tuple[str, int]]:
        """sha256 and view of every row, in order."""
        return [
            *((name, 0) for name in self.images),
            *((name, view) for view in range(1, self.views) for name in self.varied),
        ]


@dataclass(frozen=True)
class Features:
    """A table that is open. `facts`: what else was found out while it was made."""

    table: np.ndarray
    layout: Layout
    key: Key
    facts: dict[str, Any] = field(default_factory=dict)

    def fits(self, weights_sha256: str, preprocess: Preprocess) -> bool:
        """Whether a backbone with these weights gave these features, of images that were preprocessed so."""
        return weights_sha256 == self.key.weights_sha256 and as_json(preprocess) == self.key.preprocess

    def of(self, images: Sequence[str], views: int = 1) -> np.ndarray | None:
        """sha256 of n images -> float32 [views * n, D]: all images as they are, then the second view of all, and so
        on; None where an image is not in the table.

        Raises DataError when the table has fewer views than that: to compute them in their reader's place, every time,
        is what it is there to avoid.
        """
        if views > self.layout.views:
            raise DataError(
                f"{views} views of each training image are asked for, but embed.views is {self.layout.views}: "
                f"set embed.views to {views}, or ask for fewer"
            )
        rows = [self.layout.row(name, view) for view in range(views) for name in images]
        found = [row for row in rows if row is not None]
        return self.table[found] if len(found) == len(rows) else None


def as_json(preprocess: Preprocess) -> dict[str, Any]:
    """`preprocess.to_dict()` as it comes back from a file."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in preprocess.to_dict().items()}


def weights_digest(network: nn.Module) -> str:
    """sha256 of a network's parameters and buffers, as `pretrain` writes it beside its weights."""
    return tensorfile.digest(tensorfile.of_state(network.state_dict()))


def layout(data: Prepared, views: int) -> Layout:
    """Whose features are worth computing: every image of the target, every recent one, and of the source those that
    answers are compared on. Further views are of the training images with a label."""
    source, own = data.domains.get("source"), [data.target, *([] if data.recent is None else [data.recent])]
    held_out = [] if source is None else [source.sha256[row] for row in source.rows("val", labelled=True)]
    images = [name for domain in own for name in domain.sha256]
    varied = [domain.sha256[row] for domain in own for row in _labelled(domain)] if views > 1 else []
    return Layout(tuple(dict.fromkeys([*images, *held_out])), tuple(dict.fromkeys(varied)), views)


def _labelled(domain: Domain) -> np.ndarray:
    """Training images of which at least one task's answer is known."""
    known = np.any([values != HIDDEN for values in domain.labels.values()], axis=0)
    return np.flatnonzero(known & (domain.splits == "train"))


def read(folder: Path) -> Features | None:
    """The table in a folder; None where there is none, or what is there does not belong together."""
    try:
        content = jsonfile.read(folder / CONTENTS)
        table = np.load(folder / TABLE, mmap_mode="r")
        places = Layout(tuple(content["images"]), tuple(content["varied"]), content["views"])
        key = Key(**content["key"])
        facts = dict(content["facts"])
    except (DataError, OSError, ValueError, KeyError, TypeError):
        return None
    return Features(table, places, key, facts) if len(table) == len(places) else None


def looked_up(folder: Path, weights_sha256: str, images: Sequence[str]) -> np.ndarray:
    """sha256 of n images -> float32 [n, D], from the table in a folder. Raises DataError when it is missing, another
    backbone's, or lacks an image."""
    table = read(folder)
    if table is None:
        raise DataError(f"there are no features in {folder}, or half of them: run the pipeline again (graft run)")
    found = table.of(images) if table.key.weights_sha256 == weights_sha256 else None
    if found is None:
        whose = "of other images" if table.key.weights_sha256 == weights_sha256 else "another backbone's"
        raise DataError(f"the features in {folder} are {whose}: run the pipeline again (graft run)")
    return found


def begin(folder: Path, rows: int, width: int) -> np.memmap:
    """A new table [rows, width] beside the one that is in the folder, to be filled and then given to `finish`."""
    folder.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(_unfinished(folder), mode="w+", dtype=np.float32, shape=(rows, width))


def finish(folder: Path, table: np.memmap, places: Layout, key: Key, facts: Mapping[str, Any]) -> None:
    """Puts the table that `begin` gave into the place of the one before. A kill leaves the one or the other, or none,
    and never a table with another's contents."""
    table.flush()
    (folder / CONTENTS).unlink(missing_ok=True)
    _unfinished(folder).replace(folder / TABLE)
    jsonfile.write(
        folder / CONTENTS,
        {
            "key": key.to_dict(),
            "facts": dict(facts),
            "views": places.views,
            "images": list(places.images),
            "varied": list(places.varied),
        },
    )


def _unfinished(folder: Path) -> Path:
    return folder / f"{TABLE}.part"
