"""A bundle is asked before it may serve: images as clients send them, through the server's own code.

What it answers must be what the bundle that was judged answers to the same pixels. A copy that was torn, a file that
another replaced, a route that does not load on this machine and settings that change the answers are found here, while
the champion still serves.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from components import paths
from components.data import prepared
from components.errors import DataError, GraftError, ParityError
from components.inference.predictor import BATCH_SIZES, Failure, Prediction, Predictor

SAMPLES = 16
SAME_PIXELS, RESIZED = 1e-3, 0.05
"""How far a probability may lie from the one of the bundle that was judged: through the same sums only rounding
differs; an image of another size is resized by the predictor in the one case and inside the graph in the other, where
pixels may differ by a grey level."""
BOUNDARY = "graft-sample"


def samples(root: Path) -> np.ndarray:
    """uint8 [n, S, S, 3]: prepared images that are held out, evenly spread over them, at most SAMPLES; where the
    workspace has none, or is about to make them anew, gradients that are no image of anything."""
    with suppress(DataError):
        target = prepared.read(root / paths.PREPARED).target
        rows = target.rows("val")
        if len(rows):
            return np.asarray(target.pixels[rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLES).astype(int))]])
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    turned = [np.rot90(np.broadcast_to(ramp[None, :, None], (64, 64, 3)), turns) for turns in range(4)]
    return np.ascontiguousarray(np.stack(turned))


def verify(folder: Path, judged: Path, images: np.ndarray) -> list[Prediction]:
    """What the bundle in `folder` answers as a server; raises ParityError when that is not what the one in `judged`
    answers by the same route, or when it does not answer. `images`: as `samples` gives them."""
    try:
        predictor = Predictor.load(folder)
        route, options = predictor.model.selection.route, predictor.model.selection.options
        original = Predictor.load(judged, provider=route.provider, precision=route.precision, options=options)
        served = serve(predictor, images)
        expected = original.run(images, [original.output("probabilities", original.task)])
    except GraftError as error:
        raise ParityError(f"{folder} does not serve: {error}") from error
    names = original.classes[original.task]
    native = images.shape[1] == predictor.preprocess.resize
    tolerance = SAME_PIXELS if native else RESIZED
    for number, (prediction, row) in enumerate(zip(served, next(iter(expected.values())), strict=True)):
        told = np.array([prediction.probabilities.get(name, np.nan) for name in names])
        if not np.abs(told - row).max() <= tolerance:
            best = int(row.argmax())
            raise ParityError(
                f"{folder} answers sample image {number} with {prediction.class_name!r} ({prediction.probability:.3f}),"
                f" but the bundle that was judged with {names[best]!r} ({row[best]:.3f})"
            )
    return served


def confirm(folder: Path, images: np.ndarray, before: Sequence[Prediction]) -> None:
    """Raises ParityError when the bundle in `folder`, loaded anew, does not answer as it did `before`."""
    try:
        served = serve(Predictor.load(folder), images)
    except GraftError as error:
        raise ParityError(f"{folder} does not serve: {error}") from error
    for number, (now, then) in enumerate(zip(served, before, strict=True)):
        if now.class_name != then.class_name or abs(now.probability - then.probability) > SAME_PIXELS:
            raise ParityError(
                f"{folder} answers sample image {number} with {now.class_name!r}, and with {then.class_name!r} before "
                "it was put there"
            )


def serve(predictor: Predictor, images: np.ndarray) -> list[Prediction]:
    """One prediction for each of the images, as PNG files. Through the server's form, queue and batches where the
    extra `serve` is installed; else by the predictor alone, which is what such a machine can serve with."""
    files = [_png(image) for image in images]
    try:
        from components.inference.serving.service import Loaded, Question, Service
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "components":
            raise
        return [_sound(found) for found in predictor.predict(files)]
    from components.inference.serving.forms import Form
    from components.inference.serving.limits import Limits

    form = Form(BOUNDARY.encode(), Limits())
    form.feed(_form(files))
    received = form.images()
    model = Loaded(predictor, max_batch=BATCH_SIZES[predictor.provider])
    service = Service(model, Limits(), max_delay_s=0.005, capacity=len(files))

    async def asked() -> list:
        service.start()
        try:
            return await service.answer(
                [Question(content, False) for content in received if isinstance(content, bytes)]
            )
        finally:
            await service.stop()

    answers = asyncio.run(asked())
    if len(answers) != len(files):
        raise DataError(f"of {len(files)} sample images {len(answers)} were answered")
    return [_sound(answer if isinstance(answer, Exception) else answer.prediction) for answer in answers]


def _sound(found: Prediction | Failure | Exception) -> Prediction:
    if isinstance(found, Prediction):
        return found
    raise DataError(f"a sample image was refused: {found.reason if isinstance(found, Failure) else found}")


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def _form(files: Sequence[bytes]) -> bytes:
    """multipart/form-data, as a client sends several images."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{number}.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for number, content in enumerate(files)
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
