"""Graft's own backbones by name: one literal dict. Every other name is a torchvision model's.

Reading it imports no torch; `build` imports the class that it names. Its constructor takes the image's `size`.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Own(NamedTuple):
    """Module below components.backbones, class, and what its constructor is given besides `size`."""

    module: str
    class_name: str
    arguments: dict[str, Any] = {}


BACKBONES = {
    "small_resnet": Own("small_resnet", "SmallResNet"),
    "lenet": Own("lenet", "LeNet"),
    "conv4": Own("conv4", "Conv4"),
    "row_lstm": Own("recurrent", "ImageSequence", {"read": "rows", "cell": "lstm"}),
    "row_gru": Own("recurrent", "ImageSequence", {"read": "rows", "cell": "gru"}),
    "patch_lstm": Own("recurrent", "ImageSequence", {"read": "patches", "cell": "lstm"}),
    "patch_gru": Own("recurrent", "ImageSequence", {"read": "patches", "cell": "gru"}),
}
