"""The sections of `params.yaml` that say which images there are, and how they are prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from components.params.section import Section, require


@dataclass(frozen=True)
class ColumnsParams(Section):
    """What the columns of a table of images are called. `label`: the class; `tasks`: answers to further questions;
    `split`: train, val or test, for images that someone has divided already; `group`: what must not be torn apart, such
    as a patient: all images of a group share a part; `domain`: which of several kinds of images this is.

    The table's other columns are metadata.
    """

    path: str = "path"
    label: str = "label"
    tasks: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    domain: str | None = None

    def __post_init__(self) -> None:
        given = [self.path, self.label, *self.tasks, *filter(None, (self.split, self.group, self.domain))]
        repeated = [name for name in given if given.count(name) > 1]
        require(not repeated, f"the column {repeated[0] if repeated else ''!r} stands for two things")


LEVELS = ("domain", "split", "class")
"""What a folder below the images' folder may stand for."""


@dataclass(frozen=True)
class ImagesParams(Section):
    """One domain's images: a built-in data set by name (`dataset`), a `folder`, or a table of them (`manifest`, CSV or
    Parquet).

    `layout`: what the levels of folders below `folder` mean, from the top, such as class, split/class or
    domain/class; null: every image below it, which is enough for unlabelled ones. `splits`: names of folders, or values
    of the split column, as the part they are: {train: train, validation: test}. `domain`: of a layout or table with
    several domains, the one or the ones that are meant. `columns`: of the table, whose paths are relative to `folder`,
    or to the table's own folder where `folder` is not given.

    `metadata`: a CSV file with a column `path` (of the image, relative to the images' folder) and others, which become
    columns of the manifest: what results can be sliced by.
    """

    dataset: str | None = None
    folder: str | None = None
    manifest: str | None = None
    layout: str | None = "class"
    splits: dict[str, Literal["train", "val", "test"]] = field(default_factory=dict)
    domain: str | tuple[str, ...] | None = None
    columns: ColumnsParams = ColumnsParams()
    metadata: str | None = None
    per_class: int | None = None  # of a data set that is generated: how many images to make for each class

    def __post_init__(self) -> None:
        require(
            (self.dataset is None) != (self.folder is None and self.manifest is None),
            "give exactly one of 'dataset', 'folder' and 'manifest' (a manifest may have a folder)",
        )
        require(self.per_class is None or self.per_class > 0, f"per_class is {self.per_class}, but must be positive")
        require(self.per_class is None or self.dataset is not None, "per_class only applies to a generated 'dataset'")
        if self.manifest is None:
            require(self.columns == ColumnsParams(), "columns are those of a 'manifest', which is not set")
        else:
            require(self.layout == "class", "layout is that of folders; a manifest has 'columns'")
        levels = self.levels
        for level in levels:
            require(level in LEVELS, f"layout is {self.layout!r}: {level!r} is none of {', '.join(LEVELS)}")
        require(len(set(levels)) == len(levels), f"layout is {self.layout!r}, which has a level twice")
        divided = "domain" in levels or self.columns.domain is not None
        require(self.domain is None or divided, "domain needs a layout, or columns, that tell domains apart")

    @property
    def levels(self) -> tuple[str, ...]:
        """`layout`, level by level."""
        return tuple(self.layout.split("/")) if self.layout else ()

    @property
    def domains(self) -> tuple[str, ...] | None:
        """Names of the domains that are meant; None: all."""
        return (self.domain,) if isinstance(self.domain, str) else self.domain


@dataclass(frozen=True)
class DataParams(Section):
    """`target`: the images the model is for; `source`: labelled images of another kind to transfer from; `unlabelled`:
    further images of the target's kind that nobody has labelled; `recent`: images as they come in now, where they are
    of another kind than the target's: what is adapted to them, labelled or not, while the target's own labelled images
    remain what accuracy is measured on.

    `attributes`: a CSV file whose first column holds the class names, and whose others say something of each class;
    `tasks`: the columns of it that are further questions about every image, for multi-task strategies. All others are
    numbers, and together the class's description, for zero-shot.
    """

    target: ImagesParams
    source: ImagesParams | None = None
    unlabelled: ImagesParams | None = None
    recent: ImagesParams | None = None
    attributes: str | None = None
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(not self.tasks or self.attributes is not None, "tasks are columns of attributes, which is not set")
        require(len(set(self.tasks)) == len(self.tasks), f"tasks {list(self.tasks)} repeat")
        for name in ("target", "source"):
            images = getattr(self, name)
            labelled = images is None or images.manifest is not None or images.dataset is not None
            require(
                labelled or "class" in images.levels,
                f"{name}.layout is {images and images.layout!r}: no level is 'class'",
            )


@dataclass(frozen=True)
class PrepareParams(Section):
    """`size`: side of the stored square image in pixels; `interpolation`: of the resizing to it; `val_fraction` and
    `test_fraction` are of the target images, `source_val_fraction` of the source's, `recent_val_fraction` of the recent
    ones'; `labels_per_class`: target
    training labels that strategies may see (none: all); `near_duplicates`: what becomes of a training image that is
    nearly the same as one that is held out: dropped, or kept and reported; `near_duplicate_similarity`: from what
    correlation of pixels on two images are nearly the same.
    """

    size: int = 32
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    val_fraction: float = 0.2
    test_fraction: float = 0.4
    source_val_fraction: float = 0.05
    recent_val_fraction: float = 0.3
    labels_per_class: int | None = None
    near_duplicates: Literal["drop", "keep"] = "drop"
    near_duplicate_similarity: float = 0.993

    def __post_init__(self) -> None:
        require(self.size >= 8, f"size is {self.size}, but must be at least 8 pixels")
        for name in ("val_fraction", "test_fraction", "source_val_fraction", "recent_val_fraction"):
            require(0 < getattr(self, name) < 1, f"{name} is {getattr(self, name)}, but must lie between 0 and 1")
        kept = self.val_fraction + self.test_fraction
        require(kept < 1, f"val_fraction + test_fraction is {kept:g}, which leaves nothing to train on")
        require(self.labels_per_class is None or self.labels_per_class > 0, "labels_per_class must be positive")
        require(
            0 < self.near_duplicate_similarity <= 1,
            f"near_duplicate_similarity is {self.near_duplicate_similarity}, but must lie in (0, 1]",
        )
