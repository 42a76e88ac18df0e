"""promote and rollback: which bundle is in production.

Not stages of `dvc.yaml`, because they act on the registry: what they do depends on what is champion now. Every
decision is a line of `.graft/decisions.jsonl`, with its numbers.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components import jsonfile, paths
from components import params as parameters
from components.data import prepared
from components.deployment import bundle
from components.errors import GraftError
from components.evaluation.intervals import Interval, paired_interval
from components.filelock import locked
from components.inference.predictor import Predictor
from components.params import Params
from components.runtimes.routes import Route
from components.speed import shipping
from components.speed.shipping import Shipping
from components.stages.command import main, say
from components.tracking import promotion
from components.types import TASK

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK = paths.STATE / "promote.lock"


def promote() -> None:
    """Decides about the bundle of the last run, registers it, and puts it into production if it is better."""
    root = Path()
    params = parameters.load(root)
    with locked(LOCK):
        _promote(root, params)


def _promote(root: Path, params: Params) -> None:
    bundle.recover(paths.CHAMPION)
    challenger = bundle.read(paths.BUNDLE)
    identity = bundle.identity(challenger)
    if not pending(root, params):
        say(f"{challenger['strategy']}: already decided; {_decisions(root, identity, params)[-1]['reason']}")
        return
    benchmark = jsonfile.read(paths.BENCHMARK) if paths.BENCHMARK.exists() else None
    shipped = shipping.decide(challenger, benchmark)
    gain = _gain(params, shipped)
    champion = bundle.read(paths.CHAMPION) if paths.CHAMPION.exists() else None
    more = [] if champion is None else shipping.new_routes(challenger, shipped, champion)
    decision = promotion.decide(gain, min_gain=params.promote.min_gain, new_routes=more)
    if champion is not None and bundle.identity(champion) == identity:
        # As after a promotion that was killed when its files were in place: the registry and the log are still to be
        # told.
        decision = promotion.Decision(True, "it is the champion's own bundle")

    from components.tracking import model_card, registry, store, sync

    name = params.promote.registered_model
    told = sync.sync(root, name, jsonfile.read(root / paths.TRACKING)["params"])
    client, experiment_id = store.connect(root, name)
    run_id = sync.find_run(client, experiment_id, told["strategies"][challenger["strategy"]])
    assert run_id is not None  # sync has just made it
    target = prepared.read(paths.PREPARED).target
    example = target.pixels[target.rows("val", labelled=True)[:1]]
    version = registry.register(client, name, run_id, paths.BUNDLE, np.asarray(example))
    card = model_card.card(
        challenger,
        jsonfile.read(paths.EVALUATION),
        jsonfile.read(paths.MODELS / challenger["strategy"] / "model.json"),
        benchmark if benchmark is not None and benchmark.get("bundle") == identity else None,
        name=name,
        version=version,
        decision=decision.reason,
    )
    client.update_model_version(name, version, card)
    client.set_registered_model_alias(name, registry.CHALLENGER, version)
    if decision.promoted:
        _install(client, name, version, paths.BUNDLE, shipped)
    _log(
        "promoted" if decision.promoted else "kept", version, identity, challenger["strategy"], decision.reason,
        gain=gain._asdict() if gain else None,
        min_gain=params.promote.min_gain,
        shipped=shipped.to_dict(),
    )  # fmt: skip
    say(f"{challenger['strategy']} (version {version}): {decision.reason}")


def rollback(version: str | None = None) -> str:
    """Puts an earlier version back into production, by default the champion before this one; returns the version.

    Raises GraftError when there is none.
    """
    root = Path()
    params = parameters.load(root)
    name = params.promote.registered_model
    from components.tracking import registry, store

    with locked(LOCK):
        bundle.recover(paths.CHAMPION)
        version = version or _previous(root)
        client, _ = store.connect(root, name)
        with registry.fetched(client, name, version) as folder:
            facts = bundle.read(folder)
            _install(client, name, version, folder, _shipped_before(root, version))
        _log("rolled back", version, bundle.identity(facts), facts["strategy"], f"rolled back to version {version}")
    return version


def pending(root: Path, params: Params) -> bool:
    """Whether the bundle of the last run is still to be decided about, by today's rule. Imports no mlflow: a driver
    asks before it starts."""
    identity = bundle.identity(jsonfile.read(root / paths.BUNDLE / bundle.FILE))
    return not _decisions(root, identity, params) or not (root / paths.CHAMPION / bundle.FILE).exists()


def _decisions(root: Path, identity: str, params: Params) -> list[dict]:
    """What was decided about a bundle. What another `min_gain` decided says nothing about this one."""
    return [
        entry
        for entry in jsonfile.read_lines(root / paths.DECISIONS)
        if entry["bundle"] == identity and entry.get("min_gain", params.promote.min_gain) == params.promote.min_gain
    ]


def _gain(params: Params, shipped: Shipping) -> Interval | None:
    """The challenger's lead over the champion on the current test images; None when there is no champion."""
    own = _correct(paths.BUNDLE, shipped.route)
    if not paths.CHAMPION.exists():
        return None  # but it has had to answer all the same
    return paired_interval(
        own,
        _correct(paths.CHAMPION),
        confidence=params.evaluate.confidence,
        resamples=params.evaluate.resamples,
        seed=params.seed,
    )


