"""The data sets that come with Graft, by name: each writes itself as a folder per class, like a user's own."""

from __future__ import annotations

from pathlib import Path

from components.errors import ParamsError, choices

DATASETS = ("printed_digits", "handwritten_digits")


def materialise(name: str, folder: Path, *, per_class: int | None, seed: int) -> None:
    """Writes the data set below `folder` unless it is there already. Raises ParamsError when there is none of the
    name."""
    from components.data.datasets import digits

    if name == "printed_digits":
        digits.printed(folder, per_class=per_class or 400, seed=seed)
    elif name == "handwritten_digits":
        if per_class is not None:
            raise ParamsError("per_class does not apply to 'handwritten_digits', which has a fixed number of images")
        digits.handwritten(folder)
    else:
        raise ParamsError(f"{name!r} is not a data set; {choices(name, DATASETS)}")
