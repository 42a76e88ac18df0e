"""Between which values a network's activations lie, found by letting it answer a few hundred training images.

Eight bits are spread over that range: one that is too wide wastes levels on values that never come, one that is too
narrow clips. The calibrators are onnxruntime's; which of them is best differs between networks, so several are tried.

minmax      smallest and largest value seen
percentile  all but the outermost 0.01 % of the values: outliers are clipped for the sake of the rest
entropy     the range whose histogram of 128 levels loses least information (Migacz, 2017, 8-bit inference with
            TensorRT, GTC s7310: the smallest Kullback-Leibler divergence from the histogram in full resolution)
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from components.errors import ParamsError, choices

CALIBRATORS = ("minmax", "percentile", "entropy")
PERCENTILE = 99.99
PERCENTILE_BINS, ENTROPY_BINS, ENTROPY_LEVELS = 2048, 512, 128
BATCH = 8
PIXELS = BATCH * 224 * 224
"""At most so many images at a time, and pixels of them. The histograms of every layer's values are made in numpy, so
all of these must fit into memory: of a ResNet-50 0.7 GiB."""

Ranges = dict[str, tuple[float, float]]
"""Name of a value in the network -> its lower and upper end."""


def ranges(
    network: onnx.ModelProto,
    images: np.ndarray,
    calibrator: str,
    *,
    op_types: Collection[str] = (),
    symmetric: bool = False,
) -> Ranges:
    """Of every float value that a node of `op_types` (none given: any) reads or writes while the network answers
    images [N, 3, H, W].

    `symmetric`: around zero, as TensorRT wants them. Raises ParamsError for an unknown calibrator.
    """
    if calibrator not in CALIBRATORS:
        raise ParamsError(f"export.calibrators names {calibrator!r}; {choices(calibrator, CALIBRATORS)}")
    name = network.graph.input[0].name
    with quiet(), tempfile.TemporaryDirectory() as folder:
        collector = _collector(network, calibrator, Path(folder), sorted(op_types), symmetric)
        for batch in batches(images):
            collector.collect_data(_Once({name: batch}))
        found = collector.compute_data()
    return {value: tuple(np.asarray(end).item() for end in data.range_value) for value, data in sorted(found.items())}


def batches(images: np.ndarray) -> Generator[np.ndarray]:
    """images [N, 3, H, W] in parts that a large network answers in little memory."""
    size = max(1, min(BATCH, PIXELS // (images.shape[2] * images.shape[3])))
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _collector(network: onnx.ModelProto, calibrator: str, folder: Path, op_types: list[str], symmetric: bool) -> Any:
    """onnxruntime's calibrator over the network, which it wants as a file."""
    from onnxruntime.quantization import calibrate

    source, augmented = folder / "network.onnx", folder / "augmented.onnx"
    onnx.save(network, source)
    common: dict[str, Any] = {
        "op_types_to_calibrate": op_types,
        "augmented_model_path": str(augmented),
        "symmetric": symmetric,
    }
    if calibrator == "minmax":
        collector = calibrate.MinMaxCalibrater(source, **common)
    elif calibrator == "percentile":
        collector = calibrate.PercentileCalibrater(source, num_bins=PERCENTILE_BINS, percentile=PERCENTILE, **common)
    else:
        # With the default, as many bins as levels, there is but one range to choose from.
        collector = calibrate.EntropyCalibrater(
            source, num_bins=ENTROPY_BINS, num_quantized_bins=ENTROPY_LEVELS, **common
        )
    collector.augment_graph()
    # The calibrator's own session would run without onnxruntime's optimisations, at a third of the speed.
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    collector.infer_session = onnxruntime.InferenceSession(str(augmented), options, providers=["CPUExecutionProvider"])
    return collector


class _Once:
    """One batch, in the form in which a calibrator asks for its data."""

    def __init__(self, feed: dict[str, np.ndarray]) -> None:
        self.feeds = iter([feed])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """onnxruntime's quantiser prints, and warns through the root logger about choices that are made on purpose."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
