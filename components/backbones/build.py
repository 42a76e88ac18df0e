"""A backbone by its name, with weights by theirs."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from components import tensorfile
from components.backbones import weights_file
from components.backbones.base import Backbone
from components.backbones.catalogue import BACKBONES, TIMM, require
from components.errors import DataError, ParamsError
from components.types import Preprocess


def build(name: str, *, preprocess: Preprocess) -> Backbone:
    """An untrained backbone for images that are preprocessed so: what `pretrain` wrote beside its weights.

    Raises ParamsError when there is none of that name, or it cannot read images of that size.
    """
    backbone = _built(name, preprocess.size)
    backbone.preprocess = preprocess
    return backbone


def _built(name: str, size: int | None) -> Backbone:
    """`size`: of the network's input in pixels; None: its own."""
    require(name)
    if name in BACKBONES:
        own = BACKBONES[name]
        module = importlib.import_module(f"components.backbones.{own.module}")
        return getattr(module, own.class_name)(**({"size": size} if size else {}), **own.arguments)
    if name.startswith(TIMM):
        from components.backbones.timm_models import TimmBackbone

        return TimmBackbone(name, size)
    from components.backbones.torchvision_models import TorchvisionBackbone  # torchvision takes 2 s to import

    return TorchvisionBackbone(name, size)


def _wanted(name: str, weights: str, input_size: int | None) -> Preprocess:
    """How these weights want their images, for an input of `input_size` pixels (None: their own)."""
    require(name)
    if name in BACKBONES:
        return _built(name, input_size).preprocess
    if name.startswith(TIMM):
        from components.backbones.timm_models import preprocess_of_model

        return preprocess_of_model(name, input_size=input_size)
    from components.backbones.torchvision_models import preprocess_of_weights

    return preprocess_of_weights(name, weights, input_size=input_size)


def stored_size(name: str, weights: str, input_size: int | None = None) -> tuple[int, int, str]:
    """How images must be stored for these weights: (prepare.size, side of the crop that the network reads, both in
    pixels, prepare.interpolation). Raises ParamsError for what there is not."""
    wanted = _wanted(name, weights, input_size)
    return wanted.resize, wanted.size, wanted.interpolation


def preprocess_of(
    name: str, weights: str, *, size: int, interpolation: str, input_size: int | None = None
) -> Preprocess:
    """How these weights want their images, given how images are stored: squares of `size` pixels. Graft's own networks
    take them as they are, or `input_size` pixels out of their middle.

    Raises ParamsError, naming the value to set, when the stored images do not fit.
    """
    if name in BACKBONES:
        if input_size and input_size > size:
            raise ParamsError(
                f"backbone.input_size is {input_size}, but images are stored at {size} pixels: set prepare.size to "
                f"at least {input_size}"
            )
        return replace(_wanted(name, weights, input_size or size), resize=size, interpolation=interpolation)
    wanted = _wanted(name, weights, input_size)
    if wanted.resize != size:
        raise ParamsError(
            f"prepare.size is {size}, but {name} cuts its {wanted.size} pixels out of images stored at "
            f"{wanted.resize}: set prepare.size to {wanted.resize}"
        )
    if wanted.interpolation != interpolation:
        raise ParamsError(
            f"prepare.interpolation is {interpolation!r}, but {name} was trained on images resized another way: "
            f"set prepare.interpolation to {wanted.interpolation!r}"
        )
    return wanted


def load_weights(backbone: Backbone, weights: str) -> dict[str, str]:
    """Fills in weights: a name that torchvision or timm knows, or the path of a file (see weights_file).

    Returns which file they came from: its name and sha256. Raises ParamsError, DataError or MachineError naming what is
    wrong with them.
    """
    if Path(weights).suffix in weights_file.SUFFIXES:
        path = Path(weights)
        if not path.is_file():
            raise ParamsError(f"backbone.weights is {weights!r}, but there is no such file")
    else:
        path = backbone.named_weights(weights)
    state, sha256 = weights_file.read(path)
    own = backbone.state_dict()
    ours = weights_file.unprefixed(state, own)
    if set(own) - set(ours):  # else it was saved from a backbone like this one
        ours = backbone.translated(state, path, sha256)
    weights_file.require_fit(ours, own, str(path), lambda: backbone.looks_like(state))
    backbone.load_state_dict({**own, **ours})
    return {"weights_file": path.name, "weights_file_sha256": sha256}


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """All parameters and buffers by name, float as float32."""
    return tensorfile.of_state(module.state_dict())


def from_arrays(module: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """The inverse of `to_arrays`. Raises DataError naming what does not fit."""
    try:
        module.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    except RuntimeError as error:
        raise DataError(f"these weights belong to another model: {' '.join(str(error).split())[:200]}") from None
