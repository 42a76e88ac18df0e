"""The part of each image that was listed: as it is given, or by `split`; and what may not be trained on because of the
group that it is in."""

from __future__ import annotations

from collections.abc import Sequence

from components.data import split
from components.data.decoding import Decoded
from components.data.listing.listed import Listed
from components.data.prepared import RECENT
from components.data.repeats import Image
from components.params import Params


def of_images(domain: str, listed: Sequence[Listed], decoded: Sequence[Decoded | str], params: Params) -> list[str]:
    """train, val or test of each image. What nobody has labelled is for training, unless its group says otherwise; but
    of recent images a share is held out whether it is labelled or not, since strategies are judged by their answers to
    it. Only the target has a test part: of another domain, one that is given is its val."""
    options = params.prepare
    held_out = {"target": options.val_fraction, RECENT: options.recent_val_fraction}
    fractions = {
        "val_fraction": held_out.get(domain, options.source_val_fraction),
        "test_fraction": options.test_fraction if domain == "target" else 0.0,
    }
    given = ["val" if image.part == "test" and domain != "target" else image.part for image in listed]
    present = {part for part in given if part is not None}
    found = []
    for image, part, item in zip(listed, given, decoded, strict=True):
        if isinstance(item, str) or not (image.class_name or image.group or domain == RECENT):
            found.append("train")
            continue
        content = item.sha256 if image.group is None else split.group_digest(image.group)
        found.append(split.within(part, present, content, **fractions, seed=params.seed))
    return found


def without_held_out_groups(
    images: Sequence[Image], target: Sequence[Image], params: Params
) -> tuple[list[Image], list[str]]:
    """One domain's images without those that would be trained on though others of their group are held out; and the
    paths of these. That is what nobody has labelled in a group that is in val or test, and, in another domain that
    comes from the `target`'s own table, training images of a group that the target holds out: a name in another table
    may be another group's. Recent images may be held out without a label."""
    held_out, shared = _held_out_groups(images), set[str | None]()
    own = {"source": params.data.source, RECENT: params.data.recent}.get(images[0].domain) if images else None
    if own is not None and own.manifest is not None and own.manifest == params.data.target.manifest:
        shared = _held_out_groups(target)
    usable, left_out = [], []
    for image in images:
        group = image.listed.group
        judges = image.domain == RECENT and image.part == "val"
        unlabelled = group in held_out and not image.listed.class_name and not judges
        out = (image.part == "train" and group in shared) or unlabelled
        left_out.append(image.path) if out else usable.append(image)
    return usable, sorted(left_out)


def _held_out_groups(images: Sequence[Image]) -> set[str | None]:
    return {image.listed.group for image in images if image.part != "train"} - {None}
