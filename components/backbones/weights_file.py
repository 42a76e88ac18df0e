"""Weights by name out of whatever file they are in, and what is wrong with them when they do not fit."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from components import lineage, tensorfile
from components.errors import DataError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Under which of these keys a training script keeps the weights, beside its optimizer and its settings."""
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
"""What wrappers (data parallel, compiled, Lightning) put before every name."""


def read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The file's tensors by name, and the sha256 of the file. Raises DataError naming the file."""
    try:
        sha256 = lineage.file_digest(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if path.suffix == ".safetensors":
        return {key: torch.from_numpy(value) for key, value in tensorfile.load(path).items()}, sha256
    try:
        # Training scripts keep their arguments beside the weights; a Namespace of them runs no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its first wrong byte leads to
        raise DataError(f"{path} is no file of weights: {(str(error).splitlines() or ['it is empty'])[0]}") from None
    if not isinstance(content, Mapping):
        raise DataError(f"{path} holds a {type(content).__name__}, but weights by name are needed")
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise DataError(f"{path} has no tensors by name; its keys are {', '.join(map(str, list(content)[:5]))}")
    return state, sha256


def unprefixed(state: dict[str, Tensor], known: Collection[str]) -> dict[str, Tensor]:
    """The state without the prefixes, two at most, that hide the `known` names: as few as bring out most of them."""
    tried = [state]
    for start in (0, 1):
        tried += [
            {key.removeprefix(prefix): value for key, value in earlier.items()}
            for earlier in tried[start:]
            for prefix in PREFIXES
            if any(key.startswith(prefix) for key in earlier)
        ]
    return max(tried, key=lambda candidate: sum(key in known for key in candidate))


def require_fit(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], origin: str, looks_like: Callable[[], str | None]
) -> None:
    """Raises DataError, naming the first mismatch in the network's order, unless `state` has `own`'s tensors and no
    others. `looks_like`: asked for the name of the model that they seem to be.

    A batch-norm's counter may be missing: files older than it have none, and it means nothing in a finished network.
    """
    wrong = _mismatch(state, own)
    if wrong:
        model = looks_like()
        raise DataError(f"{origin} {wrong}" + (f"; it looks like a {model}" if model else ""))
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise DataError(f"{origin} has values in {key!r} that are no finite numbers")


def _mismatch(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    needed = {key: value for key, value in own.items() if not key.endswith("num_batches_tracked") or key in state}
    for key, value in needed.items():
        if key not in state:
            missing = sum(name not in state for name in needed)
            return f"lacks {missing} of the backbone's {len(own)} tensors, first {key!r}"
        if state[key].shape != value.shape:
            found, expected = list(state[key].shape), list(value.shape)
            return f"does not fit the backbone: {key!r} has the shape {found} in place of {expected}"
    extra = [key for key in state if key not in own]
    return f"has {len(extra)} tensors that the backbone lacks, first {extra[0]!r}" if extra else None
