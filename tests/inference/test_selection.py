"""Which file of a bundle answers here and how, and which files are refused."""

from __future__ import annotations

import json
import math
import os

import onnx
import pytest
from onnx import TensorProto, helper

from components.errors import DataError, MachineError
from components.inference import selection
from components.inference.predictor import Predictor
from components.runtimes import machines
from components.runtimes.options import Options
from components.runtimes.providers import resolve
from components.runtimes.routes import Route
from predictor_support import ONE, SURE, answer, load


def _other_model(metadata: dict[str, str] | None = None) -> bytes:
    """A small valid ONNX model that Graft did not make."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_auto_is_fp32_where_nothing_was_tuned(colours, plain):
    predictor = load(colours(("fp32", "int8")))
    assert predictor.precision == "fp32"
    assert answer(predictor, plain(255, 0, 0)).probability == pytest.approx(SURE, abs=1e-6)


def test_a_precision_by_name_is_that_one(colours, plain):
    predictor = load(colours(("fp32", "int8")), precision="int8")
    assert predictor.precision == "int8"
    half = math.exp(2) / (math.exp(2) + 2)
    assert answer(predictor, plain(255, 0, 0)).probability == pytest.approx(half, abs=1e-6)


def test_auto_is_what_was_tuned_for_this_machine(colours):
    folder = colours(("fp32", "int8"))
    machines.write(folder, Route("int8", "cpu"), Options(threads=1, spinning=True), {})
    chosen = selection.select(folder, "auto", "auto", None)
    assert (chosen.file.name, str(chosen.route)) == ("model.int8.onnx", "int8@cpu")
    assert chosen.options == Options(threads=1, spinning=True)
    assert Predictor.load(folder).precision == "int8"
    assert str(selection.select(folder, "cpu", "fp32", None).route) == "fp32@cpu"  # by name: that one
    assert selection.select(folder, "auto", "auto", ONE).options == ONE


def test_what_was_tuned_for_something_that_is_gone_is_not_chosen(colours, monkeypatch):
    folder = colours(("fp32", "int8"))
    machines.write(folder, Route("int8", "openvino"), Options(threads=1), {})
    monkeypatch.setattr(selection, "missing", lambda provider: "it is gone" if provider == "openvino" else None)
    chosen = selection.select(folder, "auto", "auto", None)
    assert (str(chosen.route), chosen.options) == (f"fp32@{resolve('auto')}", Options())
    monkeypatch.setattr(selection, "missing", lambda provider: None)
    assert str(selection.select(folder, "auto", "auto", None).route) == "int8@openvino"


def test_a_second_start_comes_from_the_optimised_graph_of_the_first(colours, plain, monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    folder = colours()
    first = answer(Predictor.load(folder, provider="cpu"), plain(255, 0, 0))
    (entry,) = (tmp_path / "cache").rglob("*.ort")
    os.utime(entry, (0, 0))
    assert answer(Predictor.load(folder, provider="cpu"), plain(255, 0, 0)) == first
    assert entry.stat().st_mtime > 0  # it was used
    os.utime(entry, (0, 0))
    Predictor.load(folder, provider="cpu", cache=False)
    assert entry.stat().st_mtime == 0


def test_what_a_bundle_lacks_is_refused_with_what_it_has(colours):
    with pytest.raises(DataError, match=r"does not run as int8@cpu; it has fp32@cpu, fp32@openvino, "):
        load(colours(), precision="int8")
    with pytest.raises(MachineError, match="cpu does not run precision 'fp16'"):
        load(colours(), precision="fp16")
    with pytest.raises(MachineError, match=r"'cudaa' is not known; did you mean 'cuda'"):
        load(colours(), provider="cudaa")


def test_a_route_that_was_refused_stays_refused(colours):
    admission = {"int8@cpu": {"admitted": False, "reason": "12 of 100 decisions differ"}}
    with pytest.raises(DataError, match=r"as int8@cpu: 12 of 100 decisions differ; it has .*fp32@cpu"):
        load(colours(("fp32", "int8"), admission=admission), precision="int8")


def test_the_file_in_use_is_verified_and_no_other(colours):
    folder = colours(("fp32", "int8"))
    (folder / "model.int8.onnx").write_bytes(b"damaged")
    assert load(folder).precision == "fp32"
    with pytest.raises(DataError, match=r"model\.int8\.onnx is not the file that was admitted: its sha256 is"):
        load(folder, precision="int8")
    (folder / "model.int8.onnx").unlink()
    with pytest.raises(DataError, match=r"incomplete: model\.int8\.onnx is missing"):
        load(folder, precision="int8")


def test_external_weights_are_verified_too(colours):
    folder = colours()
    facts = json.loads((folder / "bundle.json").read_text())
    (folder / "model.fp32.onnx.data").write_bytes(b"weights")
    entry = {"file": "model.fp32.onnx.data", "sha256": "0" * 64, "bytes": 7}
    facts["models"]["fp32"]["external"] = entry
    (folder / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"model\.fp32\.onnx\.data is not the file that was admitted"):
        load(folder)


def test_one_file_out_of_a_bundle_runs_as_its_name_says(colours):
    folder = colours(("fp32", "int8"))
    assert load(folder / "model.int8.onnx").precision == "int8"
    assert load((folder / "model.int8.onnx").rename(folder / "mine.onnx")).precision == "fp32"
    with pytest.raises(DataError, match=r"holds fp32, so it cannot run as int8@cpu"):
        load(folder / "model.fp32.onnx", precision="int8")
    (folder / "model.fp32.onnx").rename(folder / "model.fp16.onnx")
    with pytest.raises(DataError, match=r"holds fp16, which cpu does not run; .*fp16@cuda"):
        load(folder / "model.fp16.onnx")


def test_a_missing_file_or_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no model at .*none\.onnx"):
        load(tmp_path / "none.onnx")
    with pytest.raises(DataError, match=r"is not a bundle: there is no bundle\.json"):
        load(tmp_path)
    (tmp_path / "bundle.json").write_text('{"models": {"fp32": {}}}')
    with pytest.raises(DataError, match=r"bundle\.json does not describe a bundle"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x00" * 100], ids=["empty", "text", "zeros"])
def test_garbage_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "model.onnx")
    assert "model.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_cut_short_anywhere_is_refused(exported, tmp_path):
    content = exported.read_bytes()
    for length in range(1, len(content) - 1, len(content) // 20):
        (tmp_path / "model.onnx").write_bytes(content[:length])
        with pytest.raises(DataError):
            load(tmp_path / "model.onnx")


@pytest.mark.parametrize("metadata", [{}, {"other": "x"}, {"graft": "{"}, {"graft": "{}"}, {"graft": "[]"}], ids=str)
def test_a_model_that_graft_did_not_export_is_refused(metadata, tmp_path):
    (tmp_path / "model.onnx").write_bytes(_other_model(metadata))
    with pytest.raises(DataError, match=r"model\.onnx"):
        load(tmp_path / "model.onnx")


def test_a_file_says_what_onnx_reads_in_it(exported):
    from components.inference import metadata

    model = onnx.load(exported)
    assert metadata.read(exported) == {entry.key: entry.value for entry in model.metadata_props}
