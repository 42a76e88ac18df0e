"""What the server refuses, and how it stays alive whatever is sent to it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from PIL import Image
from starlette.requests import Request

from components.inference.serving import protocol, uploads
from components.inference.serving.limits import Refused
from components.inference.serving.service import Loaded
from serving_support import LIMITS, Held, connect, post, running, same

REFUSED = {
    "an empty body": (b"", "image/png", 400, "holds no image"),
    "text": (b"hello", "image/png", 415, "no image of a format"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/png", 415, "PNG"),
    "another type": (b"{}", "application/json", 415, "application/json holds no image: send"),
    "curl's --data-binary": (b"\x89PNG", "application/x-www-form-urlencoded", 415, "Content-Type: image/jpeg"),
    "cut short": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "image/png", 422, "image"),
    "too many bytes": (b"\x89PNG" + b"\0" * 30_000, "image/png", 413, "30,004 bytes, but the limit is 20,000"),
    "a form without a boundary": (b"x", "multipart/form-data", 400, "needs a boundary"),
    "a form with a long boundary": (b"x", f"multipart/form-data; boundary={'x' * 300}", 400, "cannot be read"),
    "no form": (b"x", "multipart/form-data; boundary=q", 400, "form"),
    "an empty form": (b"--q--\r\n", "multipart/form-data; boundary=q", 400, "form"),
    "a form cut short": (
        b"--q\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\nxyz",
        "multipart/form-data; boundary=q",
        400,
        "ends before its last boundary",
    ),
    "fields that are no files": (
        b"--q\r\nContent-Disposition: form-data; name=image\r\n\r\nx.png\r\n" * 2 + b"--q--\r\n",
        "multipart/form-data; boundary=q",
        400,
        "-F image=@FILE",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_requests_are_refused_with_the_reason(name, client, here):
    body, kind, status, reason = REFUSED[name]
    answer = client.post("/predict", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert reason in answer.json()["error"]
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("query", ["top=0", "top=-1", "top=x", "top=1.5", "top=²", "top=", "features=maybe"])
def test_a_query_that_means_nothing_is_refused(query, client, image):
    answer = client.post(f"/predict?{query}", content=image())
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]


def test_features_of_a_model_that_has_none_are_refused(here, monkeypatch, client, image):
    monkeypatch.setattr(Loaded, "has_features", False)
    answer = client.post("/predict?features=true", content=image())
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "this model gives no features: it was exported without them",
    )


def test_a_bad_image_among_several_has_its_reason_in_its_place(client, predictor, image):
    good = [image(seed) for seed in range(2)]
    sent = [good[0], b"hello", b"\x89PNG" + b"\0" * 30_000, good[1]]
    answer = client.post("/predict", files=[("image", (str(n), content)) for n, content in enumerate(sent)])
    assert answer.status_code == 200
    found = answer.json()["predictions"]
    first, last = predictor.predict(good)
    assert same(found[0], first) and same(found[3], last)
    assert "format" in found[1]["error"] and "20,000 bytes" in found[2]["error"]


def test_too_many_pixels_are_refused_before_they_are_decoded(client, image):
    bomb = Image.new("1", (3000, 3000))
    stream = io.BytesIO()
    bomb.save(stream, "PNG")
    assert len(stream.getvalue()) < 20_000
    answer = client.post("/predict", content=stream.getvalue())
    assert answer.status_code == 413
    assert "3000 × 3000 pixels, but the limit is 40,000" in answer.json()["error"]


def test_too_many_images_or_bytes_in_a_form_are_refused(client, image):
    few = image(side=10)
    answer = client.post("/predict", files=[("image", (str(n), few)) for n in range(6)])
    assert (answer.status_code, answer.json()["error"]) == (413, "the request has more than 5 images, the limit")
    answer = client.post("/predict", files=[("image", (str(n), b"\0" * 19_000)) for n in range(4)])
    assert answer.status_code == 413
    assert "limit is 60,000" in answer.json()["error"]


def test_bytes_are_counted_while_they_arrive(here):
    """A body without a length: the answer comes while it is still being sent."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 10**9:
            sent += 10_000
            yield b"\0" * 10_000

    with contextlib.suppress(httpx.WriteError):
        answer = post(here, endless(), headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert sent < 2e8
    assert here.service.limits == LIMITS


@pytest.mark.parametrize(
    ("kind", "head", "taken"), [("image/png", b"\x89PNG", 20), ("multipart/form-data; boundary=q", b"--q\r\n", 60)]
)
def test_no_more_is_taken_than_the_limit(kind, head, taken):
    """In thousands of bytes, of a body that would never end."""
    chunks = 0

    async def receive() -> dict:
        nonlocal chunks
        chunks += 1
        head_of_part = b'Content-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
        first = (head + head_of_part) if head.startswith(b"--") else head
        return {"type": "http.request", "body": (first if chunks == 1 else b"").ljust(1000, b"\0"), "more_body": True}

    request = Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, receive)
    receiver = uploads.Receiver(LIMITS)
    with pytest.raises(Refused) as refused:
        asyncio.run(receiver.read(request))
    assert (refused.value.status, chunks, receiver.held) == (413, taken + 1, 0)


