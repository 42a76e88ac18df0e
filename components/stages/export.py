"""export: the chosen strategy -> a bundle, admitted only if it answers like the model it was made from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from components import jsonfile, lineage, paths, tensorfile
from components import params as parameters
from components.data import prepared
from components.deployment import bundle, onnx_export, parity
from components.inference.predictor import Predictor
from components.inference.session import present
from components.stages.command import main, say
from components.training.restore import restore
from components.types import TASK


def export() -> None:
    """Writes bundle/ for the strategy that `evaluate` chose. Raises ParityError, and leaves none, if it is refused."""
    params = parameters.load(Path())
    evaluation = jsonfile.read(paths.EVALUATION)
    name = evaluation["chosen"]
    folder = paths.MODELS / name
    model = jsonfile.read(folder / "model.json")
    row = next(row for row in evaluation["strategies"] if row["strategy"] == name)
    facts = {
        "strategy": name,
        "classes": model["classes"],
        "preprocess": model["preprocess"],
        "temperature": {task: found["value"] for task, found in row["temperature"].items()},
        "abstain": row["selective"],
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
    content = onnx_export.export(restore(folder), facts, facts["temperature"])
    shutil.rmtree(paths.BUNDLE, ignore_errors=True)
    unproven = paths.STATE / "export" / "model.fp32.onnx"
    unproven.parent.mkdir(parents=True, exist_ok=True)
    unproven.write_bytes(content)
    # On every provider that may answer in production; the numbers of the last are kept, the CPU's where it is alone.
    for provider in present():
        proofs = _compare(unproven, provider, name, model, facts["temperature"], params)
    proof = proofs.pop(TASK)
    parity_facts = {**proof, "other_tasks": proofs} if proofs else proof
    bundle.write(paths.BUNDLE, {"fp32": content}, {**facts, "parity": {"fp32": parity_facts}})
    unproven.unlink()
    say(
        f"{name}: fp32 admitted, {proof['agreement']:.2%} of {proof['images']} decisions agree, "
        f"logits within {proof['max_logit_difference']:.1e}"
    )


def _compare(
    exported: Path, provider: str, name: str, model: dict, temperature: dict[str, float], params: parameters.Params
) -> dict:
    """Torch's logits, as `evaluate` saw them, against ONNX from the image files' own bytes: the proof of every task.

    On the network's own scale, so that `export.logit_tolerance` means the same at every temperature.
    """
    target = prepared.read(paths.PREPARED).target
    images = [target.paths[row] for row in target.rows("val", labelled=True)]
    answers = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
    seed = model["seeds"].index(model["best_seed"])
    predictor = Predictor(exported, provider=provider)
    files = [Path(image) for image in images]
    # A graph exported with a fixed batch size would still answer full batches: one image alone and an odd number must
    # do too.
    answered, *again = (predictor.logits(some) for some in (files, files[:1], files[:3]))
    proofs = {}
    for task, scaled in answered.items():
        expected = answers[f"val/{task}/logits"][seed]
        found = scaled * np.float32(temperature[task])
        for few in (logits[task] * np.float32(temperature[task]) for logits in again):
            count = len(few)
            farther = np.abs(few - expected[:count]) > np.abs(found[:count] - expected[:count])
            found[:count][farther] = few[farther]
        proofs[task] = parity.check(expected, found, images, params.export)
    return proofs


if __name__ == "__main__":
    main(export)
