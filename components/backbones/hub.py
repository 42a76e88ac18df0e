"""A file of a repository on the Hugging Face hub, from the local cache or the net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.backbones.download import TIMEOUT_S, reach
from components.errors import MachineError

FILES = ("model.safetensors", "pytorch_model.bin")
"""What timm's weights are called there, the first that there is."""


def cached_file(repository: str, file: str | None, *, what: str) -> Path:
    """`repository`: its name, with @revision where one is meant; `what`: what the file has, for the error.

    Raises MachineError when it is neither in the cache nor to be had: at once where HF_HUB_OFFLINE is set, else after
    at most twice TIMEOUT_S.
    """
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    place: dict[str, Any] = {"repo_id": repository, "revision": revision or None}
    for name in [file] if file else FILES:
        found = try_to_load_from_cache(filename=name, **place)
        if isinstance(found, str):
            return Path(found)
    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        for name in [file] if file else FILES:
            try:
                # The library tries again and again; whether anybody answers is found out first.
                reach(hf_hub_url(filename=name, **place))
                return Path(hf_hub_download(filename=name, etag_timeout=TIMEOUT_S, **place))
            except FileNotFoundError:
                reason = f"{hf_hub_url(filename=name, **place)} does not exist"
            except Exception as error:  # the library's own, and those of whatever it asks with
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                break
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    raise MachineError(
        f"{what} could not be fetched ({reason}): fetch https://huggingface.co/{repository} elsewhere and set "
        f"backbone.weights to the path of its {file or FILES[0]}, or copy the cached folder of a machine that has it "
        f"to {folder}"
    )
