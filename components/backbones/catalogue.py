"""What backbones there are, by name: Graft's own, torchvision's classification models, and timm's by an extra.

Reading it imports no torch: a name in params.yaml is checked before anything slow is. `build` imports what a name
needs.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

from components.errors import MachineError, ParamsError, choices

TIMM = "timm:"
"""What the name of a model of timm's begins with."""


class Own(NamedTuple):
    """Module below components.backbones, class, and what its constructor is given besides the image's `size`."""

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

# torchvision's own list costs the seconds that importing it takes; a test holds this one against it.
TORCHVISION = (
    "alexnet",
    *(f"convnext_{size}" for size in ("base", "large", "small", "tiny")),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"efficientnet_b{number}" for number in range(8)),
    *(f"efficientnet_v2_{size}" for size in "lms"),
    "googlenet", "inception_v3", "maxvit_t",
    *(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
    *(f"regnet_x_{size}" for size in ("16gf", "1_6gf", "32gf", "3_2gf", "400mf", "800mf", "8gf")),
    *(f"regnet_y_{size}" for size in ("128gf", "16gf", "1_6gf", "32gf", "3_2gf", "400mf", "800mf", "8gf")),
    *(f"resnet{depth}" for depth in (101, 152, 18, 34, 50)),
    "resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d",
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    "squeezenet1_0", "squeezenet1_1",
    *(f"swin_{size}" for size in "bst"), *(f"swin_v2_{size}" for size in "bst"),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32",
    "wide_resnet101_2", "wide_resnet50_2",
)  # fmt: skip


def candidates() -> tuple[str, ...]:
    """All names: Graft's own, torchvision's, and those of timm's that have pretrained weights, where it is installed.

    Only timm's need an import, of some seconds.
    """
    if find_spec("timm") is None:
        return (*BACKBONES, *TORCHVISION)
    import timm

    return (*BACKBONES, *TORCHVISION, *(TIMM + name for name in timm.list_pretrained()))


def require(name: str) -> None:
    """Raises ParamsError when there is no backbone of that name, MachineError when it needs a package that is missing.

    Of timm's models the package alone is looked for; building one says whether it has that name.
    """
    if name.startswith(TIMM):
        if find_spec("timm") is None:
            raise MachineError(
                f"backbone.name is {name!r}, but timm is not installed: install it with pip install 'graft[timm]'"
            )
    elif name not in BACKBONES and name not in TORCHVISION:
        known = [*BACKBONES, *TORCHVISION]
        raise ParamsError(
            f"backbone.name is {name!r}, which is no backbone; {choices(name, known)} "
            f"(models of timm's are named {TIMM}NAME)"
        )
