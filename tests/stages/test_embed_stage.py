"""embed in a toy workspace: by which engine, what is taken over, and that the bytes are the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from components import jsonfile, paths, tensorfile
from components.backbones.build import build, preprocess_of, to_arrays
from components.data import features
from components.errors import MachineError
from components.stages import embed as stage
from components.stages.embed import embed
from stage_support import write_params


@pytest.fixture
def workspace(toy_folder, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_folder, paths.PREPARED)
    network = build("lenet", preprocess=preprocess_of("lenet", "pretrain", size=16, interpolation="bilinear"))
    sha256 = tensorfile.save(paths.PRETRAINED / "backbone.safetensors", to_arrays(network))
    facts = {"preprocess": network.preprocess.to_dict(), "weights_sha256": sha256}
    jsonfile.write(paths.PRETRAINED / "model.json", facts)
    return tmp_path


def _params(workspace: Path, embed: dict | None = None) -> None:
    write_params(workspace, backbone={"name": "lenet"}, **({"embed": embed} if embed else {}))


def _content() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(paths.FEATURES.iterdir())}


def test_new_images_join_and_the_bytes_are_those_of_a_fresh_start(workspace, capsys):
    _params(workspace, {"views": 2, "augment": "light"})
    embed()
    fresh = _content()
    assert list(fresh) == [features.CONTENTS, features.TABLE]
    whole = features.read(paths.FEATURES)
    assert whole.facts["reason"] == "too few images to pay for an export"
    assert whole.table.shape == (160 + 32 + 64, 500)  # the target, the source's val, a view of 64 labelled ones
    embed()
    assert _content() == fresh
    assert "embed: 0 of 256 rows computed by torch" in capsys.readouterr().out

    _params(workspace, {"views": 1})
    embed()
    _params(workspace, {"views": 2, "augment": "light"})
    embed()
    assert _content() == fresh
    assert "embed: 64 of 256 rows" in capsys.readouterr().out
    assert jsonfile.read(paths.TIMINGS / "embed.json")["computed"] == 64


def test_onnxruntime_takes_torchs_place_where_it_is_equal_and_only_there(workspace, monkeypatch):
    _params(workspace, {"engine": "torch"})
    embed()
    plain = np.array(features.read(paths.FEATURES).table)
    _params(workspace, {"engine": "onnxruntime"})
    embed()
    found = features.read(paths.FEATURES)
    assert found.key.computed_by["engine"] == "onnxruntime"
    assert 0 < found.facts["difference"] <= stage.EQUAL
    np.testing.assert_allclose(found.table, plain, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(found.table, plain), "rows of another engine were taken over"

    monkeypatch.setattr(stage, "EQUAL", 0.0)
    with pytest.raises(MachineError, match=r"embed.engine is 'onnxruntime', but .* from torch's, more than 0.0"):
        embed()
    monkeypatch.setattr(stage, "PAYS_S", 0.0)
    _params(workspace, {"engine": "auto"})
    embed()
    found = features.read(paths.FEATURES)
    assert found.key.computed_by["engine"] == "torch"
    assert "more than 0.0" in found.facts["reason"]
    np.testing.assert_array_equal(found.table, plain)


def test_a_backbone_that_cannot_be_exported_is_an_error_only_where_it_was_asked_for(workspace, monkeypatch):
    from components.deployment import backbone_export

    def broken(*arguments, **options):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(backbone_export, "export", broken)
    monkeypatch.setattr(stage, "PAYS_S", 0.0)
    _params(workspace)
    embed()
    assert features.read(paths.FEATURES).facts["reason"] == "the backbone cannot be exported (RuntimeError)"
    _params(workspace, {"engine": "onnxruntime"})
    with pytest.raises(MachineError, match=r"cannot be exported \(RuntimeError\): no such operator"):
        embed()
