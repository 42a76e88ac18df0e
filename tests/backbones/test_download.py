"""A file from the net is whole and right, or it is not there; and nobody is waited for without end."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.backbones.download import fetch, reach
from components.errors import MachineError

CONTENT = bytes(range(256)) * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:5000] if self.path in ("/short", "/stalls") else CONTENT)
        self.wfile.flush()
        if self.path == "/stalls":
            self.server.stalled.wait(20)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as found:
        found.stalled = threading.Event()
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.stalled.set()
        found.shutdown()


def test_a_file_is_fetched_whole(server, tmp_path):
    fetch(f"{server}/file", tmp_path / "folder" / "file.pth", sha256=SHA256[:8])
    assert (tmp_path / "folder" / "file.pth").read_bytes() == CONTENT
    assert len(list((tmp_path / "folder").iterdir())) == 1


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [
        ("short", SHA256[:8], "20600 bytes are missing"),
        ("stalls", SHA256[:8], "timed out"),
        ("file", "00000000", f"its sha256 begins with {SHA256[:8]} in place of 00000000"),
        ("missing", "", "does not exist"),
    ],
)
def test_anything_else_leaves_nothing_behind(server, tmp_path, path, sha256, message):
    with pytest.raises(MachineError, match=message):
        fetch(f"{server}/{path}", tmp_path / "file.pth", sha256=sha256, timeout_s=0.3)
    assert not list(tmp_path.iterdir())


def test_a_host_that_says_nothing_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(MachineError, match=r"did not answer within 0\.3 s|timed out"):
            fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/file", tmp_path / "file", sha256="", timeout_s=0.3)
    assert time.monotonic() - start < 5


def test_a_name_whose_lookup_never_ends_is_not_waited_for(tmp_path, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: ended.wait(20))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(MachineError, match=r"http://weights\.test/file did not answer within 0\.2 s"):
        reach("http://weights.test/file", timeout_s=0.2)
    ended.set()