def talk(url: str, *pieces: bytes, wait_for: bytes = b"") -> bytes:
    """Sends the pieces, the last one after `wait_for` came, and receives until the server closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        found = b""
        for number, piece in enumerate(pieces):
            while number == len(pieces) - 1 and wait_for not in found:
                found += connection.recv(65536)
            connection.sendall(piece)
        while chunk := connection.recv(65536):
            found += chunk
    return found


def test_a_client_that_asks_first_is_not_asked_for_a_body_that_is_too_large(here):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 999999\r\n"
    found = talk(here.url, head + b"Expect: 100-continue\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in found


def test_slow_clients_are_sent_away(here, monkeypatch):
    start = time.monotonic()
    found = talk(here.url, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nslow")
    assert found.startswith(b"HTTP/1.1 408 ")
    assert json.loads(found.partition(b"\r\n\r\n")[2]) == {"error": "the request did not arrive in time"}
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    assert talk(here.url) == b""
    assert talk(here.url, b"POST /pre") == b""
    # Also between two requests of one connection.
    found = talk(here.url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /heal", wait_for=b"alive")
    assert found.count(b"HTTP/1.1 ") == 1
    assert time.monotonic() - start < 5


def test_endless_headers_are_cut_off(here):
    with contextlib.suppress(ConnectionError):
        found = talk(here.url, b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 200)
        assert not found.startswith(b"HTTP/1.1 200")


def test_a_full_queue_answers_503_and_loses_nothing(predictor, image):
    held = Held(predictor)
    with running(held, capacity=3) as here, ThreadPoolExecutor(3) as pool, connect(here.url) as client:
        held.gate.clear()
        waiting = [pool.submit(post, here, image(seed)) for seed in range(3)]
        while here.service._batcher.accepted < 3:
            time.sleep(0.002)
        refused = [
            client.post("/predict", content=image()),
            client.post("/predict", files=[("image", ("1", image())), ("image", ("2", image()))]),
        ]
        for answer in refused:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "3 images are waiting" in answer.json()["error"]
        assert client.get("/readyz").status_code == 200
        held.gate.set()
        expected = predictor.predict([image(seed) for seed in range(3)])
        for answer, one in zip(waiting, expected, strict=True):
            assert same(answer.result().json(), one)
        assert client.post("/predict", content=image()).status_code == 200


def test_memory_for_bodies_is_bounded(predictor, image):
    content = image()
    tight = replace(LIMITS, held_bytes=len(content) + 10)
    held = Held(predictor)
    with running(held, tight) as here, ThreadPoolExecutor(1) as pool:
        held.gate.clear()
        first = pool.submit(post, here, content)
        while not here.service._batcher.accepted:
            time.sleep(0.002)
        refused = post(here, content)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "memory" in refused.json()["error"]
        held.gate.set()
        assert first.result().status_code == 200
        assert post(here, content).status_code == 200


def test_a_model_that_fails_fails_only_that_batch(predictor, image, caplog):
    white = io.BytesIO()
    Image.new("RGB", (30, 30), "white").save(white, "PNG")
    with running(Held(predictor)) as here, connect(here.url) as client:
        assert client.post("/predict", content=image()).status_code == 200
        failed = client.post("/predict", content=white.getvalue())
        assert (failed.status_code, list(failed.json())) == (500, ["error"])
        assert "white" not in failed.text and "white" in caplog.text
        assert client.post("/predict", content=image()).status_code == 200


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut out, doubled or cut off."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(found) + 1)
        action = rng.randrange(4)
        if action == 0:
            found[place : place + 1] = rng.randbytes(1)
        elif action == 1:
            del found[place : place + rng.randint(1, 40)]
        elif action == 2:
            found[place:place] = found[max(0, place - rng.randint(1, 40)) : place]
        else:
            found = found[: max(place, 1)]
    return bytes(found)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged files
def test_whatever_is_sent_it_answers_and_lives(client, image):
    rng = random.Random(5)
    form = httpx.Request("POST", "http://x", files=[("image", (str(n), image(n, side=16))) for n in range(3)])
    form.read()
    bodies = [(image(n, kind), "image/x") for n, kind in enumerate(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])]
    bodies += [(form.content, form.headers["content-type"])] * 4
    statuses = set()
    for number in range(250):
        body, kind = bodies[number % len(bodies)]
        sent = rng.randbytes(rng.randrange(400)) if number % 7 == 0 else mutated(body, rng)
        kind = mutated(kind.encode(), rng).decode("latin-1") if number % 11 == 0 else kind
        headers = {"Content-Type": re.sub(r"[^ -~]", "?", kind).strip()}
        query = rng.choice(["", "", "?top=1", "?features=true", "?top=%00", "?features=%FF&top=9" * 3])
        answer = client.post(f"/predict{query}", content=sent, headers=headers)
        statuses.add(answer.status_code)
        found = answer.json()
        assert answer.status_code in (200, 400, 413, 415, 422), (answer.status_code, sent, headers)
        assert ("error" in found) == (answer.status_code != 200)
    assert {200, 400, 415, 422} <= statuses
    assert client.get("/readyz").status_code == 200
