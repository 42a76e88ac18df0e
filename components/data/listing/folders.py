"""Images in folders whose names say what the images below are: of which class, in which part, from which domain."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from components.data import images
from components.data.listing.listed import PARTS, Listed, Listing, is_utf8, part_of, require_domains
from components.errors import DataError
from components.params import ImagesParams

HIDDEN = (".", "__MACOSX")
"""What the names of files and folders begin with that systems leave behind."""
FOREIGN = frozenset({".avif", ".cr2", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".psd", ".svg", ".tga"})
"""Of pictures that cannot be read here: they are not passed over in silence."""
LOOKED_FOR = ", ".join(sorted(images.SUFFIXES))

Names = tuple[str, ...]
"""Of the folders on the way to an image, one for each level of the layout."""


def class_names(folder: Path) -> list[str]:
    """Names of the class folders, sorted. Raises DataError when there are fewer than two."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(HIDDEN))
    if len(names) < 2:
        raise DataError(
            f"{folder} holds {len(names)} class folder(s), but at least 2 are needed: {folder}/<class name>/<image>"
        )
    return names


def listed(root: Path, options: ImagesParams, key: str, *, labelled: bool, recent: bool = False) -> Listing:
    """The images below `root`, by the layout of `options`; they may lie in further folders below the last level. See
    `listing.listing` for `labelled`, `recent` and the errors raised."""
    levels = options.levels
    if not labelled and levels[-1:] == ("class",):
        levels = levels[:-1]
    walk = _Walk(root, levels, options.domains)
    try:
        if not root.is_dir():
            raise DataError(f"{key}.folder: there is no folder {root}")
        found = sorted(walk.images())
    except OSError as error:
        raise DataError(f"{key}.folder: cannot read {root}: {error.strerror}") from None
    at = {level: levels.index(level) for level in levels}
    if "domain" in at:
        require_domains({names[at["domain"]] for names in walk.folders if len(names) > at["domain"]}, options, key)
    if not found:
        raise DataError(_nothing(root, levels, options, key, walk.problems))

    kinds: dict[Names, tuple[str, str | None]] = {}
    for _, names in found:
        if names not in kinds:
            class_name = names[at["class"]] if labelled and "class" in at else ""
            part = part_of(names[at["split"]], options, key) if "split" in at else None
            kinds[names] = class_name, part if labelled else "train"
    classes = {class_name for class_name, _ in kinds.values()} - {""}
    if classes and all(name.lower() in PARTS for name in classes):
        raise DataError(
            f"{key}.layout is {options.layout!r}, which makes classes of {', '.join(sorted(classes))}: say "
            "split/class, or whatever the folders stand for"
        )
    # Where domains are chosen from within the classes, a class may have none of them.
    if labelled and not recent and "class" in at and not (options.domains and levels.index("domain") > at["class"]):
        for names in sorted(walk.folders):
            if len(names) > at["class"] and names[at["class"]] not in classes:
                raise DataError(_empty(root.joinpath(*names[: at["class"] + 1]), walk.problems, key))
    return Listing(
        root=root,
        images=[Listed(Path(path), *kinds[names]) for path, names in found],
        classes=tuple(sorted(classes)),
        problems={kind: sorted(entries) for kind, entries in sorted(walk.problems.items())},
    )


class _Walk:
    """Through the folders below a root, following links, into none twice and never up. `folders`: the names of all that
    stand for a level; `problems`: kind -> what was found wrong."""

    def __init__(self, root: Path, levels: Names, domains: Names | None) -> None:
        self.root, self.levels, self.domains = root, levels, domains
        self.folders: set[Names] = set()
        self.problems: dict[str, list[str]] = {}

    def images(self) -> Iterator[tuple[str, Names]]:
        """Paths, in no order, with the names on the way."""
        visited = {_identity(parent) for parent in self.root.resolve().parents}
        folders: list[tuple[str, Names, bool]] = [(str(self.root), (), False)]
        links: list[tuple[str, Names, bool]] = []
        while folders or links:
            if not folders:  # links come last, and in order: what they lead to keeps its own path where it has one
                links.sort(reverse=True)
                folders.append(links.pop())
            folder, names, linked = folders.pop()
            try:
                identity = _identity(folder)
                if linked and identity in visited:
                    self._found("links", f"{images.printable(folder)} leads to a folder that is on the list already")
                    continue
                visited.add(identity)
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith(HIDDEN):
                            continue
                        if not self._readable(entry):
                            continue
                        if entry.is_dir():
                            if (below := self._below(entry, names)) is not None:
                                link = entry.is_symlink()
                                (links if link else folders).append((entry.path, below, link or linked))
                        elif self._is_image(entry, names):
                            yield entry.path, names
            except OSError as error:
                self._found("unreadable", f"cannot read {images.printable(folder)}: {error.strerror}")

    def _readable(self, entry: os.DirEntry[str]) -> bool:
        """Whether it can be said what the entry is: a link may lead to itself."""
        try:
            if entry.is_symlink():
                entry.stat()
        except OSError as error:
            self._found("unreadable", f"cannot read {images.printable(entry.path)}: {error.strerror}")
            return False
        return True

    def _below(self, entry: os.DirEntry[str], names: Names) -> Names | None:
        """The names on the way to what lies in this folder; None: it is of no interest."""
        if len(names) == len(self.levels):
            return names
        level = self.levels[len(names)]
        if not is_utf8(entry.name):
            raise DataError(f"the name of the folder {images.printable(entry.path)} is not UTF-8: rename it")
        names = (*names, entry.name)
        self.folders.add(names)
        return None if level == "domain" and self.domains and entry.name not in self.domains else names

    def _is_image(self, entry: os.DirEntry[str], names: Names) -> bool:
        suffix = entry.name[entry.name.rfind(".") :].lower()
        if suffix in FOREIGN:
            self._found("unsupported", images.printable(entry.path))
        if suffix not in images.SUFFIXES:
            return False
        if not entry.is_file():
            self._found("unreadable", f"{images.printable(entry.path)} is not a file")
            return False
        if not is_utf8(entry.path):
            self._found("unreadable", f"the name of {images.printable(entry.path)} is not UTF-8")
            return False
        if len(names) < len(self.levels):
            self._found("misplaced", entry.path)
            return False
        return True

    def _found(self, kind: str, entry: str) -> None:
        self.problems.setdefault(kind, []).append(entry)


def _identity(folder: str | Path) -> tuple[int, int]:
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _empty(folder: Path, problems: dict[str, list[str]], key: str) -> str:
    message = f"{key}: the class folder {folder} holds no image ({LOOKED_FOR}); fill it, or remove it"
    return _with_reason(message, folder, problems)


def _with_reason(message: str, folder: Path, problems: dict[str, list[str]]) -> str:
    """The message with the first thing that was found wrong in the folder, which may be why."""
    inside = images.printable(folder)
    reasons = [f"{kind}: {entry}" for kind, entries in problems.items() for entry in sorted(entries) if inside in entry]
    return f"{message}; {reasons[0]}" if reasons else message


def _nothing(root: Path, levels: Names, options: ImagesParams, key: str, problems: dict[str, list[str]]) -> str:
    place = "/".join([str(root), *(f"<{level}>" for level in levels), "<image>"])
    message = f"{key}: there is no image {place}; what ends in {LOOKED_FOR} is taken for one"
    if "misplaced" in problems:
        return f"{message}; {min(problems['misplaced'])} lies above that: {key}.layout is {options.layout!r}"
    return _with_reason(message, root, problems)
