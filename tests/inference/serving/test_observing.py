"""What the server answers is observed: each image that got an answer, once, with the features of that answer."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from components.deployment import bundle
from components.errors import ParamsError
from components.inference.predictor import Predictor
from components.monitoring.observations import Observations
from graft import observing
from graft.commands.serve import serve
from serving_support import PIXELS, ROOT, connect, running


def test_every_answered_image_is_observed_and_nothing_else(colours, image, tmp_path):
    predictor = Predictor.load(colours(), provider="cpu", max_pixels=PIXELS)
    store = tmp_path / "seen"
    recorder = observing.recorder(predictor, store, keep_images_mib=1)
    sent = [image(seed, form) for seed, form in enumerate(["PNG", "JPEG", "BMP"])]
    with running(predictor, observer=recorder) as here, connect(here.url) as client:
        told = [client.post("/predict?features=true", content=content).json() for content in sent]
        assert "features" not in client.post("/predict", content=sent[0]).json()
        assert client.post("/predict", content=b"no image").status_code == 415
        form = [("image", ("1", sent[1])), ("image", ("2", b"no image"))]
        assert len(client.post("/predict", files=form).json()["predictions"]) == 2
    window = Observations.open(store).recent(100, recorder.folder.name)
    assert [path and path.read_bytes() for path in window.images] == [*sent, sent[0], sent[1]]
    np.testing.assert_allclose(window.features[:3], [answer["features"] for answer in told], rtol=1e-6)
    np.testing.assert_allclose(window.features[3:], window.features[:2], rtol=1e-4, atol=1e-6)
    classes = predictor.classes[predictor.task]
    assert [classes[label] for label in window.label[:3]] == [answer["class"] for answer in told]
    np.testing.assert_allclose(window.confidence[:3], [answer["probability"] for answer in told], rtol=1e-6)


def test_a_full_disk_costs_no_answer(colours, image, tmp_path):
    """A whole server, whose files the system does not let grow any more, and then does again."""
    folder, store = colours(), tmp_path / "seen"
    command = ["serve", str(folder), "--port", "0", "--provider", "cpu", "--drain-s", "0", "--observe"]
    process = subprocess.Popen(
        [sys.executable, "-m", "graft", *command, "--observations", str(store)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    url = re.match(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert url is not None
    with connect(url[0]) as client:

        def post(count: int) -> list[int]:
            return [client.post("/predict", content=image()).status_code for _ in range(count)]

        assert post(2) == [200] * 2
        size = next(store.glob("*/*.rows")).stat().st_size
        limits = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 1, limits[1]))
        assert post(5) == [200] * 5
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
        assert post(3) == [200] * 3
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "Stopped. Answered requests: 10.\n")
    assert err.splitlines() == [
        f"graft: observations cannot be written to {store} (File too large); answers go on without them",
        f"graft: observations are written to {store} again; 5 answers were not recorded so far",
    ]
    (seen,) = Observations.open(store).summary()
    assert seen["observations"] == 5
    assert seen["bundle"] == bundle.identity(bundle.read(folder))


def test_how_to_observe_needs_observe(colours):
    with pytest.raises(ParamsError, match="--keep-images says how to observe, but without --observe nothing is"):
        serve(colours(), keep_images=5.0)
