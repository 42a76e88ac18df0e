"""timm's models as backbones, by the name that it gives them: `timm:convnext_tiny.fb_in22k`.

timm is an extra, and everything of it is imported here, inside functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.backbones import weights_file
from components.backbones.base import Backbone
from components.backbones.catalogue import TIMM, require
from components.backbones.download import fetch
from components.backbones.hub import cached_file
from components.errors import DataError, MachineError, ParamsError, choices
from components.types import Preprocess

DEFAULT = "default"
"""The weights that the name's tag stands for, or the first that timm knows."""


class TimmBackbone(Backbone):
    """A model of timm's without its classifier, for images of `size` pixels (None: as its weights want them)."""

    def __init__(self, name: str, size: int | None = None) -> None:
        super().__init__()
        self.preprocess = preprocess_of_model(name, input_size=size)
        self.name = name
        self.model: Any = _created(name, self.preprocess.size, num_classes=0)
        self.num_features = getattr(self.model, "head_hidden_size", None) or self.model.num_features

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image).flatten(1)

    def stages(self) -> Sequence[nn.Module]:
        """timm's own groups of layers, coarse: stem, blocks or resolutions, and what comes after them.

        A group that is one module is that module. Another, such as a first convolution and its norm, is a list of
        modules: it has the parameters, but is itself never called. The few models that timm does not group have their
        children as stages, the first with what lies beside them all, such as a class token.
        """
        return [_joined(self.model, names) for names in self._groups()]

    def _groups(self) -> list[set[str]]:
        """Names of the parameters of each stage."""
        from timm.models import group_parameters

        if hasattr(self.model, "group_matcher"):
            try:
                groups = group_parameters(self.model, self.model.group_matcher(coarse=True))
            except AssertionError:  # what RDNet says to "coarse"; its groups are as large as the others' coarse ones
                groups = group_parameters(self.model, self.model.group_matcher(coarse=False))
            return [set(groups[number]) for number in sorted(groups)]
        loose = {name for name, _ in self.model.named_parameters(recurse=False)}
        children = [
            {f"{name}.{key}" for key, _ in child.named_parameters()} for name, child in self.model.named_children()
        ]
        first, *others = [names for names in children if names]
        return [loose | first, *others]

    def named_weights(self, weights: str) -> Path:
        cfg = _cfg(self.name)
        known = ["pretrain", *([DEFAULT] if cfg.hf_hub_id or cfg.url else [])]
        if weights not in known[1:]:
            raise ParamsError(
                f"backbone.weights is {weights!r}, but {self.name} has none of that name; {choices(weights, known)}, "
                "or the path of a file"
            )
        if cfg.hf_hub_id:
            return cached_file(cfg.hf_hub_id, cfg.hf_hub_filename, what=f"the weights of {self.name}")
        url, file = (cfg.url, cfg.url.rsplit("/", 1)[-1]) if isinstance(cfg.url, str) else cfg.url
        path = Path(torch.hub.get_dir()) / "checkpoints" / file
        if not path.is_file():
            try:
                fetch(url, path, sha256="")
            except MachineError as error:
                raise MachineError(
                    f"the weights of {self.name} could not be fetched ({error}): fetch {url} elsewhere and place "
                    f"it at {path}, or set backbone.weights to the path of a file"
                ) from None
        return path

    def translated(self, state: dict[str, Tensor], path: Path, sha256: str) -> dict[str, Tensor]:
        """`state` in timm's names, or in those that the weights had where they were made. Tables of positions are
        resampled to this image's size. Raises DataError when the state is another model's."""
        cfg = _cfg(self.name)
        own = self.model.state_dict()
        state = weights_file.unprefixed(state, own)
        classifiers = [cfg.classifier] if isinstance(cfg.classifier, str) else cfg.classifier or ()
        outputs = [state[f"{name}.weight"].shape[0] for name in classifiers if f"{name}.weight" in state]
        classes = outputs[0] if outputs else 0
        # With as many classes as the file has, timm wants every tensor to be there, and no others.
        given = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
        with _answering(f"{path} does not fit {self.name}", DataError):
            whole = _created(
                self.name, self.preprocess.size, num_classes=classes, pretrained=True, pretrained_cfg_overlay=given
            ).state_dict()
        return {f"model.{key}": whole[key] for key in own if key in whole}


