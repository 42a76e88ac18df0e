"""graft predict: classify images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from components import paths
from components.errors import GraftError


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with all probabilities.")] = False,
    bundle: Annotated[Path, typer.Option(help="A bundle or an .onnx file.")] = paths.CHAMPION,
    provider: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Classify images with the champion."""
    from components.inference.predictor import Predictor

    if bundle == paths.CHAMPION and not bundle.exists():
        raise GraftError(f"there is no champion at {bundle}: make one with `graft run`, or give --bundle")
    predictor = Predictor(bundle, provider=provider)
    width = max(len(str(image)) for image in images)
    for image, answer in zip(images, predictor.predict(images), strict=True):
        if as_json:
            record = {"image": str(image), "class": answer.class_name, "probability": answer.probability}
            print(json.dumps({**record, "probabilities": answer.probabilities}, ensure_ascii=False), flush=True)
        else:
            print(f"{image!s:<{width}}  {answer.class_name}  {answer.probability:.1%}", flush=True)
