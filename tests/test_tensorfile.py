"""Files that the safetensors library reads, and the library's files read here; equal arrays, equal bytes."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors import numpy as library

from components import tensorfile
from components.errors import DataError

ARRAYS = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "scalar": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 5), dtype=np.float64),
    "mask": np.array([True, False]),
    "half": np.array([1.5, -2.0], dtype=np.float16),
    "bytes": np.arange(256, dtype=np.uint8),
    "small": np.array([[-1]], dtype=np.int8),
}


def _equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert one[name].shape == other[name].shape, name
        assert np.array_equal(one[name], other[name]), name


def test_what_was_saved_is_loaded(tmp_path):
    digest = tensorfile.save(tmp_path / "deep" / "file.safetensors", ARRAYS)
    _equal(tensorfile.load(tmp_path / "deep" / "file.safetensors"), ARRAYS)
    assert digest == hashlib.sha256((tmp_path / "deep" / "file.safetensors").read_bytes()).hexdigest()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.safetensors"]


def test_the_library_reads_our_files(tmp_path):
    tensorfile.save(tmp_path / "file.safetensors", ARRAYS)
    _equal(library.load_file(tmp_path / "file.safetensors"), ARRAYS)


def test_we_read_the_library_s_files(tmp_path):
    library.save_file(ARRAYS, tmp_path / "file.safetensors", metadata={"format": "np"})
    _equal(tensorfile.load(tmp_path / "file.safetensors"), ARRAYS)


def test_the_order_of_arrays_does_not_matter_and_content_does():
    content = tensorfile.encode(ARRAYS)
    assert content == tensorfile.encode(dict(reversed(ARRAYS.items())))
    assert content != tensorfile.encode({**ARRAYS, "scalar": np.array(8, dtype=np.int64)})


def test_the_memory_layout_does_not_matter():
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert tensorfile.encode({"a": array}) == tensorfile.encode({"a": np.asfortranarray(array)})
    assert tensorfile.encode({"a": array[::2, ::3]}) == tensorfile.encode({"a": array[::2, ::3].copy()})


def test_names_are_sorted_and_data_is_aligned():
    content = tensorfile.encode({"b": np.zeros(3, np.uint8), "a": np.zeros(2, np.float32)})
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    header = json.loads(content[8 : 8 + length])
    assert list(header) == ["a", "b"]
    assert header["a"]["data_offsets"] == [0, 8]
    assert header["b"]["data_offsets"] == [8, 11]


def test_loaded_arrays_can_be_written_to():
    array = tensorfile.decode(tensorfile.encode({"a": np.zeros(2)}))["a"]
    array[0] = 1


def test_no_arrays_at_all():
    assert tensorfile.decode(tensorfile.encode({})) == {}


def test_a_dtype_that_the_format_lacks_is_refused_by_name():
    with pytest.raises(DataError, match="'a' has dtype complex128"):
        tensorfile.encode({"a": np.zeros(2, np.complex128)})


@pytest.mark.parametrize("length", [0, 5, 8, 60, -1])
def test_a_file_cut_short_is_refused_by_name(length, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(tensorfile.encode(ARRAYS)[:length])
    with pytest.raises(DataError, match=r"cut\.safetensors is not a complete safetensors file"):
        tensorfile.load(path)


@pytest.mark.parametrize(
    "content",
    [b"text that is no such file", b"\xff" * 64, b"\x02" + bytes(7) + b"[]", b"\x07" + bytes(7) + b'{"a":1}'],
    ids=["text", "ones", "list", "number"],
)
def test_garbage_is_refused(content):
    with pytest.raises(DataError):
        tensorfile.decode(content)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none\.safetensors"):
        tensorfile.load(tmp_path / "none.safetensors")