def preprocess_of_model(name: str, *, input_size: int | None = None) -> Preprocess:
    """What the evaluation transform of timm does for these weights, as our shape: the shorter side is resized to
    size / crop_pct, and the centre is cut out.

    Raises ParamsError for weights that want an image with a border around it.
    """
    from timm.data import resolve_data_config

    config = resolve_data_config(pretrained_cfg=_cfg(name).to_dict())
    channels, *sides = config["input_size"]
    if channels != 3 or len(set(sides)) != 1:
        raise ParamsError(f"{name} reads images of {channels} channels and {sides} pixels; square RGB ones are needed")
    if config["crop_mode"] == "border":
        raise ParamsError(f"{name} reads images with a border, which are not stored here")
    size = input_size or sides[0]
    if size != sides[0]:
        _require_size(name, size)
    # Images are stored as the square in their middle. Weights that want the whole image squashed into a square get that
    # square without a further crop.
    resize = size if config["crop_mode"] == "squash" else int(size / config["crop_pct"])
    return Preprocess(
        size=size,
        resize=resize,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
    )


def _cfg(name: str) -> Any:
    """timm's description of the weights. Raises ParamsError when it has no such model, or no such weights of it."""
    require(name)
    import timm

    model, _, tag = name.removeprefix(TIMM).partition(".")
    if not timm.is_model(model):
        raise ParamsError(f"backbone.name is {name!r}, which timm lacks; {choices(model, timm.list_models())}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise ParamsError(f"backbone.name is {name!r}, but timm has no such weights; {choices(tag, tags)}")
    return timm.get_pretrained_cfg(f"{model}.{tag}" if tag else model)


def _created(name: str, size: int, **more: Any) -> nn.Module:
    import timm

    fixed: dict[str, Any] = {"img_size": size} if _cfg(name).fixed_input_size else {}
    if more.get("pretrained"):
        return timm.create_model(name.removeprefix(TIMM), **fixed, **more)
    with _answering(f"{name} cannot be built for images of {size} pixels (backbone.input_size)", ParamsError):
        return timm.create_model(name.removeprefix(TIMM), **fixed, **more)


@cache
def _require_size(name: str, size: int) -> None:
    """Some networks find out only when they see an image that they cannot divide it; a look without values shows it."""
    with torch.device("meta"), torch.no_grad():
        model = _created(name, size, num_classes=0).eval()
        with _answering(f"{name} cannot read images of {size} pixels (backbone.input_size)", ParamsError):
            model(torch.zeros(1, 3, size, size))


@contextlib.contextmanager
def _answering(what: str, kind: type[Exception]) -> Generator[None]:
    try:
        yield
    except (RuntimeError, AssertionError, ValueError, KeyError, TypeError) as error:
        missing = " is missing" if isinstance(error, KeyError) else ""
        raise kind(f"{what}: {' '.join(str(error).split())[:200]}{missing}") from None


def _joined(model: nn.Module, names: set[str]) -> nn.Module:
    """The module that has these parameters and no others, or a list of those that have them together."""
    parts: list[nn.Module] = []

    def collect(module: nn.Module, path: str) -> None:
        own = {f"{path}{name}" for name, _ in module.named_parameters()}
        if own and own <= names:
            parts.append(module)
        elif own & names:
            loose = [value for name, value in module.named_parameters(recurse=False) if f"{path}{name}" in names]
            parts.extend([nn.ParameterList(loose)] if loose else [])
            for name, child in module.named_children():
                collect(child, f"{path}{name}.")

    collect(model, "")
    return parts[0] if len(parts) == 1 else nn.ModuleList(parts)
