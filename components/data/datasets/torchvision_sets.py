"""Any of torchvision's classification data sets by name, written as <part>/<class>/<image> like a user's own folder.

Files that the data set keeps as they are (JPEG) are copied byte for byte; what it holds as arrays becomes PNG. The
archives that it downloads stay outside data/raw, since nothing is made from them again.
"""

from __future__ import annotations

import inspect
import shutil
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.data.datasets.published import publish
from components.errors import DataError, MachineError, ParamsError, choices

DOWNLOADS = Path(".graft/downloads")
SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "test": "test",
    "trainval": "train",
    "train-standard": "train",
}
"""What data sets may take as `split`, and the part that it is. `trainval` where there is no `train`."""
FILE_LISTS = ("samples", "imgs", "_samples", "_images", "_image_files", "_images_files", "images")
"""Attributes under which data sets keep the paths of their images, in their order."""
TIMEOUT_S = 20
"""Without an answer from a server; a closed network must not hang."""


def names() -> list[str]:
    """Data sets of single images that are taken by name: their classes in torchvision.datasets."""
    from torchvision import datasets
    from torchvision.datasets.vision import VisionDataset

    bases = ("VisionDataset", "ImageFolder", "DatasetFolder")
    found = [name for name in datasets.__all__ if name not in bases]
    kinds = {name: getattr(datasets, name) for name in found}
    return sorted(name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, VisionDataset))


def find(name: str) -> type:
    """The class of this name, small and capital letters as they come. Raises ParamsError when there is none."""
    from torchvision import datasets

    known = {known.lower(): known for known in names()}
    if name.lower() not in known:
        raise ParamsError(f"torchvision:{name} is no data set of torchvision's; {choices(name, known.values())}")
    return getattr(datasets, known[name.lower()])


def materialise(name: str, folder: Path, options: Mapping[str, str] | None = None) -> None:
    """Writes the data set below `folder` unless it is there already; `options` are its constructor's further arguments.

    Raises ParamsError for an unknown name or argument, MachineError where it can neither be found nor fetched, and
    DataError where its targets are no classes.
    """
    kind = find(name)
    arguments = _typed(kind, dict(options or {}))

    def write(new: Path) -> None:
        written = 0
        for part, dataset in _parts(kind, arguments):
            written += _write(dataset, new / part, kind.__name__)
        if not written:
            raise DataError(f"torchvision:{kind.__name__} has no images")

    publish(folder, {"torchvision": kind.__name__, **{key: repr(value) for key, value in arguments.items()}}, write)


def _parameters(kind: type) -> Mapping[str, inspect.Parameter]:
    """Of the constructor, and of those that it hands its further arguments to."""
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        own = dict(inspect.signature(vars(base)["__init__"]).parameters)
        rest = [key for key, parameter in own.items() if parameter.kind is inspect.Parameter.VAR_KEYWORD]
        found = {key: value for key, value in own.items() if key != "self" and key not in rest} | found
        if not rest:
            break
    return found


def _typed(kind: type, options: dict[str, str]) -> dict[str, Any]:
    """Arguments from the command line as the defaults' types."""
    known = {key: value for key, value in _parameters(kind).items() if not key.endswith("transform") and key != "root"}
    found: dict[str, Any] = {}
    for key, text in options.items():
        if key not in known:
            raise ParamsError(f"torchvision:{kind.__name__} takes no {key!r}; {choices(key, known)}")
        default = known[key].default
        try:
            if isinstance(default, bool):
                found[key] = {"true": True, "false": False}[text.lower()]
            elif isinstance(default, int):
                found[key] = int(text)
            elif isinstance(default, tuple):
                found[key] = tuple(int(number) for number in text.split("x"))
            else:
                found[key] = text
        except (KeyError, ValueError):
            raise ParamsError(f"torchvision:{kind.__name__}: {key} is {text!r}, but must be like {default!r}") from None
    return found


def _parts(kind: type, arguments: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The data set's parts, by the arguments that choose one: `train`, or `split`. One without any is all for training;
    what is held out is then cut from it by content, and there is no folder for a part."""
    known = _parameters(kind)
    empty = inspect.Parameter.empty
    missing = [key for key, value in known.items() if value.default is empty and key not in ("root", *arguments)]
    if missing and not (missing == ["split"] and "train" not in known):
        raise ParamsError(
            f"torchvision:{kind.__name__} needs {missing[0]!r}: torchvision:{kind.__name__}?{missing[0]}=…"
        )
    if "train" in known and "train" not in arguments:
        yield "train", _open(kind, {**arguments, "train": True})
        yield "test", _open(kind, {**arguments, "train": False})
    elif "split" in known and "split" not in arguments:
        found: set[str] = set()
        for split, part in SPLITS.items():
            if part not in found and (dataset := _opened_split(kind, arguments, split)) is not None:
                found.add(part)
                yield part, dataset
        if not found:
            raise ParamsError(
                f"torchvision:{kind.__name__} has parts that are called neither train, val nor test: say which with "
                f"torchvision:{kind.__name__}?split=NAME"
            )
    else:
        yield "", _open(kind, arguments)


def _opened_split(kind: type, arguments: dict[str, Any], split: str) -> Any:
    """None where the data set has no such part."""
    try:
        return _open(kind, {**arguments, "split": split})
    except (ValueError, KeyError):
        return None


def _open(kind: type, arguments: dict[str, Any]) -> Any:
    """The data set from where it was downloaded before, else downloaded now. Raises MachineError if neither works."""
    known = _parameters(kind)
    root = DOWNLOADS / kind.__name__.lower()
    place: dict[str, Any] = {"root": str(root)} if "root" in known else {}
    if place:
        root.mkdir(parents=True, exist_ok=True)
    try:
        return kind(**place, **arguments)
    except (RuntimeError, FileNotFoundError) as error:
        if "download" not in known:
            raise MachineError(_place(kind, root, str(error))) from None
    try:
        with _patience():
            return kind(**place, **arguments, download=True)
    except (OSError, RuntimeError) as error:  # no network is an OSError; a wrong checksum is a RuntimeError
        raise MachineError(_place(kind, root, str(error))) from None


@contextmanager
def _patience() -> Generator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _place(kind: type, root: Path, reason: str) -> str:
    """What to put where, for a machine without network."""
    wanted: list[str] = []
    for attribute in ("url", "_URL", "_ARCHIVE_URL", "resources", "filename", "zips_md5"):
        value = getattr(kind, attribute, None)
        if isinstance(value, str) and value:
            wanted.append(value)
        elif isinstance(value, (list, tuple)):
            wanted += [str(entry[0]) for entry in value if isinstance(entry, (list, tuple)) and entry]
    mirrors = getattr(kind, "mirrors", None)
    if mirrors and wanted:
        wanted[0] = f"{mirrors[0]}{wanted[0]}"
    files = (
        f"the files of torchvision:{kind.__name__} ({', '.join(wanted)})" if wanted else f"torchvision:{kind.__name__}"
    )
    below = root / kind.__name__ / "raw" if getattr(kind, "resources", None) else root
    said = (reason.splitlines() or ["no reason was given"])[0]
    return f"{files} could not be fetched ({said}): place what it downloads in {below}, then try again"


def _write(dataset: Any, folder: Path, name: str) -> int:
    """Every image of one part, below the name of its class; how many they were."""
    from PIL import Image

    label = _labeller(dataset, name)
    files, targets = _files(dataset), _targets(dataset)
    for index in range(len(dataset)):
        if files is not None and targets is not None:
            place = _folder(folder, label(targets[index]))
            shutil.copyfile(files[index], place / f"{index:06d}{files[index].suffix.lower()}")
            continue
        image, target = dataset[index][:2]
        if not isinstance(image, Image.Image):
            raise DataError(f"torchvision:{name} holds {type(image).__name__}, but images are needed")
        saved = image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else image.convert("RGB")
        saved.save(_folder(folder, label(target)) / f"{index:06d}.png")
    return len(dataset)


def _folder(folder: Path, class_name: str) -> Path:
    place = folder / class_name
    place.mkdir(parents=True, exist_ok=True)
    return place


def _labeller(dataset: Any, name: str) -> Callable[[Any], str]:
    """From a target to the name of its class."""
    named = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    known = [_readable(entry) for entry in named] if isinstance(named, (list, tuple)) else []

    def label(target: Any) -> str:
        value = target.item() if hasattr(target, "item") and getattr(target, "ndim", 0) == 0 else target
        if isinstance(value, int) and not isinstance(value, bool):
            return known[value] if 0 <= value < len(known) else str(value)
        if isinstance(value, str) and value:
            return _readable(value)
        raise DataError(
            f"torchvision:{name} gives {type(target).__name__} for each image, but one class is needed; "
            "choose another target with ?target_type=…, if it has one"
        )

    return label


def _readable(entry: Any) -> str:
    """A class as the name of a folder. Of several names for one thing (ImageNet), the first."""
    text = str(entry[0] if isinstance(entry, (list, tuple)) else entry)
    return text.replace("/", "-").replace("\0", "").strip().lstrip(".") or "unnamed"


def _targets(dataset: Any) -> Any:
    """The targets of all images, where the data set keeps them in a list."""
    for attribute in ("targets", "_labels", "labels", "y"):
        found = getattr(dataset, attribute, None)
        if found is not None and hasattr(found, "__len__") and len(found) == len(dataset):
            return found
    return None


def _files(dataset: Any) -> list[Path] | None:
    """The images' files, where the data set has one for each and keeps their list."""
    for attribute in FILE_LISTS:
        found = getattr(dataset, attribute, None)
        if isinstance(found, (list, tuple)) and len(found) == len(dataset) > 0:
            paths = [entry[0] if isinstance(entry, (list, tuple)) else entry for entry in found]
            if all(isinstance(path, (str, Path)) and Path(path).is_file() for path in paths):
                return [Path(path) for path in paths]
    return None
