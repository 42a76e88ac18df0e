"""The folder that is deployed: described by its bundle.json, and verified when it is read."""

from __future__ import annotations

import pytest

from components import jsonfile
from components.deployment import bundle, installation
from components.errors import DataError


def _facts(weights: str = "1a", commit: str = "c0") -> dict:
    return {
        "strategy": "dan",
        "classes": {"label": ["cat", "dog"]},
        "preprocess": {"size": 32},
        "lineage": {"weights_sha256": weights, "git_commit": commit},
    }


@pytest.fixture
def folder(tmp_path):
    bundle.write(tmp_path / "bundle", {"fp32": b"weights", "fp16": b"half"}, _facts())
    return tmp_path / "bundle"


def test_read_gives_back_the_facts_and_what_was_written(folder):
    facts = bundle.read(folder)
    assert facts["strategy"] == "dan"
    assert set(facts["models"]) == {"fp32", "fp16"}
    entry = facts["models"]["fp32"]
    assert (folder / entry["file"]).read_bytes() == b"weights"
    assert entry["bytes"] == 7


def test_identity_is_what_the_bundle_answers_not_who_exported_it(folder, tmp_path):
    def identity(name: str, **changes: str) -> str:
        bundle.write(tmp_path / name, {"fp32": b"weights", "fp16": b"half"}, _facts(**changes))
        return bundle.identity(bundle.read(tmp_path / name))

    own = bundle.identity(bundle.read(folder))
    assert identity("again") == own
    assert identity("later", commit="c1") == own
    assert identity("other", weights="2b") != own
    assert bundle.identity({**bundle.read(folder), "classes": {"label": ["dog", "cat"]}}) != own


def test_identity_does_not_depend_on_what_a_machine_ships(tmp_path):
    """int8 was admitted for its answers; whether it is shipped depends on its speed on some machine."""
    admitted = {"admitted": True, "calibrator": None}
    admission = {"fp32@cpu": admitted, "int8@cpu": {"admitted": True, "calibrator": "minmax"}}
    facts = {**_facts(), "admission": {**admission, "int8@openvino": {"admitted": False, "calibrator": "minmax"}}}
    bundle.write(tmp_path / "all", {"fp32": b"weights", "int8": b"less"}, facts)
    staged = installation.stage(tmp_path / "all", tmp_path / "shipped", keep=["fp32"])
    whole, shipped = bundle.read(tmp_path / "all"), bundle.read(staged)
    assert list(shipped["models"]) == ["fp32"]
    assert bundle.identity(shipped) == bundle.identity(whole)
    other = {**admission, "int8@cpu": {"admitted": True, "calibrator": "entropy"}}
    refused = {**admission, "int8@cpu": {"admitted": False, "calibrator": "minmax"}}
    for changed in (other, refused):
        assert bundle.identity({**whole, "admission": changed}) != bundle.identity(whole)


def test_identity_of_an_older_bundle_is_what_it_holds(tmp_path):
    """Version 0.3 had no admission: fp32 alone was always admitted, so a new bundle with no more than that is its
    equal."""
    bundle.write(tmp_path / "old", {"fp32": b"weights"}, _facts())
    new = {**bundle.read(tmp_path / "old"), "admission": {"fp32@cpu": {"admitted": True, "calibrator": None}}}
    assert bundle.identity(bundle.read(tmp_path / "old")) == bundle.identity(new)


def test_external_weights_belong_to_their_model(tmp_path):
    (tmp_path / "model.fp32.onnx").write_bytes(b"graph")
    (tmp_path / "model.fp32.onnx.data").write_bytes(b"weights")
    bundle.write(tmp_path / "bundle", {"fp32": tmp_path / "model.fp32.onnx", "int8": b"less"}, _facts())
    entry = bundle.read(tmp_path / "bundle")["models"]["fp32"]
    assert entry["external"]["file"] == "model.fp32.onnx.data"
    assert entry["external"]["bytes"] == 7
    small = installation.stage(tmp_path / "bundle", tmp_path / "small", keep=["int8"])
    assert sorted(path.name for path in small.iterdir()) == [bundle.FILE, "model.int8.onnx"]
    copy = installation.stage(tmp_path / "bundle", tmp_path / "copy")
    (copy / "model.fp32.onnx.data").write_bytes(b"wieghts")
    with pytest.raises(DataError, match=r"model\.fp32\.onnx\.data is not the file that was admitted"):
        bundle.read(copy)


def test_a_tampered_model_is_refused(folder):
    (folder / "model.fp16.onnx").write_bytes(b"hulf")
    with pytest.raises(DataError, match=r"model\.fp16\.onnx is not the file that was admitted"):
        bundle.read(folder)


def test_a_missing_model_is_refused(folder):
    (folder / "model.fp32.onnx").unlink()
    with pytest.raises(DataError, match=r"model\.fp32\.onnx is missing"):
        bundle.read(folder)


def test_a_missing_or_damaged_bundle_json_is_refused(folder, tmp_path):
    with pytest.raises(DataError):
        bundle.read(tmp_path / "nothing")
    (folder / bundle.FILE).write_text('{"models": ')
    with pytest.raises(DataError):
        bundle.read(folder)


@pytest.mark.parametrize("content", [{}, [], {"models": {"fp32": {}}}], ids=str)
def test_a_bundle_json_of_something_else_is_refused(content, folder):
    jsonfile.write(folder / bundle.FILE, content)
    with pytest.raises(DataError):
        bundle.read(folder)
