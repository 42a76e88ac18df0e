"""Files become rows of pixels, digests and sizes; what was decoded before is found again, unless it is damaged."""

from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components import jsonfile
from components.data import decoding, images, near_duplicates, prepared
from components.data.decoding import Cache, Damaged, Decoded, Job, Settings
from components.data.packing import Rows
from components.errors import MachineError

SETTINGS = Settings(16, "bilinear")


@pytest.fixture
def files(tmp_path, picture) -> list[str]:
    paths = [tmp_path / f"{number:02d}.png" for number in range(20)]
    for number, path in enumerate(paths):
        Image.fromarray(picture(18 + number, 24, number)).save(path)
    return [str(path) for path in paths]


def _job(folder: Path, files: list[str], cache: Cache | None = None, settings: Settings = SETTINGS) -> Job:
    folder.mkdir(exist_ok=True)
    pixels = Rows.create(folder / "target.npy", (len(files), settings.size, settings.size, 3), np.uint8)
    thumbnails = Rows.create(folder / "thumbnails.npy", (len(files) + 2, 16, 16, 3), np.float16)
    return Job(files, settings, pixels, thumbnails, first=2, cache=cache)


def _decode(job: Job) -> list[Decoded | str]:
    return decoding.decode(job, lambda done: None)


def _finish(folder: Path, files: list[str], found: list[Decoded | str]) -> None:
    """What else `prepare` writes, as far as a cache needs it."""
    with (folder / prepared.MANIFEST).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(prepared.COLUMNS)
        for path, item in zip(files, found, strict=True):
            assert isinstance(item, Decoded)
            writer.writerow([path, "target", "train", item.sha256, item.width, item.height])
    jsonfile.write(folder / prepared.DECODER, SETTINGS.facts())


@pytest.mark.parametrize("small", [True, False])
def test_each_file_s_pixels_thumbnail_digest_and_size(small, files, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "SMALL_MS", 1e9 if small else 0.0)
    job = _job(tmp_path / "new", files)
    found = _decode(job)
    pixels = np.load(job.pixels.path)
    for number, path in enumerate(files):
        content = Path(path).read_bytes()
        assert found[number] == Decoded(hashlib.sha256(content).hexdigest(), 24, 18 + number)
        assert np.array_equal(pixels[number], images.pixels(content, resize=16, size=16)[0])
    assert np.array_equal(np.load(job.thumbnails.path)[2:], near_duplicates.thumbnails(pixels))


def test_what_is_no_image_is_a_line_each(files, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    names = ["text.png", "empty.png", "pipe.png", "missing.png", "."]
    found = _decode(_job(tmp_path / "new", [*files[:3], *(str(tmp_path / name) for name in names)]))
    assert all(isinstance(item, Decoded) for item in found[:3])
    for name, item in zip(names, found[3:], strict=True):
        assert isinstance(item, str)
        assert str(tmp_path / name) in item
        assert "\n" not in item


def test_an_error_deep_inside_pillow_costs_one_image(files, tmp_path, monkeypatch):
    broken = Path(files[5])
    content = bytearray(broken.read_bytes())
    content[60:90] = bytes(30)
    broken.write_bytes(content)
    found = _decode(_job(tmp_path / "new", files))
    assert [number for number, item in enumerate(found) if isinstance(item, str)] == [5]


def test_too_little_memory_for_an_image_is_no_fault_of_the_image(files, tmp_path, monkeypatch):
    """Or the same data would be prepared otherwise on a smaller machine."""

    def pixels(content, **options):
        raise MemoryError

    monkeypatch.setattr(images, "pixels", pixels)
    with pytest.raises(MachineError, match=r"not enough memory to decode .*00\.png"):
        _decode(_job(tmp_path / "new", files[:1]))


def test_what_is_known_is_not_decoded_again(files, tmp_path, monkeypatch):
    before = _job(tmp_path / "before", files[:19])
    _finish(tmp_path / "before", files[:19], _decode(before))
    monkeypatch.setattr(decoding, "VERIFIED_AT_LEAST", 4)
    cache = Cache.open(tmp_path / "before", SETTINGS)
    assert cache is not None
    assert len(cache.verified) == 4
    decoded = []
    decode = images.pixels
    monkeypatch.setattr(
        images, "pixels", lambda content, **options: decoded.append(options["origin"]) or decode(content, **options)
    )
    job = _job(tmp_path / "new", files[::-1], cache)
    found = _decode(job)
    assert set(decoded) == {files[0], files[6], files[12], files[18], files[19]}
    assert [item.cached for item in found] == [-1, *range(18, -1, -1)]
    cache.copy(np.array([item.cached for item in found]), job.pixels)
    fresh = _job(tmp_path / "fresh", files[::-1])
    assert [item._replace(cached=-1) for item in found] == _decode(fresh)
    for name in ("target.npy", "thumbnails.npy"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_a_damaged_cache_is_noticed(files, tmp_path):
    before = _job(tmp_path / "before", files)
    _finish(tmp_path / "before", files, _decode(before))
    for row in range(20):
        before.pixels.write(row, bytes(16 * 16 * 3))
    with pytest.raises(Damaged):
        _decode(_job(tmp_path / "new", files, Cache.open(tmp_path / "before", SETTINGS)))


@pytest.mark.parametrize("fault", ["size", "interpolation", "Pillow", "code", "torn pixels", "no facts", "no folder"])
def test_a_cache_of_other_settings_or_torn_is_none(fault, files, tmp_path):
    folder = tmp_path / "before"
    _finish(folder, files, _decode(_job(folder, files)))
    assert Cache.open(folder, SETTINGS) is not None
    settings, facts = SETTINGS, jsonfile.read(folder / prepared.DECODER)
    if fault == "size":
        settings = Settings(17, "bilinear")
    elif fault == "interpolation":
        settings = Settings(16, "bicubic")
    elif fault == "Pillow":
        jsonfile.write(folder / prepared.DECODER, {**facts, "pillow": "1.0"})
    elif fault == "code":
        jsonfile.write(folder / prepared.DECODER, {**facts, "code": "another"})
    elif fault == "torn pixels":
        os.truncate(folder / "target.npy", 1000)
    elif fault == "no facts":
        (folder / prepared.DECODER).unlink()
    else:
        folder = tmp_path / "nowhere"
    assert Cache.open(folder, settings) is None
