"""--observe: what `graft predict` and `graft serve` answer is written down for `graft monitor`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components import paths
from components.errors import ParamsError
from components.inference.identity import identity
from components.inference.predictor import FEATURES, Predictor
from components.monitoring.recorder import MIB, Recorder


def recorder(
    predictor: Predictor, folder: Path | None = None, mib: float | None = None, keep_images_mib: float | None = None
) -> Recorder:
    """Of what this predictor answers. None: the default place, the default size, no images.

    Raises ParamsError for a size that is none and for a model file without its bundle, DataError for a model without
    features and for a bundle that was replaced while it was loaded, MachineError when nothing can be written.
    """
    for name, size in {"--observations-mib": mib, "--keep-images": keep_images_mib}.items():
        if size is not None and not 0 < size < float("inf"):
            raise ParamsError(f"{name} is {size:g}, but must be more than 0 MiB")
    if not predictor.bundle.is_dir():
        raise ParamsError(
            f"--observe has to know the whole bundle, and {predictor.bundle} is one file of it: give the folder"
        )
    predictor.require_features()
    bundle, facts = identity(predictor), predictor.facts
    side = predictor.preprocess.resize
    width = predictor.run(np.zeros((1, side, side, 3), np.uint8), [FEATURES])[FEATURES].shape[1]
    return Recorder(
        folder or paths.OBSERVATIONS,
        bundle=bundle,
        classes=predictor.classes[predictor.task],
        width=width,
        route=str(predictor.model.selection.route),
        about={"strategy": facts["strategy"], "task": predictor.task, "preprocess": facts["preprocess"]},
        mib=MIB if mib is None else mib,
        keep_images_mib=keep_images_mib or 0,
    )


def require_observe(observe: bool, **given: object) -> None:
    """Raises ParamsError for options that only matter with --observe."""
    for option, value in given.items():
        if value is not None and not observe:
            raise ParamsError(f"--{option.replace('_', '-')} says how to observe, but without --observe nothing is")