def _correct(folder: Path, route: Route | None = None) -> np.ndarray:
    """[N] 0 or 1 for each test image: what the bundle answers, in the code that serves it, by the route that it is to
    be served by; by default the one that it says itself."""
    data = prepared.read(paths.PREPARED)
    rows = data.target.rows("test", labelled=True)
    if route is None:
        predictor = Predictor.load(folder)
    else:
        predictor = Predictor.load(folder, provider=route.provider, precision=route.precision)
    names = np.array(data.label_space.classes[TASK])
    own = np.array(predictor.classes[TASK])
    answers = []
    for start in range(0, len(rows), 64):
        batch = data.target.pixels[rows[start : start + 64]]
        answers.append(own[predictor.run(batch)[predictor.output("logits")].argmax(1)])
    return (np.concatenate(answers) == names[data.target.labels[TASK][rows]]).astype(np.float64)


def _install(client: MlflowClient, name: str, version: str, folder: Path, shipped: Shipping) -> None:
    """Files first, then the alias: a kill in between leaves a champion that serves, and promoting again sets the
    alias."""
    from components.tracking import registry

    shipping.install(folder, paths.CHAMPION, shipped)
    client.set_registered_model_alias(name, registry.CHAMPION, version)


def _shipped_before(root: Path, version: str) -> Shipping:
    """As when it was promoted; all of it, run by the defaults, where nothing is known of that here."""
    records = [entry for entry in jsonfile.read_lines(root / paths.DECISIONS) if entry["version"] == version]
    known = [entry["shipped"] for entry in records if "shipped" in entry]
    return Shipping.from_dict(known[-1]) if known else Shipping()


def _previous(root: Path) -> str:
    """The version that was champion before the present one."""
    reigns = [
        entry["version"]
        for entry in jsonfile.read_lines(root / paths.DECISIONS)
        if entry["decision"] in ("promoted", "rolled back")
    ]
    earlier = [version for version in reigns if version != reigns[-1]]
    if not earlier:
        raise GraftError("there is no earlier champion to roll back to")
    return earlier[-1]


def _log(decision: str, version: str, identity: str, strategy: str, reason: str, **evidence: object) -> None:
    jsonfile.append_line(
        paths.DECISIONS,
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "decision": decision,
            "version": version,
            "strategy": strategy,
            "bundle": identity,
            "reason": reason,
            **evidence,
        },
    )


if __name__ == "__main__":
    main(promote)
