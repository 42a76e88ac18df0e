"""A session runs where it was asked to, gives what the graph says, and refuses in one line what it cannot do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from components import machine
from components.deployment import onnx_export, onnx_file
from components.errors import DataError, MachineError
from components.runtimes import cuda, providers
from components.runtimes import session as sessions
from components.runtimes.options import Options
from components.runtimes.session import OnnxSession, open_session, present, resolve
from components.types import Preprocess

ROOT = Path(__file__).resolve().parents[2]
ONE = Options(threads=1)
SIDE = 28
"""Of the images that the exported model stores."""
openvino = pytest.mark.skipif("openvino" not in present(), reason="openvino is not installed")
without_gpu = pytest.mark.skipif(bool(machine.gpus()), reason="this machine has a GPU")
local = pytest.mark.parametrize("provider", ["cpu", pytest.param("openvino", marks=openvino)])


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(exported, batch) -> dict[str, np.ndarray]:
    """By onnxruntime itself, with nothing set."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": batch}), strict=True))


@local
@pytest.mark.parametrize("native", [None, SIDE])
def test_answers_are_those_of_onnxruntime_itself(exported, batch, expected, provider, native):
    session = open_session(exported, provider, ONE, native=native)
    assert session.provider == provider
    assert session.outputs == tuple(expected)
    answers = session.run({"image": batch})
    assert list(answers) == list(expected)
    for name, values in answers.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5)
    only = session.run({"image": batch[:1]}, ["probabilities"])
    assert list(only) == ["probabilities"]
    np.testing.assert_allclose(only["probabilities"], expected["probabilities"][:1], rtol=1e-4, atol=1e-5)


@local
def test_the_metadata_of_the_file_is_the_session_s(exported, provider):
    facts = json.loads(open_session(exported, provider, ONE).metadata["graft"])
    assert facts["classes"] == {"label": ["cat", "dog", "owl"]}


@local
def test_content_will_do_for_a_file(exported, batch, expected, provider):
    answers = open_session(exported.read_bytes(), provider, ONE).run({"image": batch})
    np.testing.assert_allclose(answers["logits"], expected["logits"], rtol=1e-4, atol=1e-5)


@local
def test_a_session_for_one_size_takes_no_other(exported, provider):
    with pytest.raises(DataError, match="20"):
        open_session(exported, provider, ONE, native=SIDE).run({"image": np.zeros((1, 20, SIDE, 3), np.uint8)})


@local
@pytest.mark.parametrize(
    ("feed", "names"),
    [
        ({}, None),
        ({"picture": np.zeros((1, SIDE, SIDE, 3), np.uint8)}, None),
        ({"image": np.zeros((1, SIDE, SIDE, 3), np.float32)}, None),
        ({"image": np.zeros((1, SIDE, SIDE, 3), np.uint8)}, ["logit"]),
    ],
    ids=["nothing", "other name", "other type", "unknown output"],
)
def test_what_the_model_does_not_take_is_refused_in_one_line(exported, provider, feed, names):
    with pytest.raises(DataError) as caught:
        open_session(exported, provider, ONE).run(feed, names)
    assert "\n" not in str(caught.value)


@local
def test_threads_may_share_a_session(exported, provider):
    """Each thread its own images, none another's answers."""
    session = open_session(exported, provider, ONE, native=SIDE)
    batches = [np.random.default_rng(seed).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8) for seed in range(8)]
    alone = [session.run({"image": images})["logits"] for images in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda number: session.run({"image": batches[number % 8]})["logits"], range(64)))
    for number, logits in enumerate(together):
        np.testing.assert_array_equal(logits, alone[number % 8])


