"""pretrain: the backbone's starting weights, trained here on the source, or taken from torchvision or a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from components import jsonfile, lineage, paths, tensorfile
from components import params as parameters
from components.backbones.build import build, load_weights, preprocess_of, to_arrays
from components.data import prepared
from components.params import Params
from components.stages.command import main, say
from components.stages.progress import reporter
from components.strategies.source_only import SourceOnly
from components.training.compute import choose
from components.training.predict import quick_metrics
from components.training.session import TRAINING_CODE, train
from components.types import TASK, Preprocess


def pretrain() -> None:
    """Writes the backbone that every strategy with `pretrained` starts from."""
    params = parameters.load(Path())
    preprocess = preprocess_of(
        params.backbone.name,
        params.backbone.weights,
        size=params.prepare.size,
        interpolation=params.prepare.interpolation,
        input_size=params.backbone.input_size,
    )
    if params.backbone.weights == "pretrain":
        _on_source(params, preprocess)
        return
    backbone = build(params.backbone.name, preprocess=preprocess)
    origin = load_weights(backbone, params.backbone.weights)
    _write(params, to_arrays(backbone), backbone.preprocess.to_dict(), origin, [], 0.0)
    say(
        f"{params.backbone.name} with weights {params.backbone.weights}: {origin['weights_file']}, "
        f"sha256 {origin['weights_file_sha256'][:8]}"
    )


def _on_source(params: Params, preprocess: Preprocess) -> None:
    data = prepared.read(paths.PREPARED)
    # What is recent would make the target a source, too, whose labels nobody is to start from without asking for them.
    data = replace(data, domains={name: domain for name, domain in data.domains.items() if name != prepared.RECENT})
    compute = choose(params.compute)
    recipe = params.pretrain
    say(f"pretraining {params.backbone.name} on the source: {recipe.steps} steps on {compute.describe()}")
    trained = train(
        lambda: SourceOnly(
            build(params.backbone.name, preprocess=preprocess),
            # Further tasks are not in it: who learns from them must be seen to need them.
            data.label_space.only(TASK),
            label_smoothing=recipe.label_smoothing,
        ),
        data,
        recipe,
        compute,
        seed=params.seed,
        identity=[
            "pretrain",
            params.to_dict()["backbone"],
            repr(recipe),
            lineage.folder_digest(paths.PREPARED),
            lineage.code_digest(*TRAINING_CODE),
        ],
        checkpoints=paths.CHECKPOINTS,
        log=reporter("pretrain", recipe.steps),
        domain="source",
        splits=("val",),
    )
    metrics = {
        "source_" + name: value for name, value in quick_metrics(trained.logits["val"], trained.labels["val"]).items()
    }
    backbone = trained.strategy.backbone
    compute_used = {"precision": compute.precision, "device": compute.device.type, "threads": compute.threads}
    arrays = to_arrays(backbone)
    _write(params, arrays, backbone.preprocess.to_dict(), {**metrics, **compute_used}, trained.history, trained.seconds)
    trained.checkpoint.clear()


def _write(params: Params, arrays, preprocess: dict, facts: dict, history: list[dict], seconds: float) -> None:
    sha256 = tensorfile.save(paths.PRETRAINED / "backbone.safetensors", arrays)
    jsonfile.write(
        paths.PRETRAINED / "model.json",
        {
            "backbone": params.backbone.name,
            "weights": params.backbone.weights,
            "weights_sha256": sha256,
            "preprocess": preprocess,
            **facts,
        },
    )
    jsonfile.write_lines(paths.PRETRAINED / "history.jsonl", history)
    jsonfile.write(paths.TIMINGS / "pretrain.json", {"train_time_s": seconds})


if __name__ == "__main__":
    main(pretrain)
