"""torchvision's classification models as backbones: any of them by its name, with its own weights and preprocessing."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.backbones import weights_file
from components.backbones.base import Backbone
from components.backbones.catalogue import TORCHVISION, require
from components.backbones.download import fetch
from components.errors import DataError, MachineError, ParamsError, choices
from components.types import Preprocess

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Classifiers that help GoogLeNet and Inception to train from nothing. They make a tuple of the output."""

# torchvision writes some names otherwise than when it made its files.
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(\.mlp)\.linear_2\."), r"\1.3."),
)
POSITIONS = "encoder.pos_embedding"


class TorchvisionBackbone(Backbone):
    """A torchvision model without its last layer, for images of `size` pixels (None: as its weights want them)."""

    def __init__(self, name: str, size: int | None = None) -> None:
        import torchvision

        from components.backbones.torchvision_parts import taken_apart

        super().__init__()
        self.preprocess = preprocess_of_weights(name, "DEFAULT", input_size=size)
        self.name = name
        whole = torchvision.models.get_model(name, weights=None, **_arguments(name, self.preprocess.size))
        theirs = {id(value): key for key, value in whole.state_dict(keep_vars=True).items()}
        self.num_features = _head_width(whole)
        self.model = taken_apart(whole)
        self.theirs = {key: theirs[id(value)] for key, value in self.state_dict(keep_vars=True).items()}
        """Own name of each tensor -> torchvision's."""
        self.head = _module_of(set(theirs.values()) - set(self.theirs.values()))
        """What the names of the removed layer's tensors begin with."""

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image).flatten(1)

    def stages(self) -> Sequence[nn.Module]:
        """The parts that have parameters, in the order of their use (see torchvision_parts)."""
        return [part for part in self.model if next(part.parameters(), None) is not None]

    def named_weights(self, weights: str) -> Path:
        entry = _entry(self.name, weights)
        file = entry.url.rsplit("/", 1)[-1]
        path = Path(torch.hub.get_dir()) / "checkpoints" / file
        if not path.is_file():
            try:
                fetch(entry.url, path, sha256=_hash_in(file))
            except MachineError as error:
                raise MachineError(
                    f"the weights {weights} of {self.name} could not be fetched ({error}): fetch {entry.url} elsewhere "
                    f"and place it at {path}, set TORCH_HOME to a folder that has it as hub/checkpoints/{file}, or set "
                    "backbone.weights to the path of a file"
                ) from None
        return path

    def translated(self, state: dict[str, Tensor], path: Path, sha256: str) -> dict[str, Tensor]:
        """The table of positions is resampled to this image's size."""
        from torchvision.models.vision_transformer import interpolate_embeddings

        _check_hash(self.name, path, sha256)
        body: OrderedDict[str, Tensor] = OrderedDict()
        for key, value in self._theirs(state).items():
            if not key.startswith((self.head, *AUXILIARY)):
                body[key] = value
        if POSITIONS in body and body[POSITIONS].ndim == 3:
            body = interpolate_embeddings(self.preprocess.size, _patch(self.name), body)
        own = {key: name for name, key in self.theirs.items()}
        return {own.get(key, key): value for key, value in body.items()}

    def looks_like(self, state: dict[str, Tensor]) -> str | None:
        """By the number of parameters of the whole model, which torchvision says of each."""
        import torchvision

        buffers = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")
        sizes = {key: value.numel() for key, value in self._theirs(state).items() if not key.endswith(buffers)}
        whole = sum(sizes.values())
        body = whole - sum(size for key, size in sizes.items() if key.startswith(AUXILIARY))
        for name in TORCHVISION:
            for entry in torchvision.models.get_model_weights(name):
                # Of Inception the auxiliary classifier is counted, of GoogLeNet it is not.
                if entry.meta["num_params"] in (whole, body) and name != self.name:
                    return name
        return None

    def _theirs(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state in the names that torchvision has today."""
        renamed = {}
        for key, value in weights_file.unprefixed(state, set(self.theirs.values())).items():
            for old, new in RENAMED:
                key = old.sub(new, key)
            renamed[key] = value
        return renamed


def _check_hash(name: str, path: Path, sha256: str) -> None:
    """torchvision's files carry the beginning of their hash in their name. Raises DataError when `path` is named like
    one of this model's, and has another."""
    import torchvision

    files = {entry.url.rsplit("/", 1)[-1] for entry in torchvision.models.get_model_weights(name)}
    if path.name in files and not sha256.startswith(_hash_in(path.name)):
        raise DataError(
            f"{path} is damaged or another file: its sha256 begins with {sha256[:8]}, and its name says "
            f"{_hash_in(path.name)}; delete it and fetch it again"
        )


def preprocess_of_weights(name: str, weights: str, *, input_size: int | None = None) -> Preprocess:
    """What the named weights' own transforms do, as our shape; those of the model's default weights for weights trained
    here. For another `input_size` the crop keeps its share of the image.

    Raises ParamsError for a size that the network cannot read.
    """
    import torchvision

    require(name)
    known = torchvision.models.get_model_weights(name)
    transforms: Any = known[_named(known, weights)].transforms()
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    size = input_size or crop
    _require_size(name, size)
    return Preprocess(
        size=size,
        resize=round(resize * size / crop),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )


def _named(known: Any, weights: str) -> str:
    """The named weights whose preprocessing goes with `weights`. A file that is called otherwise than any of
    torchvision's comes from somewhere that keeps to the customs of ImageNet, as the oldest weights do."""
    if weights in known.__members__:
        return weights
    if Path(weights).suffix not in weights_file.SUFFIXES:
        return "DEFAULT"
    same = [entry.name for entry in known if Path(entry.url).name == Path(weights).name]
    return same[0] if same else next(iter(known)).name


def _entry(name: str, weights: str) -> Any:
    import torchvision

    known = torchvision.models.get_model_weights(name)
    if weights not in known.__members__:
        raise ParamsError(
            f"backbone.weights is {weights!r}, but {name} has none of that name; "
            f"{choices(weights, ['pretrain', *known.__members__])}"
        )
    entry = known[weights]
    if entry.meta["categories"] is None:
        whole = [other for other, others in known.__members__.items() if others.meta["categories"] is not None]
        raise ParamsError(
            f"backbone.weights is {weights!r}, which has no values for the linear layers of {name}; "
            f"choose from: {', '.join(whole)}"
        )
    return entry


def _hash_in(file: str) -> str:
    found = re.search(r"-([0-9a-f]{8,})\.", file)
    return found.group(1) if found else ""


def _arguments(name: str, size: int) -> dict[str, Any]:
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        return {"image_size": size}
    return {"input_size": (size, size)} if name.startswith("maxvit") else {}


def _patch(name: str) -> int:
    """Side of the squares that a vision transformer cuts images into, in pixels: vit_b_16 -> 16."""
    return int(name.rpartition("_")[2])


def sizes_of(name: str) -> tuple[int, int]:
    """The images that a network can read: (their least side, what their side is a multiple of), in pixels."""
    import torchvision

    if name.startswith("vit_"):
        return _patch(name), _patch(name)
    if name.startswith("maxvit"):
        return 224, 224  # windows of 7 x 7 in each of five halvings
    # What torchvision says of Swin is only the size that it was trained at.
    known = torchvision.models.get_model_weights(name)["DEFAULT"].meta["min_size"][0]
    return 32 if name.startswith("swin") else known, 1


def _require_size(name: str, size: int) -> None:
    least, unit = sizes_of(name)
    if size < least or size % unit:
        below = max(least, size // unit * unit)
        allowed = f"at least {least}" if unit == 1 else f"a multiple of {unit}, such as {below} or {below + unit}"
        raise ParamsError(f"{name} is asked to read images of {size} pixels: backbone.input_size must be {allowed}")


def _head_width(whole: nn.Module) -> int:
    last = [module for module in whole.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels


def _module_of(keys: set[str]) -> str:
    """{"fc.weight", "fc.bias"} -> "fc."."""
    (module,) = {key.rpartition(".")[0] for key in keys}
    return f"{module}."