@local
@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x00" * 100], ids=["empty", "text", "zeros"])
def test_garbage_is_refused_in_one_line(content, provider, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    for model in (content, tmp_path / "model.onnx"):
        with pytest.raises(DataError) as caught:
            open_session(model, provider)
        assert "\n" not in str(caught.value)
    assert "model.onnx" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no model at .*none\.onnx"):
        open_session(tmp_path / "none.onnx", "cpu")


def test_options_reach_onnxruntime(exported):
    session = open_session(exported, "cpu", Options(threads=2, spinning=True, arena=False, optimization="basic"))
    assert isinstance(session, OnnxSession)
    assert session.session._enable_fallback is False  # a failing call must not be answered by another provider
    settings = session.session.get_session_options()
    assert settings.intra_op_num_threads == 2
    assert settings.enable_cpu_mem_arena is False
    assert settings.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    settings = sessions.session_options(Options(), None)
    assert settings.intra_op_num_threads == machine.physical_cores()
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threads": 0}, "threads is 0, but must be at least 1"),
        ({"optimization": "al"}, "optimization 'al' is not known; did you mean 'all'?"),
        ({"thread": 1}, "'thread' is not an option of a session; did you mean 'threads'?"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(wrong, message):
    with pytest.raises(MachineError) as caught:
        Options.from_dict(wrong)
    assert str(caught.value) == message


def test_options_survive_being_written_down():
    options = Options(threads=3, spinning=True, arena=False, optimization="extended")
    assert Options.from_dict(json.loads(json.dumps(options.to_dict()))) == options


@pytest.mark.parametrize(
    ("provider", "precision", "message"),
    [
        ("cudaa", "fp32", "provider 'cudaa' is not known; did you mean 'cuda'?"),
        ("cpu", "fp16", "cpu does not run precision 'fp16'; choose from: fp32, int8"),
        ("openvino", "bf61", "openvino does not run precision 'bf61'; did you mean 'bf16'?"),
    ],
)
def test_an_unknown_route_is_refused(exported, provider, precision, message):
    with pytest.raises(MachineError) as caught:
        open_session(exported, provider, precision=precision)
    assert str(caught.value) == message


@without_gpu
def test_auto_is_the_cpu_without_a_gpu():
    assert resolve("auto") == "cpu"
    assert "cuda" not in present()


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has NVIDIA's driver")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_s_provider_names_the_missing_driver(exported, provider):
    with pytest.raises(MachineError) as caught:
        open_session(exported, provider)
    assert caught.value.exit_code == 3
    assert f"provider {provider!r} cannot run here: libcuda.so.1 is missing" in str(caught.value)


@pytest.mark.parametrize(("provider", "library"), [("cuda", "libcublas"), ("tensorrt", "libnvinfer.so.10")])
def test_the_missing_library_is_named_with_the_way_to_get_it(provider, library):
    """A driver is there, but not what the provider is linked with; asked in a process that has not loaded it yet."""
    hide = "onnxruntime.preload_dlls = lambda: None;" if provider == "cuda" else ""
    code = (
        f"import onnxruntime; {hide} from components.runtimes import providers;"
        f"providers._driver = lambda: None; print(providers.missing({provider!r}))"
    )
    environment = {"PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}  # and so no LD_LIBRARY_PATH
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=True
    )
    if "installed without it" in done.stdout or done.stdout == "None\n":
        pytest.skip("this onnxruntime has no GPU provider, or the libraries are installed for all programs")
    assert done.stdout.startswith(library)
    assert "pip install" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_openvino_names_its_package_where_it_is_not_installed(exported, monkeypatch):
    monkeypatch.setattr(providers.importlib.util, "find_spec", lambda name: None)
    assert "openvino" not in present()
    with pytest.raises(MachineError, match=r"'openvino' is not installed: pip install 'graft\[openvino\]'"):
        open_session(exported, "openvino")


@without_gpu
@pytest.mark.parametrize("native", [None, SIDE])
def test_a_provider_that_onnxruntime_would_replace_is_refused(exported, monkeypatch, native):
    """Suppose that nothing is seen to be missing: onnxruntime alone would answer from the CPU without a word."""
    monkeypatch.setattr(sessions, "missing", lambda provider: None)
    with pytest.raises(MachineError, match="cannot load CUDAExecutionProvider here"):
        open_session(exported, "cuda", native=native)


@without_gpu
@pytest.mark.parametrize(("inputs", "refused"), [(["image"], True), (["image", "support_features"], False)])
def test_nodes_on_the_cpu_are_refused_unless_a_support_set_asks_for_them(inputs, refused, exported, monkeypatch):
    """As onnxruntime does on a GPU with a graph that computes with its batch's size."""

    def load(model, settings, providers):
        if settings.get_session_config_entry("session.disable_cpu_ep_fallback") == "1":
            raise MachineError("nodes are assigned to the CPU")
        given = [SimpleNamespace(name=name) for name in inputs]
        told = SimpleNamespace(custom_metadata_map={})
        return SimpleNamespace(get_inputs=lambda: given, get_outputs=list, get_modelmeta=lambda: told)

    monkeypatch.setattr(sessions, "missing", lambda provider: None)
    monkeypatch.setattr(sessions, "load", load)
    monkeypatch.setattr(cuda, "verify", lambda *_: None)
    if refused:
        with pytest.raises(MachineError, match="nodes are assigned to the CPU"):
            open_session(exported, "cuda", native=SIDE)
    else:
        assert isinstance(open_session(exported, "cuda", native=SIDE), sessions.OnnxSession)


@openvino
def test_a_model_that_is_replaced_while_it_is_in_use_answers_on(exported, batch, expected, tmp_path):
    """What OpenVINO compiles for several images comes later, but out of what was loaded."""
    file = tmp_path / "model.fp32.onnx"
    shutil.copyfile(exported, file)
    session = open_session(file, "openvino", ONE, native=SIDE)
    file.write_bytes(_brightest(SIDE))
    found = session.run({"image": batch})["logits"]
    np.testing.assert_allclose(found, expected["logits"], rtol=1e-4, atol=1e-5)


@openvino
def test_openvino_computes_in_the_precision_that_was_asked_for(exported, batch, expected):
    """Its own default is bf16 where the processor has it."""
    fp32 = open_session(exported, "openvino", ONE, precision="fp32").run({"image": batch})["logits"]
    np.testing.assert_allclose(fp32, expected["logits"], rtol=1e-4, atol=1e-5)
    try:
        bf16 = open_session(exported, "openvino", ONE, precision="bf16").run({"image": batch})["logits"]
    except MachineError as error:
        assert "bf16" in str(error)
    else:
        difference = np.abs(bf16 - expected["logits"]).max() / np.ptp(expected["logits"])
        assert 1e-4 < difference < 0.05  # eight bits of mantissa, not 24


@openvino
def test_openvino_resizes_nothing_rather_than_wrongly(exported):
    with pytest.raises(MachineError, match=r"cannot resize images as training did: it takes them at 28 pixels, not 40"):
        open_session(exported, "openvino", native=40)
    with pytest.raises(DataError, match="40"):
        open_session(exported, "openvino").run({"image": np.zeros((1, 40, 40, 3), np.uint8)})


def _brightest(size: int) -> bytes:
    """A whole model whose logits are the largest normalised value of each colour."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in (("normalised", [3, size, size]), ("network_logits_label", [3]))
    ]
    nodes = [
        helper.make_node("GlobalMaxPool", ["normalised"], ["brightest"]),
        helper.make_node("Flatten", ["brightest"], ["network_logits_label"]),
    ]
    graph = helper.make_graph(nodes, "brightest", values[:1], values[1:])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    preprocess = Preprocess(size=size, resize=size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
    classes = {"label": ["red", "green", "blue"]}
    whole = onnx_export.assemble(network, preprocess=preprocess, classes=classes, temperature=None, facts={})
    return onnx_file.content(whole)


@local
@pytest.mark.parametrize("native", [None, 40])
def test_images_of_the_stored_size_are_not_resized(provider, native):
    """OpenVINO by itself takes the wrong side of the branch in such a graph, once the size is fixed."""
    images = np.random.default_rng(3).integers(0, 200, (2, 40, 40, 3), np.uint8)
    brightest = images.reshape(2, -1, 3).max(1) / 255
    logits = open_session(_brightest(40), provider, ONE, native=native).run({"image": images})["logits"]
    np.testing.assert_allclose(logits, (brightest - [0.4, 0.5, 0.6]) / [0.2, 0.25, 0.5], rtol=1e-5, atol=1e-5)


@openvino
def test_openvino_reports_to_nobody(exported):
    """Importing the package as it comes sends an event over the network."""
    code = (
        "import sys; from pathlib import Path; from components.runtimes.session import open_session;"
        f"open_session(Path({str(exported)!r}), 'openvino');"
        "print([name for name in sys.modules if 'telemetry' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n"
