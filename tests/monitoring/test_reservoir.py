"""The sample of images is fair within each stretch of time, and stays within its limit."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from components.monitoring.observations import Observations
from components.monitoring.recorder import Recorder
from components.monitoring.reservoir import File, Reservoir, surplus

BUNDLE = "b" * 64


def recorder(folder: Path, bundle: str = BUNDLE, **more) -> Recorder:
    return Recorder(folder, bundle=bundle, classes=("cat", "dog"), width=1, route="fp32@cpu", **more)


def add(to: Recorder, contents: list[bytes]) -> None:
    to.add(np.zeros((len(contents), 1)), np.tile([0.25, 0.75], (len(contents), 1)), contents)


def image(number: int, size: int = 1000) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + f"{number:8}".encode().ljust(size - 8, b".")


def held(folder: Path) -> list[int]:
    return [int(path.read_bytes()[8:16]) for path in sorted(folder.glob("*/*.images/*.png"))]


def test_every_item_is_as_likely_to_be_in_the_sample():
    counts = np.zeros(20)
    for trial in range(4000):
        one, sample = Reservoir(5, str(trial)), [0] * 5
        for item in range(20):
            place = one.place()
            if place is not None:
                sample[place] = item
        assert len(set(sample)) == 5
        counts[sample] += 1
    # Items of one sample are not independent: the counts vary by (1 - 5/20) of what independent draws would.
    statistic = ((counts - 1000) ** 2 / 1000).sum() / (1 - 5 / 20) * 19 / 20
    assert stats.chi2.sf(statistic, 19) > 0.001
    assert stats.chi2.sf(((counts * 1.1 - 1000) ** 2 / 1000).sum(), 19) < 0.001


def test_a_small_stream_is_kept_whole_to_the_byte(tmp_path):
    one = recorder(tmp_path, keep_images_mib=1)
    sent = [b"\xff\xd8\xff jpeg", image(1), b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0"]
    add(one, sent)
    kept = [path for path in Observations.open(tmp_path).recent(6, BUNDLE).images if path]
    assert [path.read_bytes() for path in kept] == sent
    assert [path.suffix for path in kept] == [".jpg", ".png", ".gif", ".webp", ".bmp", ".tiff"]
    assert kept[1].relative_to(tmp_path).as_posix() == f"{BUNDLE}/00000001.images/00000001-000001.png"


def test_each_stretch_of_time_has_its_share_and_the_limit_holds(tmp_path):
    """Of a limit of 400 images a quarter goes to each segment of 1024; with the fifth, the oldest go."""
    limit = 400_000
    one = recorder(tmp_path, keep_images_mib=limit / 2**20)
    for first in range(0, 6 * 1024, 64):
        add(one, [image(number) for number in range(first, first + 64)])
        if first % 256 == 0:
            assert sum(path.stat().st_size for path in tmp_path.glob("*/*.images/*")) <= limit
    found = np.array(held(tmp_path))
    shares = np.bincount(found // 1024, minlength=6)
    assert shares[:2].sum() == 0
    assert 30 <= shares[2] <= 100  # room is made ahead
    assert shares[3:].tolist() == [100, 100, 100]
    last = found[found >= 5 * 1024] - 5 * 1024
    assert stats.kstest(last / 1024, "uniform").pvalue > 0.001
    kept = Observations.open(tmp_path).images(150, BUNDLE)
    assert len(kept) == 150
    assert [int(each.path.read_bytes()[8:16]) for each in kept] == found[-150:].tolist()
    assert {each.label for each in kept} == {1}
    later = Observations.open(tmp_path).images(1000, BUNDLE, since=(5, 500))
    assert [int(each.path.read_bytes()[8:16]) for each in later] == found[found > 4 * 1024 + 500].tolist()
    begun_anew = Observations.open(tmp_path).images(1000, BUNDLE, since=(9, 3))
    assert len(begun_anew) == len(found)


def test_images_of_former_bundles_go_first(tmp_path):
    old = recorder(tmp_path, bundle="a" * 64, keep_images_mib=0.1)
    add(old, [image(number) for number in range(20)])
    for path in tmp_path.glob("*/*.images/*.png"):
        os.utime(path, (1, 1))
    one = recorder(tmp_path, keep_images_mib=0.1)
    for first in range(0, 3 * 1024, 1024):
        add(one, [image(number) for number in range(first, first + 1024)])
    assert len(list(tmp_path.glob(f"{BUNDLE}/*/*.png"))) == 3 * 26
    assert 0 < len(list(tmp_path.glob("a*/*/*.png"))) <= 20
    for first in range(3 * 1024, 5 * 1024, 1024):
        add(one, [image(number) for number in range(first, first + 1024)])
    assert not list(tmp_path.glob("a*/*/*.png"))


def test_what_is_too_large_is_never_kept_nor_counted(tmp_path):
    one = recorder(tmp_path, keep_images_mib=0.1)
    add(one, [image(0, 14_000), image(1, 13_000)])
    assert held(tmp_path) == [1]
    assert [path is not None for path in Observations.open(tmp_path).recent(2, BUNDLE).images] == [False, True]


def test_one_image_at_a_time_by_many_processes_is_kept(tmp_path):
    """`graft predict IMAGE` in a loop: each of them is the first of its own reservoir."""
    for number in range(8):
        add(recorder(tmp_path, keep_images_mib=0.1), [image(number)])
    assert held(tmp_path) == list(range(8))
    assert len(list(tmp_path.glob("*/*.rows"))) == 1


def test_what_a_killed_process_left_unfinished_is_removed(tmp_path):
    one = recorder(tmp_path, keep_images_mib=1)
    add(one, [image(0)])
    folder = tmp_path / BUNDLE / "00000001.images"
    for name, age in {".00000001-000007.png.4.part": 100, ".00000001-000008.png.5.part": 0}.items():
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age, time.time() - age))
    assert len(Observations.open(tmp_path).images(9, BUNDLE)) == 1
    add(recorder(tmp_path, keep_images_mib=1), [image(1)])
    assert sorted(path.name for path in folder.iterdir()) == [
        ".00000001-000008.png.5.part", "00000001-000000.png", "00000001-000001.png",
    ]  # fmt: skip


@pytest.mark.parametrize(("limit", "gone"), [(60, ""), (59, "a"), (40, "ab"), (30, "abc"), (0, "abcd")])
def test_the_oldest_go_first_and_within_a_group_in_their_order(limit, gone):
    """b came after a, though a clock that was set back between them says otherwise."""
    groups = [[File("a", 10, 7.0), File("b", 10, 1.0), File("d", 20, 30.0)], [File("c", 20, 8.0)]]
    assert [file.path for file in surplus(groups, limit)] == list(gone)
