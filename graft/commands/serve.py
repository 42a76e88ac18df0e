"""graft serve: the predictor behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from components import paths
from components.errors import MachineError, ParamsError
from graft import champion


def serve(
    bundle: Annotated[Path, typer.Argument(help="A bundle or an .onnx file.")] = paths.CHAMPION,
    host: Annotated[str, typer.Option(help="Address to listen on: 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    provider: Annotated[str, typer.Option(help="auto, cpu, openvino, cuda or tensorrt.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, int8, fp16 or bf16.")] = "auto",
    max_batch: Annotated[
        int | None, typer.Option(help="Most images in one run of the model; else as many as suit it.", min=1)
    ] = None,
    max_delay_ms: Annotated[
        float, typer.Option(help="How long a decoded image waits for others that are being decoded.", min=0)
    ] = 5.0,
    queue: Annotated[int, typer.Option(help="Most images waiting for an answer; above: 503.", min=1)] = 256,
    max_bytes: Annotated[int, typer.Option(help="Of one image.", min=1)] = 20 * 2**20,
    max_pixels: Annotated[int, typer.Option(help="Of one image.", min=1)] = 50_000_000,
    max_images: Annotated[int, typer.Option(help="Of one request.", min=1)] = 64,
    drain_s: Annotated[
        float, typer.Option(help="Seconds between the signal to stop and the end of taking requests.", min=0)
    ] = 1.0,
    observe: Annotated[
        bool, typer.Option("--observe", help="Write down features and answers for graft monitor, but no images.")
    ] = False,
    observations: Annotated[
        Path | None, typer.Option(help=f"Where to. [default: {paths.OBSERVATIONS}]", show_default=False)
    ] = None,
    observations_mib: Annotated[
        float | None, typer.Option(help="Most they may take; the oldest go first. [default: 512]", show_default=False)
    ] = None,
    keep_images: Annotated[
        float | None, typer.Option(help="Keep a sample of the images, too, of so many MiB at most.", metavar="MIB")
    ] = None,
    reload: Annotated[
        bool, typer.Option(help="Answer with another bundle once it lies in the folder: after a promotion, a rollback.")
    ] = True,
) -> None:
    """Answer images over HTTP: POST /predict, /healthz, /readyz, /metadata, /metrics, /openapi.json."""
    try:
        from components.inference.serving.server import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("components", "graft"):
            raise
        raise MachineError(f"graft serve needs the package {error.name!r}: install graft[serve]") from None
    from contextlib import nullcontext
    from importlib import metadata

    from components.inference.predictor import BATCH_SIZES, Predictor
    from components.inference.serving.limits import Limits
    from components.inference.serving.reload import Watch, stamp
    from components.inference.serving.service import Loaded, Service
    from graft import observing

    champion.require(bundle)
    if max_images > queue:
        raise ParamsError(f"--max-images is {max_images}, but no request could have more than --queue, {queue}")
    observing.require_observe(
        observe, observations=observations, observations_mib=observations_mib, keep_images=keep_images
    )

    def load() -> Loaded:
        predictor = Predictor.load(bundle, provider=provider, precision=precision, max_pixels=max_pixels)
        model = Loaded(predictor, max_batch=max_batch or BATCH_SIZES[predictor.provider])
        if observe:
            model.observer = observing.recorder(predictor, observations, observations_mib, keep_images)
        return model

    found = stamp(bundle)
    limits = Limits(image_bytes=max_bytes, request_bytes=max(Limits.request_bytes, max_bytes), images=max_images)
    service = Service(load(), limits, max_delay_s=max_delay_ms / 1000, capacity=queue)

    def say(url: str) -> None:
        print(f"{url} answers with {service.model}. Ctrl-C stops.", flush=True)

    with Watch(service, bundle, load, found) if reload and bundle.is_dir() else nullcontext():
        run(service, host=host, port=port, version=metadata.version("graft"), drain_s=drain_s, say=say)
    service.model.close()
    print(f"Stopped. Answered requests: {service.answered}.", flush=True)
