"""export: the chosen strategy -> a bundle, each of whose files is admitted only if it answers like the model it was
made from."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto

from components import jsonfile, lineage, paths
from components import params as parameters
from components.admission import precisions, proof, support
from components.admission.proof import OPTIONAL, Truth
from components.data import prepared
from components.data.prepared import Prepared
from components.deployment import bundle, onnx_export, onnx_file, skeleton
from components.deployment.support_export import export_support
from components.errors import DataError, choices
from components.params import Params
from components.runtimes.routes import PARENT, Route, routes
from components.runtimes.session import present
from components.stages.command import main, say
from components.strategies.few_shot import FewShot
from components.training.restore import restore

WIDTH = 100  # of the terminal that a line is wrapped for


def export() -> None:
    """Writes bundle/ for the strategy that `evaluate` chose. Raises ParityError, and leaves none, if it is refused."""
    params = parameters.load(Path())
    evaluation = jsonfile.read(paths.EVALUATION)
    facts = make(evaluation["chosen"], paths.BUNDLE, evaluation, prepared.read(paths.PREPARED), params)
    for line in lines(facts):
        say(line)


def make(name: str, folder: Path, evaluation: Mapping, data: Prepared, params: Params) -> dict:
    """Writes the bundle of a competitor of the last run into `folder` and returns what its bundle.json says.

    Raises ParityError when its full precision is refused on a provider that this machine has, and leaves no bundle.
    """
    unproven = paths.STATE / "export" / name
    shutil.rmtree(unproven, ignore_errors=True)
    facts = _facts(name, evaluation, params)
    strategy = restore(paths.MODELS / name)
    network = onnx_export.network(strategy, features=params.export.features, skeletons=skeleton.remembered())

    def assembled(network: ModelProto, key: str) -> Path:
        whole = onnx_export.assemble(
            network,
            preprocess=strategy.backbone.preprocess,
            classes=strategy.label_space.classes,
            temperature=facts["temperature"],
            facts=facts,
        )
        path = unproven / bundle.model_name(key)
        onnx_file.save(whole, path)
        return path

    model = jsonfile.read(paths.MODELS / name / "model.json")
    true = proof.truth(name, model, facts["temperature"], data)
    shutil.rmtree(folder, ignore_errors=True)
    models = {PARENT: assembled(network, PARENT)}
    parity: dict[str, dict] = {}
    verdicts: dict[Route, dict] = {}
    for provider in present():
        found, verdicts[Route(PARENT, provider)] = precisions.full(models[PARENT], provider, true, params, say=say)
        parity.setdefault(PARENT, found)  # the CPU's, which every machine has
    sound = [provider for provider in present() if verdicts[Route(PARENT, provider)]["admitted"]]
    reduced, others = precisions.reduced(network, models[PARENT], sound, assembled, true, data, params)
    verdicts |= others
    for provider in present():
        if provider not in sound:  # what it makes of the other files is not trusted either
            verdicts |= dict.fromkeys(routes(provider), verdicts[Route(PARENT, provider)])
    if isinstance(strategy, FewShot) and params.export.features:
        models["support"], parity["support"] = _with_support(strategy, models[PARENT], facts, true, data, params)
    order = [route for provider in present() for route in routes(provider) if route in verdicts]
    admission = {str(route): verdicts[route] for route in order}
    bundle.write(folder, models | reduced, {**facts, "parity": parity, "admission": admission})
    shutil.rmtree(unproven)
    return bundle.read(folder)


def _with_support(
    strategy: FewShot, exported: Path, facts: dict, true: Truth, data: Prepared, params: Params
) -> tuple[Path, dict]:
    """The file that takes the labelled images as an input, and the proof that it answers like the one that has them
    inside. Raises ParityError."""
    path = exported.with_name(bundle.model_name("support"))
    path.write_bytes(export_support(strategy, facts, facts["temperature"], skeletons=skeleton.remembered()))
    proofs = [
        support.prove(path, exported, strategy, true, data, params.export, provider)
        for provider in present()
        if provider not in OPTIONAL
    ]
    return path, proofs[0]


def _facts(name: str, evaluation: Mapping, params: Params) -> dict:
    """What the model file says of itself, beside the graph."""
    rows = {row["strategy"]: row for row in evaluation["strategies"]}
    if name not in rows:
        failed = {entry["strategy"]: entry["reason"] for entry in evaluation["failed"]}
        why = f"its training failed: {failed[name]}" if name in failed else choices(name, rows)
        raise DataError(f"the last run has no model of {name!r}; {why}")
    row, model = rows[name], jsonfile.read(paths.MODELS / name / "model.json")
    return {
        "strategy": name,
        "classes": model["classes"],
        "preprocess": model["preprocess"],
        "temperature": {task: found["value"] for task, found in row["temperature"].items()},
        "abstain": row["selective"],
        "abstain_below": _threshold(row["selective"], params),
        "metrics": {"val": row["val"], "test": row["test"]},
        "lineage": {
            "git_commit": lineage.git_commit(Path()),
            "data_sha256": model["data_sha256"],
            "params_sha256": lineage.digest(
                {name: model[name] for name in ("hyper_parameters", "recipe", "backbone", "seeds")}
            ),
            "weights_sha256": model["weights_sha256"],
            "seed": model["best_seed"],
            "versions": lineage.versions("graft", "torch", "torchvision", "onnx", "onnxruntime-gpu", "onnxruntime"),
        },
    }


def _threshold(rows: list[dict], params: Params) -> float:
    """The confidence from which on to answer, so that `export.coverage` of the images are answered; that there is one
    is seen to where params are loaded."""
    return next(row["threshold"] for row in rows if row["coverage"] == params.export.coverage)


def lines(facts: Mapping) -> list[str]:
    """What a terminal shows of a bundle: one entry for each route, wrapped to 100 columns."""
    said = {
        route: f"{'admitted' if verdict['admitted'] else 'refused'}, {verdict['reason']}"
        for route, verdict in facts["admission"].items()
    }
    if proof := facts["parity"].get("support"):
        said["support"] = (
            f"admitted, {proof['agreement']:.2%} of {proof['images']} decisions agree when it is given the training's "
            f"own, logits within {proof['max_logit_difference']:.1e}"
        )
    return [
        textwrap.fill(f"{facts['strategy']}: {what} {text}", WIDTH, subsequent_indent="    ", break_long_words=False)
        for what, text in said.items()
    ]


if __name__ == "__main__":
    main(export)
