"""torchvision's classification models as backbones: any of them by its name, with its own weights and preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.backbones.base import Backbone
from components.backbones.catalogue import BACKBONES
from components.errors import MachineError, ParamsError, choices
from components.types import Preprocess

# Their auxiliary heads make a tuple of the output while training.
WITHOUT_AUXILIARY: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


class TorchvisionBackbone(Backbone):
    """A torchvision model without its last layer."""

    def __init__(self, name: str) -> None:
        import torchvision

        super().__init__()
        _require_known(name)
        self.name = name
        self.model = torchvision.models.get_model(name, weights=None, **WITHOUT_AUXILIARY.get(name, {}))
        self.num_features = _remove_head(self.model)
        self.preprocess = preprocess_of_weights(name, "DEFAULT")

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image).flatten(1)

    def stages(self) -> Sequence[nn.Module]:
        """The model's children that have parameters; `features`, where torchvision keeps the body, is opened up. What
        belongs to no child (a transformer's class token) comes first."""
        parts: list[nn.Module] = [nn.ParameterList(self.model.parameters(recurse=False))]
        for name, child in self.model.named_children():
            parts += child.children() if name == "features" else [child]
        return [part for part in parts if any(True for _ in part.parameters())]

    def load_torchvision_weights(self, weights: str) -> None:
        """Fetches named weights, from the local cache when they are there. Raises MachineError where neither works."""
        import torchvision

        known = torchvision.models.get_model_weights(self.name)
        if weights not in known.__members__:
            raise ParamsError(
                f"backbone.weights is {weights!r}, but {self.name} has none of that name; "
                f"{choices(weights, ['pretrain', *known.__members__])}"
            )
        entry = known[weights]
        path = f"{torch.hub.get_dir()}/checkpoints/{entry.url.rsplit('/', 1)[-1]}"
        import socket
        from urllib.error import URLError

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(20)  # a closed network must not hang a training
        try:
            state = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (URLError, OSError) as error:
            raise MachineError(
                f"the weights {weights} of {self.name} could not be fetched ({error}): place the file at {path}, "
                "or set TORCH_HOME to a folder that has it"
            ) from None
        finally:
            socket.setdefaulttimeout(before)
        self.load_state_dict(body_of(self, {f"model.{key}": value for key, value in state.items()}))


def body_of(backbone: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a full model's state that the headless backbone has."""
    return {key: value for key, value in state.items() if key in backbone.state_dict()}


def _remove_head(model: nn.Module) -> int:
    """Replaces the layer that makes the logits by nothing; returns the number of features it read."""
    name, last = [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Identity())
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels


def _require_known(name: str) -> None:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ParamsError(f"backbone.name is {name!r}, which is no backbone; {choices(name, [*BACKBONES, *known])}")


def preprocess_of_weights(name: str, weights: str) -> Preprocess:
    """What the named weights' own transforms do, as our shape; the model's default ones where `weights` is no such name
    (weights trained here, or a file)."""
    import torchvision

    _require_known(name)
    known = torchvision.models.get_model_weights(name)
    transforms: Any = known[weights if weights in known.__members__ else "DEFAULT"].transforms()
    return Preprocess(
        size=transforms.crop_size[0],
        resize=transforms.resize_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )
