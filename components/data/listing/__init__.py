"""Which images there are, before any of them is opened: of what class, for which part, and what else is said of them.

Folders, tables and the data sets that come with Graft all end up as one list, so that the same images laid out in any
of these ways are prepared into the same data.
"""

from __future__ import annotations

from pathlib import Path

from components import paths
from components.data.listing import folders, manifest, metadata
from components.data.listing.listed import NOTHING, Listed, Listing, require_classes
from components.params import ImagesParams

__all__ = ["NOTHING", "Listed", "Listing", "folder_of", "listing"]


def folder_of(options: ImagesParams) -> Path:
    """Where a domain's images lie: its folder, that of the built-in data set, or else that of its table."""
    if options.folder is not None:
        return Path(options.folder)
    if options.dataset is not None:
        return paths.RAW / options.dataset
    assert options.manifest is not None  # one of the three is given: params.yaml was checked
    return Path(options.manifest).parent


def listing(options: ImagesParams, key: str, *, labelled: bool = True, recent: bool = False) -> Listing:
    """The images of the domain that the parameter `key`, such as "data.target", describes. Not `labelled`: classes are
    neither asked for nor looked at, and every image is for training. `recent`: a label is read where there is one, and
    asked for nowhere; a part is as it is given, with a label and without.

    Of a table that is not recent, an image without a label is an unlabelled training image; one that the table puts
    into val or test is left out and listed among the problems, since nothing could be measured on it.

    Raises DataError where there is no image, only one class, a class without images, classes whose names differ only
    in case or in how Unicode writes them, or a part, domain or column that is not known.
    """
    root = folder_of(options)
    if options.manifest is not None:
        found = manifest.listed(Path(options.manifest), root, options, key, labelled=labelled, recent=recent)
    else:
        found = folders.listed(root, options, key, labelled=labelled, recent=recent)
    if options.metadata is not None:
        found = metadata.merged(found, Path(options.metadata), f"{key}.metadata")
    if labelled and not recent:
        require_classes(found.classes, key, root)
    return found
