"""The MLflow store of a workspace. This room alone imports mlflow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from components import paths
from components.errors import MachineError
from components.filelock import locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # otherwise MLflow's pages are those of a language model
    "mlflow.note.content": "Ways of moving a pretrained model onto these images. A run here is a comparison; the "
    "strategies that took part are below it. Select several of them to compare.",
}


def uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI`, or the workspace's own SQLite file."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{(root / paths.MLFLOW_STORE).resolve()}/mlflow.db"


def artifacts(root: Path) -> Path:
    """Where the workspace's own store keeps files."""
    return (root / paths.MLFLOW_STORE).resolve() / "artifacts"


def connect(root: Path, experiment: str) -> tuple[MlflowClient, str]:
    """A client and the experiment's id, made if there is none. Raises MachineError when the store does not answer."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is away must not hang the pipeline
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import logging

    import mlflow
    from mlflow.exceptions import MlflowException

    logging.getLogger("alembic").setLevel(logging.WARNING)  # it would report every migration of a fresh store
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    own = None if os.environ.get(URI_VARIABLE) else artifacts(root).as_uri()
    mlflow.set_tracking_uri(uri(root))  # sets the variable too, so whether it was set is asked before
    try:
        # Several processes that open a fresh SQLite store at once leave it corrupt, and the client opens it.
        with locked(root / paths.MLFLOW_STORE / "lock"):
            client = mlflow.MlflowClient()
            found = client.get_experiment_by_name(experiment)
            if found is None:
                return client, client.create_experiment(experiment, artifact_location=own, tags=EXPERIMENT_TAGS)
            for name, value in EXPERIMENT_TAGS.items():
                if name not in found.tags:
                    client.set_experiment_tag(found.experiment_id, name, value)
            return client, found.experiment_id
    except MlflowException as error:
        raise MachineError(f"MLflow at {uri(root)} does not answer: {str(error).splitlines()[0]}") from None
