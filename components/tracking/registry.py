"""Bundles as versions of an MLflow registered model, with the aliases `champion` and `challenger`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components.deployment import bundle
from components.errors import GraftError, choices

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
BUNDLE_TAG = "graft.bundle"


def _artifacts(identity: str) -> str:
    """Where a bundle lies among its run's artifacts: by itself, since one run may be exported more than once."""
    return f"bundles/{identity[:16]}"


def find_version(client: MlflowClient, name: str, identity: str) -> str | None:
    """The version that holds the bundle with this identity."""
    found = client.search_model_versions(f"name = '{name}'")
    return next((str(version.version) for version in found if version.tags.get(BUNDLE_TAG) == identity), None)


def register(client: MlflowClient, name: str, run_id: str, folder: Path) -> str:
    """Makes the bundle in `folder` a version of the registered model `name`, once; returns the version."""
    import mlflow
    import onnx
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    facts = bundle.read(folder)
    identity = bundle.identity(facts)
    existing = find_version(client, name, identity)
    if existing is not None:
        return existing
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description="Exported by Graft; see the version's bundle.json.")

    import numpy as np

    image = TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3), "image")
    with _active(run_id):
        mlflow.log_artifacts(str(folder), _artifacts(identity))
        logged = mlflow.onnx.log_model(
            onnx.load(str(folder / facts["models"]["fp32"]["file"])),
            name="model",
            signature=ModelSignature(inputs=Schema([image])),
            pip_requirements=["onnxruntime", "numpy"],
            save_as_external_data=False,  # with external data, a second save of the same object loses the weights
        )
    version = client.create_model_version(
        name, source=logged.model_uri, run_id=run_id, tags={BUNDLE_TAG: identity, "strategy": facts["strategy"]}
    )
    return str(version.version)


@contextmanager
def _active(run_id: str) -> Generator[None]:
    """The run as mlflow's current one, left finished as it was found."""
    import mlflow

    with mlflow.start_run(run_id=run_id):
        yield


def describe(facts: dict, decision: str) -> str:
    """A version's description, in Markdown."""
    test, made = facts["metrics"]["test"], facts["lineage"]
    return (
        f"**{facts['strategy']}**: {test['accuracy']:.1%} of the test images "
        f"({test['low']:.1%} to {test['high']:.1%}).\n\n{decision}\n\n"
        f"Commit `{made['git_commit']}`, data `{made['data_sha256'][:12]}`, seed {made['seed']}."
    )


@contextmanager
def fetched(client: MlflowClient, name: str, version: str) -> Generator[Path]:
    """The verified bundle of a version, in a temporary folder. Raises GraftError when there is no such version."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        entry = client.get_model_version(name, version)
    except MlflowException:
        known = sorted((str(v.version) for v in client.search_model_versions(f"name = '{name}'")), key=int)
        raise GraftError(f"{name} has no version {version}; {choices(version, known)}") from None
    folder = Path(tempfile.mkdtemp(prefix="graft-"))
    try:
        identity = entry.tags[BUNDLE_TAG]
        path = mlflow.artifacts.download_artifacts(f"runs:/{entry.run_id}/{_artifacts(identity)}", dst_path=str(folder))
        if bundle.identity(bundle.read(Path(path))) != identity:
            raise GraftError(f"what MLflow keeps as version {version} of {name} is another bundle")
        yield Path(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
