"""embed: the pretrained backbone's features of every image that somebody asks for them, each computed once.

What is there already for the same weights and the same image is taken over, so ten new images cost ten passes.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components import jsonfile, lineage, paths, tensorfile
from components import params as parameters
from components.backbones.base import Backbone
from components.backbones.build import build, from_arrays
from components.data import features, prepared
from components.data.features import Key, Layout
from components.errors import MachineError, ParamsError
from components.machine import physical_cores
from components.stages.command import main, say
from components.stages.progress import counter
from components.training.compute import choose
from components.training.embedding import (
    BATCH,
    Engine,
    Images,
    TorchEngine,
    batch,
    difference,
    estimated_seconds,
    fill,
    missing,
)
from components.types import Preprocess

EQUAL = 1e-5
"""How far onnxruntime's features may lie from torch's, as a share of their length."""
PAYS_S = 20.0
"""Seconds that torch must be expected to take before onnxruntime is tried: an export takes five to fifteen, and saves
between nothing (transformers) and two thirds (MobileNets)."""
CODE = ("backbones", "data", "layers", "runtimes")
MODULES = (
    "training/embedding.py",
    "training/compute.py",
    "stages/embed.py",
    "types.py",
    *(f"deployment/{name}.py" for name in ("backbone_export", "fold", "onnx_file", "skeleton", "tracing")),
)
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu")


def embed() -> None:
    """Writes data/features."""
    params = parameters.load(Path())
    began = time.perf_counter()
    facts = jsonfile.read(paths.PRETRAINED / "model.json")
    data = prepared.read(paths.PREPARED)
    layout, images = features.layout(data, params.embed.views), Images.of(data)
    compute = choose(replace(params.compute, precision="fp32"))
    threads = physical_cores() if params.compute.threads == "auto" else params.compute.threads
    torch.set_num_threads(1)  # of a call: there are as many calls at once as there are cores
    workers = threads if compute.device.type == "cpu" else 2  # a GPU computes while the next batch is made

    backbone = build(params.backbone.name, preprocess=Preprocess.from_dict(facts["preprocess"]))
    from_arrays(backbone, tensorfile.load(paths.PRETRAINED / "backbone.safetensors"))
    engine, found = _engine(params.embed.engine, backbone, layout, images, compute.device, threads)
    key = Key(
        facts["weights_sha256"],
        features.as_json(backbone.preprocess),
        {
            "engine": engine.name,
            "device": compute.device.type,
            "processor": _processor(compute.device),
            "batch": engine.batch,
            "versions": lineage.versions(*LIBRARIES),
            "code": _code(),
        },
        params.embed.augment if params.embed.views > 1 else None,
    )
    known = features.read(paths.FEATURES)
    table = features.begin(paths.FEATURES, len(layout), backbone.num_features)
    progress = counter("embed", missing(layout, key, known), "rows")
    computed = fill(table, layout, key, known, images, engine, progress, workers)
    features.finish(paths.FEATURES, table, layout, key, found)
    seconds = time.perf_counter() - began
    jsonfile.write(paths.TIMINGS / "embed.json", {"embed_time_s": seconds, "rows": len(layout), "computed": computed})
    say(f"embed: {computed} of {len(layout)} rows computed by {engine.name}: {found['reason']}")


class OnnxEngine:
    """onnxruntime on the CPU, one thread for each call."""

    name = "onnxruntime"
    batch = BATCH

    def __init__(self, backbone: Backbone) -> None:
        # Only where there is enough to do: torch's exporter takes seconds to import.
        from components.deployment import backbone_export, onnx_file, skeleton
        from components.runtimes.session import Options, open_session

        self.preprocess = backbone.preprocess
        self._input, self._output = backbone_export.INPUT, backbone_export.OUTPUT
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "backbone.onnx"
            onnx_file.save(backbone_export.export(backbone, skeletons=skeleton.remembered()), path)
            self._session = open_session(path, "cpu", Options(threads=1))

    def __call__(self, image: Tensor) -> np.ndarray:
        found = self._session.run({self._input: image.contiguous().numpy()})[self._output]
        return found.reshape(len(found), -1)


def _engine(
    asked: str, backbone: Backbone, layout: Layout, images: Images, device: torch.device, threads: int
) -> tuple[Engine, dict]:
    """What computes, and why: of a choice that is left to it, by the number of all images, new or not, because whoever
    starts from nothing must choose alike.

    Raises ParamsError or MachineError when onnxruntime is asked for by name and cannot take torch's place.
    """
    facts = {"asked": asked, "difference": None, "equal_below": EQUAL}
    if device.type != "cpu":
        if asked == "onnxruntime":
            raise ParamsError(
                "embed.engine is 'onnxruntime', which would compute on the CPU, but compute.device is the GPU: set "
                "embed.engine to 'torch' or 'auto', or compute.device to 'cpu'"
            )
        return TorchEngine(backbone, device), {**facts, "reason": "there is a GPU"}
    if asked == "torch":
        return TorchEngine(backbone, device), {**facts, "reason": "embed.engine"}
    if asked == "auto" and estimated_seconds(backbone) * len(layout) / threads < PAYS_S:
        return TorchEngine(backbone, device), {**facts, "reason": "too few images to pay for an export"}
    try:
        onnx = OnnxEngine(backbone)
    except Exception as error:  # the exporter meets what it does not know with whatever it stumbles over
        reason = f"the backbone cannot be exported ({type(error).__name__})"
        if asked == "auto":
            return TorchEngine(backbone, device), {**facts, "reason": reason}
        raise MachineError(f"embed.engine is 'onnxruntime', but {reason}: {error}") from None
    plain = TorchEngine(backbone, device)
    places = np.linspace(0, len(layout.images) - 1, min(BATCH, len(layout.images))).astype(int)
    sample = batch(images, [(layout.images[place], 0) for place in places], backbone.preprocess, None, BATCH)
    # Two digits of it: more would say something of this machine only.
    facts["difference"] = float(f"{difference(onnx(sample), plain(sample)):.1e}")
    if facts["difference"] <= EQUAL:
        return onnx, {**facts, "reason": f"on a sample {facts['difference']} from torch's"}
    reason = f"onnxruntime's are {facts['difference']} from torch's, more than {EQUAL}"
    if asked == "auto":
        return plain, {**facts, "reason": reason}
    raise MachineError(f"embed.engine is 'onnxruntime', but {reason}: set it to 'torch' or 'auto'")


def _processor(device: torch.device) -> str:
    """Of processors with other instructions the last bits differ: rows that came here from another machine are
    computed again."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability()


def _code() -> str:
    """Of what decides on the numbers beside weights and images: rows that other code computed are computed again."""
    home = Path(__file__).parents[1]
    return lineage.digest([lineage.code_digest(*CODE), *(lineage.file_digest(home / module) for module in MODULES)])


if __name__ == "__main__":
    main(embed)
