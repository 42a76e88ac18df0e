"""A backbone by its name, with weights by theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from components import tensorfile
from components.backbones.base import Backbone
from components.backbones.small_resnet import SmallResNet
from components.errors import DataError, ParamsError


def build(name: str, *, size: int) -> Backbone:
    """An untrained backbone for stored images of `size` pixels.

    Raises ParamsError when there is none of that name, or it works at another size.
    """
    if name == "small_resnet":
        return SmallResNet(size=size)
    from components.backbones.torchvision_models import TorchvisionBackbone  # torchvision takes 2 s to import

    backbone = TorchvisionBackbone(name)
    if backbone.preprocess.resize != size:
        raise ParamsError(
            f"prepare.size is {size}, but {name} cuts its {backbone.preprocess.size} pixels out of images stored at "
            f"{backbone.preprocess.resize}: set prepare.size to {backbone.preprocess.resize}"
        )
    return backbone


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
        state = torch.load(path, map_location="cpu", weights_only=True)
    own = backbone.state_dict()
    # Files made by torchvision name the model's own modules; ours carry the wrapper's prefix.
    if not any(key in own for key in state):
        state = {f"model.{key}": value for key, value in state.items()}
    state = body_of(backbone, state)
    missing = sorted(set(own) - set(state))
    if missing:
        raise DataError(f"{path} lacks {len(missing)} of the backbone's {len(own)} tensors, for example {missing[0]!r}")
    backbone.load_state_dict(state)


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
