"""A backbone by its name, with weights by theirs."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from components import tensorfile
from components.backbones.base import Backbone
from components.backbones.catalogue import BACKBONES
from components.errors import DataError, ParamsError
from components.types import Preprocess

HEAD_TENSORS = 8  # at most: the classifiers of torchvision's models, auxiliary ones not counted


def build(name: str, *, preprocess: Preprocess) -> Backbone:
    """An untrained backbone for images that are preprocessed so: what `pretrain` wrote beside its weights.

    Raises ParamsError when there is none of that name.
    """
    if name in BACKBONES:
        backbone = _own(name, preprocess.size)
    else:
        from components.backbones.torchvision_models import TorchvisionBackbone  # torchvision takes 2 s to import

        backbone = TorchvisionBackbone(name)
    backbone.preprocess = preprocess
    return backbone


def _own(name: str, size: int) -> Backbone:
    own = BACKBONES[name]
    module = importlib.import_module(f"components.backbones.{own.module}")
    return getattr(module, own.class_name)(size=size, **own.arguments)


def preprocess_of(name: str, weights: str, *, size: int, interpolation: str) -> Preprocess:
    """How these weights want their images, given how images are stored: squares of `size` pixels.

    Raises ParamsError, naming the value to set, when the stored images do not fit.
    """
    if name in BACKBONES:
        return replace(_own(name, size).preprocess, interpolation=interpolation)
    from components.backbones.torchvision_models import preprocess_of_weights

    wanted = preprocess_of_weights(name, weights)
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


def load_weights(backbone: Backbone, weights: str) -> None:
    """Fills in weights: a torchvision weights name, or the path of a .safetensors, .pth or .pt file."""
    from components.backbones.torchvision_models import TorchvisionBackbone, body_of

    path = Path(weights)
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        if not isinstance(backbone, TorchvisionBackbone):
            raise ParamsError(f"backbone.weights is {weights!r}, but this backbone has only 'pretrain' or a file")
        backbone.load_torchvision_weights(weights)
        return
    if not path.is_file():
        raise ParamsError(f"backbone.weights is {weights!r}, but there is no such file")
    if path.suffix == ".safetensors":
        state = {key: torch.from_numpy(value) for key, value in tensorfile.load(path).items()}
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises whatever its first wrong byte leads to
            raise DataError(
                f"{path} is no file of weights: {(str(error).splitlines() or ['it is empty'])[0]}"
            ) from None
        if not isinstance(state, dict):
            raise DataError(f"{path} holds a {type(state).__name__}, but weights by name are needed")
    own = backbone.state_dict()
    # Files made by torchvision name the model's own modules; ours carry the wrapper's prefix.
    if not any(key in own for key in state):
        state = {f"model.{key}": value for key, value in state.items()}
    missing = sorted(set(own) - set(state))
    if missing:
        raise DataError(f"{path} lacks {len(missing)} of the backbone's {len(own)} tensors, for example {missing[0]!r}")
    # The head's tensors have no place here; many more than a head has mean the weights of a larger model.
    extra = sorted(set(state) - set(own))
    if len(extra) > HEAD_TENSORS:
        raise DataError(f"{path} has {len(extra)} tensors that the backbone lacks, for example {extra[0]!r}")
    try:
        backbone.load_state_dict(body_of(backbone, state))
    except RuntimeError as error:
        raise DataError(f"{path} does not fit the backbone: {' '.join(str(error).split())[:200]}") from None


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """All parameters and buffers by name, float as float32."""
    return {
        key: (value.float() if value.is_floating_point() else value).cpu().contiguous().numpy()
        for key, value in module.state_dict().items()
    }


def from_arrays(module: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """The inverse of `to_arrays`. Raises DataError naming what does not fit."""
    try:
        module.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    except RuntimeError as error:
        raise DataError(f"these weights belong to another model: {' '.join(str(error).split())[:200]}") from None
