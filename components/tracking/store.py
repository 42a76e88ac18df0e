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
REFUSALS = ("CUSTOMER_UNAUTHORIZED", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "PERMISSION_DENIED",
            "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST", "UNAUTHENTICATED")  # fmt: skip
"""Of MLflow's error codes, those that say what was wrong with the question."""
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
        raise _told(root, error) from None


def _home(address: str) -> Path | None:
    """The folder of a store that is a workspace's own, whichever workspace's: one that was made from another keeps its
    files where that one does. None for any other store, which knows where it keeps them."""
    file = Path(address.removeprefix("sqlite:///"))
    own = address.startswith("sqlite:///") and file.parent.as_posix().endswith(f"/{paths.MLFLOW_STORE.as_posix()}")
    return file.parent if own else None


@contextmanager
def reached(root: Path, standing: str) -> Generator[None]:
    """What is asked of MLflow inside is answered, or the error is one line: that the store does not answer, and
    `standing`, a sentence on how things stand now. Raises Unreachable, also for a refusal: what was refused waits as
    well, until somebody has seen to it there."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except Unreachable as error:
        raise Unreachable(f"{error}; {standing}") from error
    except (MlflowException, RequestException) as error:
        raise _told(root, error, standing) from error


def address(root: Path) -> str:
    """The store's URI as it may be shown: without a password."""
    return _shown(uri(root))


def _shown(text: str) -> str:
    return re.sub(r"(?<=://)[^/\s]*@", "", text)


def _told(root: Path, error: Exception, standing: str = "") -> Unreachable:
    # Of a refused connection, MLflow tells three layers of exceptions; the innermost is what a person wants to know.
    innermost = re.search(r"\[Errno \d+\] [\w ]+", str(error))
    said = innermost[0] if innermost else _shown(next(iter(str(error).splitlines()), type(error).__name__))
    refused = getattr(error, "error_code", None) in REFUSALS
    line = f"MLflow at {address(root)} {'refuses' if refused else 'does not answer'}: {said}"
    return Unreachable(f"{line}; {standing}" if standing else line)
