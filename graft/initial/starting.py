"""The backbone to start from, and how its images must be stored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.backbones import weights_file
from components.backbones.catalogue import BACKBONES, TIMM, TORCHVISION, require
from components.errors import DataError, MachineError, ParamsError, choices

PREFERRED = (
    "resnet50", "resnet18", "mobilenet_v3_small", "mobilenet_v3_large", "mobilenet_v2", "convnext_tiny",
    "efficientnet_b0", "resnet34", "densenet121", "regnet_y_400mf", "shufflenet_v2_x1_0", "squeezenet1_1", "vit_b_16",
)  # fmt: skip
"""Looked for in torchvision's cache, in this order, where nobody names a backbone."""


@dataclass(frozen=True)
class Start:
    """`name` and `weights` as `backbone` in params.yaml has them; `size` and `interpolation` as `prepare` must; `note`:
    how it came to this choice."""

    name: str
    weights: str
    size: int
    interpolation: str
    note: str

    @property
    def own(self) -> bool:
        """One of Graft's small ones, which are trained here."""
        return self.name in BACKBONES


def choose(name: str | None, weights: str | None, present: dict[str, Any], *, source: bool) -> Start:
    """What the command line names; else the torchvision or timm backbone that `present`, the section of params.yaml,
    has already; else the first one whose weights are in torchvision's cache. Raises ParamsError for names that do not
    exist, MachineError where there are no weights to be had."""
    note = "as you said"
    if name is None and weights is not None:
        name = _name_of(weights)
        note = f"{name}, after the name of its weights"
    if name is None:
        before = str(present.get("name", ""))
        if before and before not in BACKBONES:
            name, weights, note = before, weights or str(present.get("weights", "")) or None, "as in params.yaml"
        elif (cached := _cached()) is not None:
            name, weights = cached
            note = f"its weights are in {cache()}"
        elif source:
            name, weights = before or "small_resnet", "pretrain"
            note = "trained here on the source: no pretrained weights are on this machine"
        else:
            raise MachineError(
                f"there are no pretrained weights in {cache()}, and no --source to train some on: with a network, name "
                "a backbone, such as --backbone resnet50; without, bring a file of weights here and give it with "
                "--backbone resnet50 --weights resnet50-11ad3fa6.pth"
            )
    require(name)
    if weights is None:
        weights = _default(name)
    if weights == "pretrain" and not source:
        raise ParamsError(
            f"--backbone {name} would be trained here on a source, but there is none: give --source PATH, or --weights"
        )
    weights = _checked(name, weights)
    size, interpolation = _stored(name, weights, present)
    return Start(name, weights, size, interpolation, note)


def cache() -> Path:
    """Where torch keeps files of weights (`torch.hub.get_dir()`), without importing torch."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _cached() -> tuple[str, str] | None:
    """The first of PREFERRED with a file in the cache, and the name of these weights."""
    folder = cache()
    files = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if not any(file.startswith(name) for name in PREFERRED for file in files):
        return None  # importing torchvision takes seconds
    import torchvision

    for name in PREFERRED:
        for weights in reversed(torchvision.models.get_model_weights(name)):  # the newest, which are the best, first
            if weights.url.rsplit("/", 1)[-1] in files:
                return name, weights.name
    return None


def _name_of(weights: str) -> str:
    """The backbone that a file of weights is named after, such as resnet50-11ad3fa6.pth."""
    stem = Path(weights).stem.partition("-")[0]
    if Path(weights).suffix not in weights_file.SUFFIXES:
        raise ParamsError(f"--weights {weights} needs --backbone, which says whose weights they are")
    if stem not in TORCHVISION:
        raise ParamsError(f"--weights {weights} is not named after a backbone: say which with --backbone")
    return stem


def _default(name: str) -> str:
    if name in BACKBONES:
        return "pretrain"
    if name.startswith(TIMM):
        return "default"
    import torchvision

    return torchvision.models.get_model_weights(name)["DEFAULT"].name


def _checked(name: str, weights: str) -> str:
    """The weights as params.yaml names them; a file is read, so that what does not fit is told now."""
    from components.backbones.build import load_weights

    path = Path(weights)
    if path.suffix not in weights_file.SUFFIXES:
        if weights in ("pretrain", "default") or name in BACKBONES or name.startswith(TIMM):
            return weights
        import torchvision

        known = [entry.name for entry in torchvision.models.get_model_weights(name)]
        if weights not in known:
            raise ParamsError(
                f"--weights {weights!r} is no file (.pth, .pt, .safetensors) and {name} has no weights of that name; "
                f"{choices(weights, known)}"
            )
        return weights
    if not path.is_file():
        raise DataError(f"--weights {weights!r}: there is no such file")
    load_weights(_built(name, weights), weights)
    return as_written(path)


def _built(name: str, weights: str) -> Any:
    from components.backbones.build import build, preprocess_of, stored_size

    size, _, interpolation = stored_size(name, weights)
    return build(name, preprocess=preprocess_of(name, weights, size=size, interpolation=interpolation))


def _stored(name: str, weights: str, present: dict[str, Any]) -> tuple[int, str]:
    """Side and interpolation of the stored images that this backbone wants."""
    from components.backbones.build import stored_size

    input_size = present.get("input_size") if present.get("name") == name else None
    resize, _, interpolation = stored_size(name, weights, input_size)
    return resize, interpolation


def as_written(path: Path) -> str:
    """A path as params.yaml has it: relative to the workspace where it lies in it, else absolute."""
    full = Path(os.path.abspath(path))  # noqa: PTH100  # `resolve` would follow links that people put there on purpose
    here = Path.cwd()
    return full.relative_to(here).as_posix() if full.is_relative_to(here) else full.as_posix()
