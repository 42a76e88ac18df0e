"""A bundle: the folder that is deployed. `bundle.json` says what is in it, and the files are checked against that.

bundle.json              classes, preprocessing, lineage, metrics, parity, admission, and sha256 and size of every model
model.fp32.onnx          see `components.deployment.onnx_export`; likewise int8, fp16, …
model.fp32.onnx.data     the weights of a model over 2 GB, which no .onnx file can hold
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from components import jsonfile, lineage
from components.errors import DataError
from components.paths import external

FILE = "bundle.json"
RELEASE = "release.json"
"""Beside a champion's bundle.json: which version it is, and the id of the decision that put it there."""


def model_name(key: str) -> str:
    """Name of a model file in a bundle: "fp32" -> "model.fp32.onnx"."""
    return f"model.{key}.onnx"


def write(folder: Path, models: Mapping[str, bytes | Path], facts: dict) -> None:
    """`models`: key -> the file's content, or the file itself, which is copied with its external weights; `facts`:
    whatever else belongs into bundle.json."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for key, model in models.items():
        path = folder / model_name(key)
        if isinstance(model, bytes):
            path.write_bytes(model)
        else:
            shutil.copyfile(model, path)
            if external(model).exists():
                shutil.copyfile(external(model), external(path))
        files[key] = _described(path)
        if external(path).exists():
            files[key]["external"] = _described(external(path))
    jsonfile.write(folder / FILE, {**facts, "models": files})


def _described(path: Path) -> dict:
    return {"file": path.name, "sha256": lineage.file_digest(path), "bytes": path.stat().st_size}


def read(folder: Path) -> dict:
    """The facts of a bundle. Raises DataError when a model file is missing or is not the one that was admitted."""
    facts = jsonfile.read(folder / FILE)
    try:
        files = {folder / entry["file"]: entry["sha256"] for entry in entries(facts["models"])}
        identity(facts)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / FILE} does not describe a bundle ({type(error).__name__} {error})") from None
    for path, sha256 in files.items():
        if not path.is_file():
            raise DataError(f"{folder} is incomplete: {path.name} is missing")
        if lineage.file_digest(path) != sha256:
            raise DataError(f"{path} is not the file that was admitted: its sha256 differs from bundle.json's")
    return facts


def entries(models: Mapping[str, dict]) -> list[dict]:
    """What bundle.json says of every file: models, and the external weights of those that have any."""
    return [entry for model in models.values() for entry in (model, model.get("external")) if entry]


def identity(facts: dict) -> str:
    """What tells one bundle from another: what it answers. The commit that exported it does not count, so exporting the
    same model again makes nothing new of it; nor does which of the admitted files a machine ships, since that depends
    on their speed there."""
    return lineage.digest([*_model(facts), _precisions(facts)])


def same_model(facts: dict, other: dict) -> bool:
    """Whether two bundles were exported from one model, whatever was admitted of each."""
    return _model(facts) == _model(other)


def _model(facts: dict) -> list:
    return [
        *(facts[name] for name in ("strategy", "classes", "preprocess")),
        facts.get("temperature"),  # a bundle of version 0.2 has none
        facts["lineage"]["weights_sha256"],
    ]


def _precisions(facts: dict) -> list[str]:
    """Those that were admitted on some provider, and how int8's ranges were found, since its answers depend on it. A
    bundle of version 0.3 has no `admission`, and admitted what it holds."""
    if "admission" not in facts:
        return sorted(facts["models"])
    return sorted(
        {
            " ".join(filter(None, (route.partition("@")[0], verdict.get("calibrator"))))
            for route, verdict in facts["admission"].items()
            if verdict["admitted"]
        }
    )
