"""A data set of the Hugging Face Hub, or a folder in one of its formats, written as <part>/<class>/<image> like a
user's own folder. Image files go over byte for byte; only a format that Graft does not list becomes PNG.

With several labels a table `labels.csv` stands beside the folders: one column for each, for multi-task strategies.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.data.datasets.published import publish
from components.data.listing.listed import PARTS
from components.errors import DataError, MachineError, ParamsError, choices

LABELS = ("label", "labels", "class", "category", "target")
"""What a column of labels is called where the features do not tell."""
TABLE = "labels.csv"
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif", "GIF": ".gif"}


def materialise(name: str, folder: Path, *, configuration: str | None = None, labels: Sequence[str] = ()) -> None:
    """Writes the data set below `folder` unless it is there already. `labels`: columns to classify by; where there are
    none, the only one that can be meant.

    Raises MachineError without the package `datasets`, or where the data can neither be found nor fetched; DataError
    where it has no images, or no one column of labels.
    """
    arguments = {"huggingface": name, "configuration": configuration, "labels": list(labels)}
    publish(folder, arguments, lambda new: _write_all(_load(name, configuration), new, name, tuple(labels)))


def _load(name: str, configuration: str | None) -> dict[str, Any]:
    """Part -> its rows."""
    try:
        import datasets
    except ImportError:
        raise MachineError(f"hf:{name} needs the package datasets: pip install 'graft[huggingface]'") from None
    path = Path(name)
    try:
        if any((path / mark).exists() for mark in ("dataset_dict.json", "state.json")):
            found = datasets.load_from_disk(str(path))
        else:
            found = datasets.load_dataset(str(path.resolve()) if path.is_dir() else name, configuration)
    except (ConnectionError, FileNotFoundError, OSError, RuntimeError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"hf:{name} could not be loaded ({said}): without a network, download it elsewhere with "
            f"`datasets.load_dataset({name!r}).save_to_disk('folder')`, place the folder here, and give hf:folder"
        ) from None
    return {"": found} if isinstance(found, datasets.Dataset) else {str(part): rows for part, rows in found.items()}


def _write_all(parts: dict[str, Any], folder: Path, name: str, labels: tuple[str, ...]) -> None:
    import datasets

    if len(parts) == 1:
        parts = dict(zip([""], parts.values(), strict=True))  # held-out images are cut from it by content
    parts = {part: rows for part, rows in parts.items() if not part or part.lower() in PARTS}
    if not parts:
        raise DataError(f"hf:{name} has parts, none of which is called train, val or test")
    features = next(iter(parts.values())).features
    image = _image_column(features, name)
    chosen = _label_columns(features, name, labels)
    table: list[list[str]] = []
    for part, rows in parts.items():
        undecoded = rows.cast_column(image, datasets.Image(decode=False)).select_columns([image, *chosen])
        for index, row in enumerate(undecoded):
            answers = [_text(rows.features[column], row[column], column, name) for column in chosen]
            content, ending = _file(row[image])
            below = Path(part, answers[0], f"{index:06d}{ending}")
            place = folder / below
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            table.append([below.as_posix(), part, *answers])
    if len(chosen) > 1:
        _write_table(folder / TABLE, chosen, table, with_parts=len(parts) > 1)


def _write_table(path: Path, labels: tuple[str, ...], rows: list[list[str]], *, with_parts: bool) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", *(["split"] if with_parts else []), *labels])
        writer.writerows([row[0], *(row[1:2] if with_parts else []), *row[2:]] for row in rows)


def _image_column(features: Any, name: str) -> str:
    import datasets

    found = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    if len(found) == 1:
        return found[0]
    if "image" in found:
        return "image"
    which = f"several columns of images: {', '.join(found)}" if found else "no column of images"
    raise DataError(f"hf:{name} has {which}; its columns are {', '.join(features)}")


def _label_columns(features: Any, name: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """The given ones; else the only one whose values are classes, or, where none is declared so, whose name says it."""
    import datasets

    for column in given:
        if column not in features:
            raise ParamsError(f"--label {column}: hf:{name} has no such column; {choices(column, features)}")
    if given:
        return given
    declared = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    found = declared or [column for column in features if column.lower() in LABELS]
    if len(found) == 1:
        return (found[0],)
    which = (
        f"several columns that may be the label ({', '.join(found)})" if found else "no column that looks like a label"
    )
    raise DataError(f"hf:{name} has {which}: say which with --label; its columns are {', '.join(features)}")


def _text(feature: Any, value: Any, column: str, name: str) -> str:
    """An answer as the name of a folder."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        if value is None or value < 0:  # the Hub's way of saying that nobody knows
            raise DataError(f"hf:{name} has rows without {column!r}: leave them out, for example with `filter`")
        value = feature.int2str(value)
    if isinstance(value, (list, dict)) or value is None:
        raise DataError(f"hf:{name}: {column!r} holds {type(value).__name__}, but one answer for each image is needed")
    return str(value).replace("/", "-").strip().lstrip(".") or "unnamed"


def _file(cell: dict[str, Any]) -> tuple[bytes, str]:
    """The bytes of an image's file, and the ending that goes with them."""
    from PIL import Image

    content = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            ending = ENDINGS.get(image.format or "")
            if ending is not None:
                return content, ending
            out = io.BytesIO()
            image.convert("RGB").save(out, "PNG")
            return out.getvalue(), ".png"
    except OSError:
        return content, ".jpg"  # prepare leaves it out and lists it
