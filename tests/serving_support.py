"""A server in a thread of the test's own process, and clients for it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest

from components.inference.predictor import Predictor
from components.inference.serving import server
from components.inference.serving.limits import Limits
from components.inference.serving.service import Loaded, Service

ROOT = Path(__file__).resolve().parents[1]
LIMITS = Limits(image_bytes=20_000, request_bytes=60_000, images=5, read_s=0.5)
PIXELS = 40_000
NO_TLS = httpx.create_ssl_context()
"""One for all clients: making it takes longer than all that they do."""


def connect(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, verify=NO_TLS, trust_env=False)


def post(here: Running, content, **more) -> httpx.Response:
    with connect(here.url) as one:
        return one.post("/predict", content=content, **more)


class Running(NamedTuple):
    url: str
    service: Service
    stop: object


@contextlib.contextmanager
def running(
    predictor, limits: Limits = LIMITS, capacity: int = 64, drain_s: float = 0.0, observer=None
) -> Iterator[Running]:
    """The server in a thread of this process. `predictor`: or what was made of one."""
    model = predictor if isinstance(predictor, Loaded) else Loaded(predictor, max_batch=4, observer=observer)
    service = Service(model, limits, max_delay_s=0.005, capacity=capacity)
    del predictor, model  # the server alone keeps it in memory
    started = threading.Event()
    with server.listen("127.0.0.1", 0) as listener:
        service.model.warm_up()
        one = server.Server(service, version="1", drain_s=drain_s, started=started.set)
        thread = threading.Thread(target=one.run, args=([listener],))
        thread.start()
        try:
            assert started.wait(10)
            yield Running(server.url(listener), service, lambda: one.handle_exit(signal.SIGTERM, None))
        finally:
            one.handle_exit(signal.SIGTERM, None)
            thread.join(10)
            assert not thread.is_alive()


def same(found: dict, expected) -> bool:
    return found["class"] == expected.class_name and found["probabilities"] == pytest.approx(
        expected.probabilities, abs=1e-5
    )


class Held:
    """A predictor that answers only when it is let, and fails for one class of images."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Event()

    def __getattr__(self, name: str):
        return getattr(self._predictor, name)

    def run(self, batch: np.ndarray, names=None) -> dict[str, np.ndarray]:
        self.running.set()
        self.gate.wait(10)
        if (batch == 255).all(axis=(1, 2, 3)).any():
            raise RuntimeError("white")
        return self._predictor.run(batch, names)


@contextlib.contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """`graft serve` as a process of its own, once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "graft", "serve", *arguments, "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+) answers with \S+ \(fp32 on cpu\)", line)
        assert found, line + (process.communicate()[1] if not line else "")
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()
