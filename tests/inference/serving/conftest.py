"""One server for the tests that do it no harm."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from components.inference.predictor import Predictor
from serving_support import PIXELS, connect, running


@pytest.fixture(scope="module")
def predictor(exported):
    return Predictor.load(exported, provider="cpu", max_pixels=PIXELS)


@pytest.fixture(scope="module")
def here(predictor):
    with running(predictor) as found:
        yield found


@pytest.fixture(scope="module")
def client(here):
    with connect(here.url) as found:
        yield found


@pytest.fixture(scope="module")
def image(picture):
    """(seed, format, side) -> a file's content."""

    def make(seed: int = 0, form: str = "PNG", side: int = 40) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(picture(side, side + 7, seed=seed)).save(stream, form)
        return stream.getvalue()

    return make
