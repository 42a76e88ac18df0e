"""The cache of optimised graphs: the same answers sooner, and never in the way."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from components.errors import DataError
from components.runtimes import optimised
from components.runtimes import session as sessions
from components.runtimes.options import Options
from components.runtimes.session import open_session

SIDE = 28
IMAGES = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "optimised"


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """The files that onnxruntime was given, in order."""
    files: list[str] = []
    real = onnxruntime.InferenceSession

    def load(given, *arguments, **named):
        files.append(Path(given).suffix)
        return real(given, *arguments, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", load)
    return files


def _logits(model: Path, cached: bool = True, native: int | None = SIDE, **options) -> np.ndarray:
    return open_session(model, "cpu", Options(threads=1, **options), native=native, cache=cached).run(
        {"image": IMAGES}
    )["logits"]


def test_the_second_start_loads_the_optimised_graph_and_answers_the_same(exported, cache, loaded):
    plain = _logits(exported, cached=False)
    assert not cache.exists()
    np.testing.assert_array_equal(_logits(exported), plain)
    assert len(list(cache.iterdir())) == 1
    session = open_session(exported, "cpu", Options(threads=1), native=SIDE, cache=True)
    np.testing.assert_array_equal(session.run({"image": IMAGES})["logits"], plain)
    assert "graft" in session.metadata
    assert loaded == [".onnx", ".onnx", ".ort"]


def test_the_cache_holds_what_was_optimised_for_this_processor(exported, cache):
    """The level that pays is the last: convolutions in the processor's own layout. A cached graph without it would
    start fast and run slowly."""
    from components.runtimes.profile import read

    _logits(exported)
    settings = sessions.session_options(Options(threads=1), SIDE, cache.parent / "profile")
    session = optimised._load(next(cache.iterdir()), settings, brief=False)
    session.run(None, {"image": IMAGES})
    operators = read(Path(session.end_profiling())).operators["CPUExecutionProvider"]
    plain = sessions.session_options(Options(threads=1), SIDE, cache.parent / "profile")
    session = onnxruntime.InferenceSession(exported, plain, providers=["CPUExecutionProvider"])
    session.run(None, {"image": IMAGES})
    assert operators == read(Path(session.end_profiling())).operators["CPUExecutionProvider"]
    assert "If" not in operators


def test_what_shapes_the_graph_has_an_entry_of_its_own(exported, cache, tmp_path, monkeypatch):
    other = tmp_path / "other.onnx"
    other.write_bytes(exported.read_bytes()[:-1] + b"\x00")  # never loaded, only hashed
    keys = {
        optimised.key_of(exported, "all 28"),
        optimised.key_of(exported, "all 30"),
        optimised.key_of(other, "all 28"),
    }
    monkeypatch.setattr(onnxruntime, "__version__", "0.0.0")
    keys.add(optimised.key_of(exported, "all 28"))
    monkeypatch.setattr(optimised, "_processor", lambda: "another")
    keys.add(optimised.key_of(exported, "all 28"))
    assert len(keys) == 5
    assert optimised.key_of(exported.read_bytes(), "all 28") == optimised.key_of(exported, "all 28")
    for weights in (b"one", b"other"):  # beside an architecture that is the same
        (tmp_path / "other.onnx.data").write_bytes(weights)
        keys.add(optimised.key_of(other, "all 28"))
    assert len(keys) == 7
    monkeypatch.undo()
    monkeypatch.setenv("GRAFT_CACHE", str(cache.parent))
    for native, level in ((SIDE, "all"), (None, "all"), (SIDE, "basic"), (SIDE, "all")):
        _logits(exported, native=native, optimization=level)
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "garbage under a right checksum"])
def test_a_damaged_entry_is_made_again(exported, cache, loaded, damage):
    plain = _logits(exported)
    entry = next(cache.iterdir())
    content = bytearray(entry.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        del content[len(content) // 2 :]
    else:
        content = bytearray(b"" if damage == "empty" else b"no graph")
    entry.write_bytes(content)
    if damage.startswith("garbage"):
        entry = entry.rename(entry.with_name(f"{entry.name.split('.')[0]}.{optimised._checksum(entry)}.ort"))
    loaded.clear()
    np.testing.assert_array_equal(_logits(exported), plain)
    assert loaded[-1] == ".onnx"
    np.testing.assert_array_equal(_logits(exported), plain)
    assert loaded[-1] == ".ort"
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_no_cache(exported, tmp_path, monkeypatch):
    """A file stands where the folder should: no permission stops root."""
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    np.testing.assert_array_equal(_logits(exported), _logits(exported, cached=False))
    assert (tmp_path / "cache").read_text() == "in the way"


def test_a_file_that_is_no_model_is_refused_and_leaves_nothing(cache, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"model\.onnx is not a model"):
        open_session(tmp_path / "model.onnx", "cpu", cache=True)
    assert list(cache.iterdir()) == []


def test_the_bundle_s_folder_gets_nothing(exported, cache, tmp_path):
    shutil.copy(exported, tmp_path / "model.onnx")
    before = sorted(path.name for path in tmp_path.iterdir())
    _logits(tmp_path / "model.onnx")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == before


def test_using_an_entry_keeps_it(exported, cache):
    _logits(exported)
    entry = next(cache.iterdir())
    os.utime(entry, (0, 0))
    _logits(exported)
    assert time.time() - entry.stat().st_mtime < 60


def test_weights_are_used_in_the_file_only_for_a_few_images(exported, cache, monkeypatch):
    """Anywhere else they would lie where vector instructions are slow."""
    plain = _logits(exported)
    entries: list[dict[str, str]] = []
    real = onnxruntime.InferenceSession

    def load(given, settings, **named):
        name = "session.use_ort_model_bytes_for_initializers"
        entries.append({"file": Path(given).suffix, "in place": settings.get_session_config_entry(name)})
        return real(given, settings, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", load)
    np.testing.assert_array_equal(_logits(exported), plain)
    session = open_session(exported, "cpu", Options(threads=1), native=SIDE, cache=True, brief=True)
    np.testing.assert_array_equal(session.run({"image": IMAGES})["logits"], plain)
    assert entries == [{"file": ".ort", "in place": "0"}, {"file": ".ort", "in place": "1"}]


def test_without_a_home_and_with_weights_outside_it_starts_plainly(exported, cache, monkeypatch):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("GRAFT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    _logits(exported)
    monkeypatch.undo()
    monkeypatch.setenv("GRAFT_CACHE", str(cache.parent))
    beside = exported.with_name(f"{exported.name}.data")
    beside.touch()
    try:
        _logits(exported)
    finally:
        beside.unlink()
    assert not cache.exists() or not list(cache.iterdir())
