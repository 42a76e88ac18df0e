"""track: what the other stages wrote, as MLflow runs."""

from __future__ import annotations

from pathlib import Path

from components import jsonfile, paths
from components import params as parameters
from components.stages.command import main, say
from components.tracking import store, sync


def track() -> None:
    """Tells MLflow about every trained strategy; reports/tracking.json says under which keys the runs are found."""
    params = parameters.load(Path())
    keys = sync.sync(Path(), params.promote.registered_model)
    jsonfile.write(paths.TRACKING, keys)
    say(f"{len(keys)} runs in {store.uri(Path())}")


if __name__ == "__main__":
    main(track)
