"""Runs the pipeline as a person wants it run: at once if nothing is to be done, with a Prefect API if there is."""

from __future__ import annotations

import os
from pathlib import Path

from components import params as parameters
from components.stages.promote import pending
from flows import graph, keeper, zombies
from flows.server import URL_VARIABLE, Api


def to_do(root: Path, *, promotion: bool = True) -> list[str]:
    """What a run would do: addresses of stages that are not up to date, and "promote"; [] when there is nothing.

    Asked of DVC alone, because a Prefect API takes ten seconds to come up only to find that out.
    """
    stages = graph.changed(root)
    return stages or (["promote"] if promotion and pending(root, root, parameters.load(root)) else [])


def run(root: Path, *, force: bool = False, promotion: bool = True) -> dict[str, str]:
    """Runs the flow; returns stage -> state. Raises StageError naming the stages that failed.

    Where the workspace's schedule is up, its server keeps the run, too.
    """
    schedule = keeper.state(root)
    if schedule is not None and schedule["ready"]:
        os.environ.setdefault(URL_VARIABLE, f"{schedule['prefect']}/api")
    with Api(root) as api:
        from flows.pipeline import pipeline  # two seconds, while the API comes up

        api.wait()
        zombies.sweep(root)
        try:
            return pipeline(root=str(root), force=force, promotion=promotion)
        finally:
            api.drain()
