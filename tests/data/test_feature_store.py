"""The table of features: which row is whose, and what counts as the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components import paths
from components.data import features
from components.data.features import Features, Key, Layout
from components.errors import DataError
from components.types import Preprocess

PREPROCESS = Preprocess(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
KEY = Key("w" * 64, features.as_json(PREPROCESS), {"engine": "torch"}, "flip")
PLACES = Layout(("a", "b", "c"), ("c", "a"), 3)


def _written(folder, width: int = 2) -> np.ndarray:
    table = features.begin(folder, len(PLACES), width)
    table[:] = np.arange(len(PLACES))[:, None]
    features.finish(folder, table, PLACES, KEY, {"reason": "why"})
    return np.array(table)


def test_view_0_of_all_comes_first_then_the_views_of_those_that_have_them():
    assert len(PLACES) == 3 + 2 * 2
    assert PLACES.entries() == [("a", 0), ("b", 0), ("c", 0), ("c", 1), ("a", 1), ("c", 2), ("a", 2)]
    assert [PLACES.row(*entry) for entry in PLACES.entries()] == list(range(7))
    assert PLACES.row("b", 1) is PLACES.row("a", 3) is PLACES.row("x", 0) is None


def test_what_was_written_is_found_by_content(tmp_path):
    table = _written(tmp_path)
    found = features.read(tmp_path)
    assert (found.layout, found.key, found.facts) == (PLACES, KEY, {"reason": "why"})
    assert isinstance(found.table, np.memmap)
    np.testing.assert_array_equal(found.of(["c", "a"]), table[[2, 0]])
    np.testing.assert_array_equal(found.of(["a", "c"], views=2), table[[0, 2, 4, 3]])  # view 0 of both, then view 1
    assert found.of(["a", "x"]) is None
    assert found.of(["b"], views=2) is None
    with pytest.raises(DataError, match=r"embed\.views is 3: set embed\.views to 4"):
        found.of(["a"], views=4)


def test_half_a_table_is_none(tmp_path):
    assert features.read(tmp_path) is None
    _written(tmp_path)
    features.begin(tmp_path, 9, 2)  # a run that was killed in the middle: the table before it is whole
    assert features.read(tmp_path) is not None
    (tmp_path / f"{features.TABLE}.part").replace(tmp_path / features.TABLE)
    assert features.read(tmp_path) is None
    (tmp_path / features.CONTENTS).unlink()
    with pytest.raises(DataError, match="run the pipeline"):
        features.looked_up(tmp_path, KEY.weights_sha256, ["a"])


def test_whoever_looks_up_another_backbone_or_image_is_told(tmp_path):
    table = _written(tmp_path)
    np.testing.assert_array_equal(features.looked_up(tmp_path, KEY.weights_sha256, ["b"]), table[[1]])
    with pytest.raises(DataError, match="another backbone's"):
        features.looked_up(tmp_path, "v" * 64, ["b"])
    with pytest.raises(DataError, match="of other images"):
        features.looked_up(tmp_path, KEY.weights_sha256, ["x"])


def test_a_policy_matters_to_changed_views_only_and_everything_else_to_all():
    other = replace(KEY, augment="light")
    assert KEY.covers(other, 0)
    assert not KEY.covers(other, 1)
    assert KEY.covers(KEY, 1)
    for changed in ({"weights_sha256": "v"}, {"preprocess": {}}, {"computed_by": {"engine": "onnxruntime"}}):
        assert not KEY.covers(replace(KEY, **changed), 0)


def test_a_table_fits_a_backbone_by_its_weights_and_preprocessing():
    table = Features(np.zeros((7, 2), np.float32), PLACES, KEY)
    assert table.fits("w" * 64, PREPROCESS)
    assert not table.fits("v" * 64, PREPROCESS)
    assert not table.fits("w" * 64, replace(PREPROCESS, resize=20))


def test_all_of_the_target_and_what_the_source_is_asked_about(toy):
    found = features.layout(toy, views=2)
    target, source = toy.target, toy.domains["source"]
    held_out = [source.sha256[row] for row in source.rows("val", labelled=True)]
    assert found.images == (*target.sha256, *held_out)
    assert found.varied == tuple(target.sha256[row] for row in target.rows("train", labelled=True))
    assert features.layout(toy, views=1).varied == ()
    assert paths.FEATURES.parent == paths.PREPARED.parent
