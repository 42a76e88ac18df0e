"""How the server starts, and how it stops without losing a request."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from components.errors import GraftError, MachineError, ParamsError
from components.inference.serving import server, uploads
from components.inference.serving.app import build
from components.inference.serving.service import Loaded, Service
from graft.commands.serve import serve
from serving_support import LIMITS, ROOT, Held, command, connect, post, running


def test_readyz_turns_before_the_port_closes_and_waiting_requests_are_answered(predictor, image):
    held = Held(predictor)
    with running(held, drain_s=0.6) as here, ThreadPoolExecutor(1) as pool, connect(here.url) as client:
        held.gate.clear()
        waiting = pool.submit(post, here, image())
        while not here.service._batcher.accepted:
            time.sleep(0.002)
        here.stop()
        stopping = client.get("/readyz")
        assert (stopping.status_code, stopping.json(), stopping.headers["connection"]) == (
            503,
            {"status": "stopping"},
            "close",
        )
        assert client.get("/healthz").status_code == 200
        with pytest.raises(httpx.TransportError):
            while True:
                client.get("/healthz")
        held.gate.set()
        assert waiting.result().status_code == 200


def test_before_it_has_started_it_is_not_ready(predictor):
    service = Service(Loaded(predictor, max_batch=4), LIMITS, max_delay_s=0.005, capacity=8)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(build(service, "1"))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/readyz")

    found = asyncio.run(ask())
    assert (found.status_code, found.json()) == (503, {"status": "starting"})


def test_sigterm_under_load_loses_no_accepted_request(exported, image):
    content = image()
    answered, broken = [], []

    def client(url: str) -> None:
        """Asks again and again until the port is closed."""
        with connect(url) as one:
            while True:
                try:
                    answer = one.post("/predict", content=content)
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    broken.append(repr(error))
                else:
                    answered.append(answer.status_code)

    with command(str(exported), "--provider", "cpu", "--drain-s", "0.3") as (process, url):
        clients = [threading.Thread(target=client, args=(url,)) for _ in range(8)]
        for thread in clients:
            thread.start()
        while len(answered) < 50:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for thread in clients:
            thread.join(20)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert set(answered) == {200}
    # What the server counted, the clients got: no answer was lost on the way.
    assert out.strip() == f"Stopped. Answered requests: {len(answered)}."
    # A connection that the closing port cut off before its request was read is no accepted request.
    assert len(broken) <= len(clients), broken


def test_head_and_body_of_an_answer_leave_without_delay():
    """asyncio turns Nagle's algorithm off for sockets of this protocol only."""
    with server.listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_port_that_is_taken_is_an_error():
    with server.listen("127.0.0.1", 0) as taken, pytest.raises(MachineError, match="cannot listen on 127"):
        taken.listen()
        server.listen("127.0.0.1", taken.getsockname()[1])


def test_the_command_refuses_what_cannot_be(exported, tmp_path, monkeypatch):
    with pytest.raises(ParamsError, match="--max-images is 9, but no request could have more than --queue, 8"):
        serve(exported, max_images=9, queue=8)
    with pytest.raises(MachineError, match="'none' is not known"):
        serve(exported, provider="none")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GraftError, match="there is no champion"):
        serve()


def test_without_its_packages_the_command_says_what_to_install(exported, monkeypatch):
    monkeypatch.delitem(sys.modules, "components.inference.serving.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MachineError, match=r"needs the package 'uvicorn': install graft\[serve\]"):
        serve(exported)


def test_serving_imports_no_torch():
    code = (
        "import sys, json, components.inference.serving.server, graft.cli;"
        "print(json.dumps(sorted({'torch', 'torchvision', 'onnx', 'mlflow', 'prefect', 'dvc'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []
    assert uploads.DISCARD_S < 10
