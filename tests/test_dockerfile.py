"""No Docker engine is needed to see that every path the Dockerfile copies exists and every command it names is real."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MADE_BY_THE_PIPELINE = {"models/champion"}
# Programs that the base image (Debian with Python) has, and packages that bring others.
OF_THE_IMAGE = {"apt-get", "pip", "rm", "useradd"}
BROUGHT_BY = {"uv": "pip install", "dvc": "requirements.lock", "graft": "-e ."}


def instructions() -> dict[str, list[tuple[str, str]]]:
    """target -> (instruction, arguments), a target's parents' first, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    stages: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in joined:
        word, _, rest = line.partition(" ")
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            current = stages[name] = list(stages.get(parent, []))
        current.append((word, rest.strip()))
    return stages


def commands(target: str) -> list[list[str]]:
    """Every command that building the target runs."""
    runs = [rest for word, rest in instructions()[target] if word == "RUN"]
    return [shlex.split(part) for run in runs for part in run.split("&&")]


def test_there_are_the_three_targets() -> None:
    assert {"train", "predict", "serve"} <= set(instructions())


def test_every_path_that_is_copied_exists_and_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*"
    for target in ("train", "predict", "serve"):
        for word, rest in instructions()[target]:
            if word == "COPY":
                for source in rest.split()[:-1]:
                    assert source in allowed, f".dockerignore keeps {source} out"
                    assert source in MADE_BY_THE_PIPELINE or (ROOT / source).exists(), source


@pytest.mark.parametrize("target", ["train", "predict", "serve"])
def test_every_command_is_real(target: str) -> None:
    for command in commands(target):
        program = command[0]
        if program in OF_THE_IMAGE:
            continue
        assert program in BROUGHT_BY, f"nothing in the image brings {program}"
        assert any(BROUGHT_BY[program] in " ".join(earlier) for earlier in commands(target)), program


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("train", ["run"]),
        ("predict", ["predict"]),
        ("serve", ["serve", "--host", "0.0.0.0", "--port", "8000"]),
    ],
)
def test_the_entry_point_is_a_command_of_graft(target: str, arguments: list[str]) -> None:
    entry = [rest for word, rest in instructions()[target] if word == "ENTRYPOINT"][-1]
    default = [rest for word, rest in instructions()[target] if word == "CMD"]
    words = eval(entry) + (eval(default[-1]) if default else [])
    assert words == ["graft", *arguments]
    scripts = {script.name for script in metadata.entry_points(group="console_scripts")}
    assert "graft" in scripts
    shown = subprocess.run([sys.executable, "-m", "graft", *arguments, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0


@pytest.mark.parametrize(("target", "package"), [("predict", "."), ("serve", ".[serve]")])
def test_what_answers_runs_as_an_ordinary_user_and_installs_no_torch(target: str, package: str) -> None:
    users = [rest for word, rest in instructions()[target] if word == "USER"]
    assert users and users[-1] not in ("root", "0")
    installs = [command for command in commands(target) if "install" in command]
    assert installs == [["pip", "install", "--no-cache-dir", "--constraint", "requirements.lock", package]]
    wanted = [line for line in metadata.requires("graft") or [] if "extra ==" not in line or 'extra == "serve"' in line]
    assert not [line for line in wanted if re.match(r"(torch|torchvision|onnx|mlflow|prefect|dvc)\b", line)]
    assert any(line.startswith("onnxruntime") for line in wanted)


def test_serve_s_health_is_asked_of_the_port_that_it_opens() -> None:
    """The very command, against a server of its kind: it succeeds, and fails where nothing answers."""
    (check,) = [rest for word, rest in instructions()["serve"] if word == "HEALTHCHECK"]
    (port,) = [rest for word, rest in instructions()["serve"] if word == "EXPOSE"]
    program, *arguments = json.loads(check.partition("CMD ")[2])
    assert program == "python"

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = [argument.replace(f":{port}/", f":{server.server_port}/") for argument in arguments]
        assert here != arguments
        assert subprocess.run([sys.executable, *here]).returncode == 0
        server.shutdown()
    assert subprocess.run([sys.executable, *here], capture_output=True).returncode != 0


@pytest.mark.parametrize(
    ("target", "module"),
    [("predict", "components.inference.predictor"), ("serve", "components.inference.serving.server")],
)
def test_what_is_copied_is_all_that_the_command_imports(target: str, module: str) -> None:
    copied = {rest.split()[0] for word, rest in instructions()[target] if word == "COPY"}
    code = (
        f"import sys\nfrom graft.cli import app\nimport {module}\n"
        "print(*{m.split('.')[0] for m in sys.modules if m.split('.')[0] in ('components', 'flows', 'graft')})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(shown.stdout.split()) <= copied
