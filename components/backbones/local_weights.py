"""Which weights a backbone is published with, and which of them lie on this machine. Nothing here asks the network: of
what is missing it is said which file would have to be placed where."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from components.backbones.catalogue import BACKBONES, TIMM, TORCHVISION, require
from components.errors import ParamsError, choices


@dataclass(frozen=True)
class Weights:
    """Weights by name, as `backbone.weights` takes it. `parameters`: of the whole published model, its head included;
    None where nobody says so. `path`: of the file, None where it is not here; `remedy`: what to do about that."""

    name: str
    parameters: int | None
    path: Path | None
    remedy: str


def published(backbone: str) -> list[Weights]:
    """A backbone's weights, those first that are its authors' choice. Graft's own have none: they are trained here.

    Raises ParamsError for a name that is no backbone, MachineError where the package is missing that has it.
    """
    require(backbone)
    if backbone in BACKBONES:
        return []
    return _timm(backbone) if backbone.startswith(TIMM) else _torchvision(backbone)


def cached() -> list[str]:
    """Names of the backbones that have weights on this machine, torchvision's and then timm's."""
    found = [name for name in TORCHVISION if any(weights.path for weights in published(name))]
    if find_spec("timm") is None:
        return found
    import timm
    from huggingface_hub import constants

    folders = sorted(Path(constants.HF_HUB_CACHE).glob("models--timm--*"))
    names = [folder.name.removeprefix("models--timm--") for folder in folders]
    known = [TIMM + name for name in names if timm.is_model(name.partition(".")[0])]
    return found + [name for name in known if any(weights.path for weights in published(name))]


def _torchvision(name: str) -> list[Weights]:
    import torch
    import torchvision

    known = torchvision.models.get_model_weights(name)
    default = known["DEFAULT"]
    found = []
    for entry in sorted(known, key=lambda entry: entry is not default):
        path = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[-1]
        found.append(_weights(entry.name, entry.meta["num_params"], path))
    return found


def _timm(name: str) -> list[Weights]:
    import timm
    import torch

    from components.backbones.hub import FILES
    from components.backbones.timm_models import DEFAULT

    told = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    if told is None:
        raise ParamsError(f"timm has no model {name.removeprefix(TIMM)!r}; {choices(name, timm.list_models())}")
    if told.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        files = [told.hf_hub_filename] if told.hf_hub_filename else FILES
        cached = [try_to_load_from_cache(told.hf_hub_id, file) for file in files]
        path = next((Path(file) for file in cached if isinstance(file, str)), None)
        remedy = f"place {files[0]} of {told.hf_hub_id} in the cache of the Hugging Face Hub (HF_HOME)"
        return [Weights(DEFAULT, None, path, f"{remedy}, or give {name}=PATH")]
    if not told.url:
        return []
    return [_weights(DEFAULT, None, Path(torch.hub.get_dir()) / "checkpoints" / str(told.url).rsplit("/", 1)[-1])]


def _weights(name: str, parameters: int | None, path: Path) -> Weights:
    remedy = f"place the file at {path}, or set TORCH_HOME to a folder that has it"
    return Weights(name, parameters, path if path.is_file() else None, remedy)
