"""track: what the other stages wrote, as MLflow runs."""

from __future__ import annotations

from pathlib import Path

from components import jsonfile, paths
from components import params as parameters
from components.params import Params
from components.stages.command import main, say
from components.tracking import store, sync
from components.tracking.content import flat

SHOWN = "seed", "data", "prepare", "backbone", "pretrain", "train", "teacher", "evaluate"
"""Sections of params.yaml that all strategies share; `dvc.yaml` names the same."""


def track() -> None:
    """Tells MLflow about the comparison and every strategy in it; reports/tracking.json says under which keys the runs
    are found. Where MLflow does not answer, the files wait: a result that took hours is not lost over it."""
    params = parameters.load(Path())
    told = sync.sync(Path(), params.promote.registered_model, shown(params), later=True)
    jsonfile.write(paths.TRACKING, told)
    where = "wait to be told to" if sync.owed(Path()) else "in"
    say(f"{len(told['strategies'])} strategies {where} {store.address(Path())}")


def shown(params: Params) -> dict[str, str]:
    """The parameters of the whole comparison, flat."""
    sections = params.to_dict()
    return flat({name: sections[name] for name in SHOWN})


if __name__ == "__main__":
    main(track)
