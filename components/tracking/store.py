"""The MLflow store of a workspace. This room alone imports mlflow."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components import paths
from components.errors import Unreachable
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
    """A client and the experiment's id, made if there is none. Raises Unreachable when the store does not answer."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is away must not hang the pipeline
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import logging

    import mlflow
    from mlflow.exceptions import MlflowException

    logging.getLogger("alembic").setLevel(logging.WARNING)  # it would report every migration of a fresh store
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    home = _home(uri(root))
    own = None if home is None else (home / "artifacts").as_uri()
    mlflow.set_tracking_uri(uri(root))
    try:
        # Several processes that open a fresh SQLite store at once leave it corrupt, and the client opens it.
        with locked((home or root / paths.MLFLOW_STORE) / "lock"):
            client = mlflow.MlflowClient()
            found = client.get_experiment_by_name(experiment)
            if found is None:
                return client, client.create_experiment(experiment, artifact_location=own, tags=EXPERIMENT_TAGS)
            for name, value in EXPERIMENT_TAGS.items():
                if name not in found.tags:
                    client.set_experiment_tag(found.experiment_id, name, value)
            return client, found.experiment_id
    except MlflowException as error:
        raise Unreachable(_away(root, error)) from None


def _home(address: str) -> Path | None:
    """The folder of a store that is a workspace's own, whichever workspace's: one that was made from another keeps its
    files where that one does. None for any other store, which knows where it keeps them."""
    file = Path(address.removeprefix("sqlite:///"))
    own = address.startswith("sqlite:///") and file.parent.as_posix().endswith(f"/{paths.MLFLOW_STORE.as_posix()}")
    return file.parent if own else None


@contextmanager
def reached(root: Path, standing: str) -> Generator[None]:
    """What is asked of MLflow inside is answered, or the error is one line: that the store does not answer, and
    `standing`, a sentence on how things stand now. Raises Unreachable."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except Unreachable as error:
        raise Unreachable(f"{error}; {standing}") from error
    except (MlflowException, RequestException) as error:
        raise Unreachable(f"{_away(root, error)}; {standing}") from error


def address(root: Path) -> str:
    """The store's URI as it may be shown: without a password."""
    return re.sub(r"(?<=://)[^/@]*@", "", uri(root))


def _away(root: Path, error: Exception) -> str:
    # Of a refused connection, MLflow tells three layers of exceptions; the innermost is what a person wants to know.
    said = re.search(r"\[Errno \d+\] [\w ]+", str(error))
    return f"MLflow at {address(root)} does not answer: {said[0] if said else str(error).splitlines()[0]}"
