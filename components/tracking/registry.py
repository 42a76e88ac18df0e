"""Bundles as versions of an MLflow registered model, with the aliases `champion` and `challenger`."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components.deployment import bundle
from components.errors import GraftError, choices

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

CHAMPION, CHALLENGER = "champion", "challenger"
BUNDLE_TAG = "graft.bundle"


def _artifacts(identity: str) -> str:
    """Where a bundle lies among its run's artifacts: by itself, since one run may be exported more than once."""
    return f"bundles/{identity[:16]}"


def find_version(client: MlflowClient, name: str, identity: str) -> str | None:
    """The version that holds the bundle with this identity."""
    found = client.search_model_versions(f"name = '{name}'")
    return next((str(version.version) for version in found if version.tags.get(BUNDLE_TAG) == identity), None)


def register(client: MlflowClient, name: str, run_id: str, folder: Path, example: np.ndarray) -> str:
    """Makes the bundle in `folder` a version of the registered model `name`, once; returns the version.

    `example`: uint8 [1, height, width, 3], an image as callers send them.
    """
    import mlflow
    import onnx
    from mlflow.exceptions import MlflowException

    facts = bundle.read(folder)
    identity = bundle.identity(facts)
    existing = find_version(client, name, identity)
    if existing is not None:
        return existing
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description="Exported by Graft. Each version's description is its card.")

    model = onnx.load(str(folder / facts["models"]["fp32"]["file"]))
    with _active(client, run_id), _without_gpu_complaints():
        mlflow.log_artifacts(str(folder), _artifacts(identity))
        logged = mlflow.onnx.log_model(
            model,
            name="model",
            signature=signature(model),
            input_example={model.graph.input[0].name: example},
            pip_requirements=["onnxruntime", "numpy"],
            save_as_external_data=False,  # with external data, a second save of the same object loses the weights
        )
    version = client.create_model_version(
        name, source=logged.model_uri, run_id=run_id, tags={BUNDLE_TAG: identity, "strategy": facts["strategy"]}
    )
    return str(version.version)


def pointed(client: MlflowClient, name: str, alias: str) -> str | None:
    """The version that has the alias; None where none has it, or there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(name).aliases.get(alias)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return None if found is None else str(found)


def point(client: MlflowClient, name: str, alias: str, version: str | None) -> None:
    """Gives the alias to a version; takes it away where that is None."""
    if version is not None:
        client.set_registered_model_alias(name, alias, version)
    elif pointed(client, name, alias) is not None:
        client.delete_registered_model_alias(name, alias)


def tell(
    client: MlflowClient, name: str, version: str, tags: Mapping[str, str], description: str | None = None
) -> None:
    """Adds tags to a version, and gives it a description, Markdown; None leaves the one that it has."""
    if description is not None:
        client.update_model_version(name, version, description)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def keep(client: MlflowClient, run_id: str, identity: str, files: Mapping[str, str]) -> None:
    """Puts texts beside a bundle: what it takes to build it again."""
    for file, text in files.items():
        client.log_text(run_id, text, f"{_origin(identity)}/{file}")


def kept(client: MlflowClient, name: str, version: str) -> dict[str, str]:
    """What `keep` has put beside the bundle of a version, by file name; nothing for versions from before there was such
    a thing. Raises GraftError when there is no such version."""
    import mlflow

    entry = _version(client, name, version)
    place = _origin(entry.tags[BUNDLE_TAG])
    names = [Path(file.path).name for file in client.list_artifacts(str(entry.run_id), place)]
    return {file: mlflow.artifacts.load_text(f"runs:/{entry.run_id}/{place}/{file}") for file in names}


def _origin(identity: str) -> str:
    return f"origins/{identity[:16]}"


def _version(client: MlflowClient, name: str, version: str) -> ModelVersion:
    """Raises GraftError when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        known = sorted((str(v.version) for v in client.search_model_versions(f"name = '{name}'")), key=int)
        raise GraftError(f"{name} has no version {version}; {choices(version, known)}") from None
    if BUNDLE_TAG not in found.tags:
        raise GraftError(f"version {version} of {name} holds no bundle: Graft has not registered it")
    return found


def signature(model: onnx.ModelProto) -> ModelSignature:
    """What goes in and what comes out, as the graph itself says it; a side of any length is -1."""
    from mlflow.models import ModelSignature

    return ModelSignature(inputs=_schema(model.graph.input), outputs=_schema(model.graph.output))


def _schema(values: Iterable[onnx.ValueInfoProto]) -> Schema:
    from mlflow.types import Schema, TensorSpec
    from onnx.helper import tensor_dtype_to_np_dtype

    return Schema(
        [
            TensorSpec(
                tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
                tuple(side.dim_value or -1 for side in value.type.tensor_type.shape.dim),
                value.name,
            )
            for value in values
        ]
    )


@contextmanager
def _active(client: MlflowClient, run_id: str) -> Generator[None]:
    """The run as mlflow's current one, left finished when it had finished."""
    import mlflow

    ended = client.get_run(run_id).info.end_time
    with mlflow.start_run(run_id=run_id):
        yield
    client.set_terminated(run_id, end_time=ended)


@contextmanager
def _without_gpu_complaints() -> Generator[None]:
    """MLflow tries the example at once, on a GPU first: where there is none, that is no news."""
    import onnxruntime

    logger = logging.getLogger("mlflow.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(4)  # fatal alone
    try:
        yield
    finally:
        logger.setLevel(before)
        onnxruntime.set_default_logger_severity(2)  # warnings, as it begins


@contextmanager
def fetched(client: MlflowClient, name: str, version: str) -> Generator[Path]:
    """The verified bundle of a version, in a temporary folder. Raises GraftError when there is no such version."""
    import mlflow

    entry = _version(client, name, version)
    folder = Path(tempfile.mkdtemp(prefix="graft-"))
    try:
        identity = entry.tags[BUNDLE_TAG]
        path = mlflow.artifacts.download_artifacts(f"runs:/{entry.run_id}/{_artifacts(identity)}", dst_path=str(folder))
        if bundle.identity(bundle.read(Path(path))) != identity:
            raise GraftError(f"what MLflow keeps as version {version} of {name} is another bundle")
        yield Path(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
