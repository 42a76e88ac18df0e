"""Whether the preprocessing inside a graph is training's: measured on image files, in grey levels.

What is compared is the network's input, since a fault in the preprocessing need not change a decision on the images
that happen to be at hand. The images are the files themselves, and the same ones enlarged with hard edges, made small,
and as JPEG: at the network's own size, or on smooth pictures, a resize without antialias looks like one with it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from PIL import Image

from components.data import images
from components.data.streams import crop, normalise
from components.deployment import fold
from components.deployment.onnx_export import INPUT
from components.errors import ParityError
from components.params import ExportParams
from components.types import Preprocess

FILES, VARIED = 512, 32
"""How many images, evenly spread, are compared as they are, and how many of them in other sizes and as JPEG."""
LARGER = 3
"""How many times as large as the network's input an enlarged image is at least."""


class Probe(NamedTuple):
    """An image file's content, and the name that a refusal calls it by."""

    name: str
    content: bytes


def part(path: Path) -> bytes:
    """The shipped graph as far as the network's input: `image` uint8 [batch, height, width, 3] -> `normalised` float
    [batch, 3, size, size]. Raises ParityError when the graph has no such place."""
    model = onnx.load(path, load_external_data=False)
    nodes = fold.needed(model.graph.node, [INPUT])
    if not nodes:
        raise ParityError(f"{path.name} has no tensor {INPUT!r}, so its preprocessing cannot be examined")
    read = {name for node in nodes for name in fold.reads(node)}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    output = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, None, None])
    graph = helper.make_graph(nodes, "preprocess", list(model.graph.input), [output], initializer=kept)
    return helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    ).SerializeToString()


def spread(count: int, most: int) -> list[int]:
    """Indices of at most so many of `count` things, evenly apart, the first among them."""
    return [index * count // min(count, most) for index in range(min(count, most))]


def probes(files: Sequence[Path], resize: int) -> Iterator[Probe]:
    """The files as they are; then some of them enlarged and reduced to odd sizes, all with hard edges, and as JPEG."""
    chosen = spread(len(files), FILES)
    for row in chosen:
        yield Probe(str(files[row]), files[row].read_bytes())
    for turn, index in enumerate(spread(len(chosen), VARIED)):
        path = files[chosen[index]]
        image = images.read(path)
        width, height = image.size
        factor = math.ceil(LARGER * resize / min(width, height))
        more = ((1, -1), (-3, 5), (2, 7))[turn % 3]
        larger = image.resize((factor * width + more[0], factor * height + more[1]), Image.Resampling.NEAREST)
        yield Probe(f"{path}, enlarged", _encoded(larger, "BMP"))
        smaller = (max(2, 2 * width // 3), max(2, 3 * height // 5))
        yield Probe(f"{path}, made small", _encoded(image.resize(smaller, Image.Resampling.NEAREST), "BMP"))
        if turn % 2 == 0:
            yield Probe(f"{path}, as JPEG", _encoded(larger, "JPEG", quality=90))


def _encoded(image: Image.Image, form: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def trained(stored: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """What training's evaluation makes of an image's stored pixels, uint8 [S, S, 3]: float [3, size, size], the
    network's input."""
    return normalise(crop(torch.from_numpy(stored.copy())[None], preprocess), preprocess)[0].numpy()


def _largest(levels: np.ndarray) -> float:
    """By how much an image is off: the largest of its values but for one in a thousand, or one at all.

    Where a resized value lies half-way between two whole ones, training's fixed-point arithmetic and the graph's
    floating point may round it differently, and in two directions one after the other: two levels in a million values.
    """
    values = np.sort(levels, axis=None)
    if not np.isfinite(levels).all():
        return float("nan")
    return float(values[-1 - max(1, values.size // 1000)])


def check(
    run: Callable[[np.ndarray], np.ndarray],
    pixels: Callable[[bytes], np.ndarray],
    examined: Iterable[Probe],
    preprocess: Preprocess,
    limits: ExportParams,
) -> dict:
    """`run`: uint8 [1, H, W, 3] -> the graph's own network input; `pixels`: an image file's content -> uint8 [S, S, 3]
    as the predictor hands it to the graph -> the facts, for the bundle.

    Both ways into the graph are compared with training's: the predictor's with what training stores of the same file,
    and whole decoded pixels, which the graph resizes, with what training's resizing makes of the same pixels. Of a
    large JPEG these are two things, since training and the predictor decode it at reduced scale and who calls the
    graph does not: by how much is a fact, `reduced`, and no fault of the graph. Raises ParityError when an image is
    off by more than `pixel_tolerance`; it says by how much and where.
    """
    side = preprocess.resize
    scale = 255 * np.array(preprocess.std, np.float64)[:, None, None]
    ways: dict[str, list[tuple[float, str]]] = {"graph": [], "predictor": []}
    means = []
    reduced: list[np.ndarray] = []
    for probe in examined:
        image = images.decode(probe.content, origin=probe.name)
        resized = images.fit(image, resize=side, size=side, interpolation=preprocess.interpolation)
        stored, _ = images.pixels(
            probe.content, resize=side, size=side, interpolation=preprocess.interpolation, origin=probe.name
        )
        if not np.array_equal(stored, resized):
            reduced.append(np.abs(stored.astype(np.int16) - resized))
        for way, given, expected in (
            ("graph", np.asarray(image), resized),
            ("predictor", pixels(probe.content), stored),
        ):
            levels = np.abs(run(given[None])[0] - trained(expected, preprocess)) * scale
            ways[way].append((_largest(levels), probe.name))
            if way == "graph":
                means.append(float(levels.mean()))
    for way, found in ways.items():
        over = [entry for entry in found if not entry[0] <= limits.pixel_tolerance]  # so that NaN is refused too
        if over:
            level, name = max(over, key=lambda entry: np.nan_to_num(entry[0], nan=np.inf))
            whose = "the graph's own pixels" if way == "graph" else "the predictor's pixels"
            raise ParityError(
                f"preprocessing: {whose} differ from training's by up to {level:.3g} grey levels "
                f"(export.pixel_tolerance is {limits.pixel_tolerance:g}) on {len(over)} of {len(found)} images, most "
                f"on {name}"
            )
    return {
        "images": len(means),
        "max_grey_levels": max(level for level, _ in ways["graph"]),
        "mean_grey_levels": float(np.mean(means)),
        "predictor_max_grey_levels": max(level for level, _ in ways["predictor"]),
        "reduced": {
            "images": len(reduced),
            "mean_grey_levels": float(np.mean(reduced)) if reduced else 0.0,
            "max_grey_levels": int(np.max(reduced)) if reduced else 0,
        },
    }
