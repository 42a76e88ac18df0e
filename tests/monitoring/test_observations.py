"""What was recorded is read again as it was, in the order in which it came, whatever happens to the writer, the disk
and the clock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import DataError, MachineError
from components.monitoring.observations import Observations, segment
from components.monitoring.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = "b" * 64
CLASSES = ("cat", "dog", "owl")
BYTES = 32 + 4 * 2 + 2 * 3
"""Of a record with two features and three classes."""
WRITER = """
import sys
from pathlib import Path
import numpy as np
from components.monitoring.recorder import Recorder

def recorder(**more):
    about = {"bundle": "b" * 64, "classes": ("cat", "dog", "owl"), "width": 2, "route": "fp32@cpu"}
    return Recorder(Path(sys.argv[1]), **about, **more)

def batch(first, size):
    features = np.stack([np.arange(first, first + size), np.full(size, float(sys.argv[2]))], 1)
    return features, np.eye(3)[np.arange(size) % 3]
"""


class Clock:
    """Ticks by a second with every batch, from where it is set."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 1
        return self.now


def recorder(folder: Path, **more) -> Recorder:
    given: dict[str, Any] = {"bundle": BUNDLE, "classes": CLASSES, "width": 2, "route": "fp32@cpu", "say": pytest.fail}
    given |= more
    return Recorder(folder, **given)


def add(to: Recorder, *numbers: float, contents: list[bytes | None] | None = None) -> None:
    """Observations whose first feature is a number to know them by."""
    features = np.array([[number, -1] for number in numbers], np.float32)
    to.add(features, np.tile(np.array([0.25, 0.5, 0.25], np.float32), (len(numbers), 1)), contents)


def numbers(folder: Path, n: int = 10**6, **how) -> list[float]:
    return Observations.open(folder).recent(n, BUNDLE, **how).features[:, 0].tolist()


def write(folder: Path, script: str, writer: int = 0, **how) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER + script, str(folder), str(writer)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
    )  # fmt: skip


def test_a_batch_is_read_as_it_was_recorded(tmp_path):
    features = np.array([[1e-30, -3.25], [7e20, 2]], np.float32)
    probabilities = np.array([[0.1, 0.2, 0.7], [0.9, 0.06, 0.04]], np.float32)
    one = recorder(tmp_path, route="int8@openvino", clock=lambda: 1234.5, about={"strategy": "probe", "task": "animal"})
    one.add(features, probabilities)
    seen = Observations.open(tmp_path)
    window = seen.recent(10, BUNDLE)
    assert len(window) == 2
    np.testing.assert_array_equal(window.features, features)
    np.testing.assert_array_equal(window.label, [2, 0])
    np.testing.assert_array_equal(window.confidence, np.array([0.7, 0.9], np.float32))
    np.testing.assert_array_equal(window.probabilities, probabilities.astype(np.float16))
    assert window.time.tolist() == [1234.5, 1234.5]
    assert window.route.tolist() == ["int8@openvino"] * 2
    assert window.images == (None, None)
    about = seen.about(BUNDLE)
    assert (about["classes"], about["features"], about["strategy"]) == (list(CLASSES), 2, "probe")
    assert segment(tmp_path / BUNDLE, 1).stat().st_size == 2 * BYTES


def test_the_last_ones_and_the_last_before_a_time(tmp_path):
    one = recorder(tmp_path, clock=Clock(100.0))
    for number in range(10):
        add(one, number)  # at 101, 102, …
    assert numbers(tmp_path, 3) == [7, 8, 9]
    assert numbers(tmp_path, 0) == []
    assert numbers(tmp_path, 2, until=105.0) == [2, 3]
    assert numbers(tmp_path, 2, until=100.0) == []


def test_where_nobody_observed_there_is_nothing(tmp_path):
    seen = Observations.open(tmp_path / "none")
    assert (seen.bundles(), seen.summary(), seen.images(5, BUNDLE), len(seen.recent(5, BUNDLE))) == ([], [], [], 0)
    with pytest.raises(DataError, match=r"has no observations of bundle 'b+'; there are none"):
        seen.about(BUNDLE)


def test_the_order_is_that_of_arrival_whatever_the_clock_says(tmp_path):
    """It is an hour fast, is set right, and the process starts again: three segments, in one of which time jumps."""
    clock = Clock(5000.0)
    one = recorder(tmp_path, clock=clock, mib=3 * 8 * BYTES / 2**20)  # three observations in a segment
    for number in range(5):
        add(one, number)
    clock.now -= 3600
    for number in range(5, 8):
        add(one, number)
    one.close()
    again = recorder(tmp_path, clock=clock, mib=3 * 8 * BYTES / 2**20)
    add(again, 8, 9)
    assert numbers(tmp_path) == list(range(10))
    assert numbers(tmp_path, 4) == [6, 7, 8, 9]
    assert sorted(path.name for path in (tmp_path / BUNDLE).glob("*.rows")) == [f"0000000{n}.rows" for n in (1, 2, 3)]
    assert numbers(tmp_path, until=5000) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("set_back", [False, True])
def test_the_oldest_make_room_for_the_newest_over_all_bundles(tmp_path, set_back):
    mib = 80 * BYTES / 2**20  # ten observations in a segment
    old = recorder(tmp_path, bundle="a" * 64, mib=mib)
    for number in range(30):
        add(old, number)
    began = time.time() + 1e8 if set_back else 0
    for path in (tmp_path / ("a" * 64)).glob("*.rows"):
        os.utime(path, (1, began + int(path.stem)))
    new = recorder(tmp_path, mib=mib)
    for number in range(65):
        add(new, number)
        files = list(tmp_path.glob("*/*.rows"))
        assert sum(path.stat().st_size for path in files) <= (80 + 10) * BYTES
    seen = Observations.open(tmp_path)
    assert seen.recent(100, "a" * 64).features[:, 0].tolist() == list(range(10, 30))
    assert numbers(tmp_path) == list(range(65))
    for number in range(65, 200):
        add(new, number)
    assert numbers(tmp_path) == list(range(110, 200))
    assert len(seen.recent(100, "a" * 64)) == 0
    told = {entry["bundle"]: entry["observations"] for entry in seen.summary()}
    assert told == {"a" * 64: 0, BUNDLE: 90}


def test_a_segment_ends_with_its_day_so_that_where_few_come_in_the_last_days_are_kept(tmp_path):
    clock = Clock(0.0)
    one = recorder(tmp_path, clock=clock, keep_images_mib=400 * 1000 / 2**20)  # a share of a segment is 100 images
    for day in range(8):
        clock.now = day * 90_000.0
        add(one, *range(100 * day, 100 * (day + 1)), contents=[b"BM".ljust(1000)] * 100)
    window = Observations.open(tmp_path).recent(1000, BUNDLE)
    kept = [int(number) for number, path in zip(window.features[:, 0], window.images, strict=True) if path]
    assert len(window) == 800
    assert kept[-300:] == list(range(500, 800))


def test_the_number_of_observations_is_told_without_holding_them_all(tmp_path):
    wide = 500
    one = recorder(tmp_path, width=wide, mib=8 * 64 * (32 + 4 * wide + 6) / 2**20)  # 64 observations in a segment
    for _ in range(6):
        one.add(np.zeros((64, wide), np.float32), np.full((64, 3), 1 / 3, np.float32))
    tracemalloc.start()
    (told,) = Observations.open(tmp_path).summary()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told["observations"] == 6 * 64
    assert peak < 3 * 64 * 4 * wide  # it reads one segment at a time


def test_what_is_left_of_the_description_after_a_power_failure_is_written_again(tmp_path):
    add(recorder(tmp_path), 1)
    about = tmp_path / BUNDLE / "bundle.json"
    whole = about.read_bytes()
    for left in (b"", whole[:20]):
        about.write_bytes(left)
        add(recorder(tmp_path), 2)
        assert about.read_bytes() == whole
    assert numbers(tmp_path) == [1, 2, 2]


@pytest.mark.parametrize("more", [b"\x01" * (BYTES - 1), b"\x01"])
def test_a_record_that_was_cut_short_is_ignored_and_overwritten(tmp_path, more):
    one = recorder(tmp_path)
    add(one, 1, 2)
    with segment(tmp_path / BUNDLE, 1).open("ab") as stream:
        stream.write(more)
    assert numbers(tmp_path) == [1, 2]
    add(one, 3)
    assert numbers(tmp_path) == [1, 2, 3]


def test_zeros_that_a_power_failure_leaves_are_ignored(tmp_path):
    one = recorder(tmp_path, keep_images_mib=1)
    add(one, 1)
    with segment(tmp_path / BUNDLE, 1).open("ab") as stream:
        stream.write(bytes(5 * BYTES))
    add(one, 2, contents=[b"BM2"])
    assert numbers(tmp_path) == [1, 2]
    (image,) = Observations.open(tmp_path).images(9, BUNDLE)
    assert image.path.read_bytes() == b"BM2"
    assert Observations.open(tmp_path).recent(1, BUNDLE).images == (image.path,)


def test_a_kill_loses_no_batch_that_was_recorded(tmp_path):
    script = """
one = recorder(keep_images_mib=1)
for first in range(0, 10**9, 50):
    one.add(*batch(first, 50), [b"BM%d" % number for number in range(first, first + 50)])
    print(first + 50, flush=True)
"""
    process = write(tmp_path, script)
    assert process.stdout is not None
    for _ in range(24):
        told = process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = ([told, *process.stdout.read().splitlines(keepends=True)])[-1]
    found = numbers(tmp_path)
    assert len(found) >= int(told) >= 1200
    assert found == list(range(len(found)))
    add(recorder(tmp_path), -1)
    assert numbers(tmp_path)[-2:] == [len(found) - 1, -1]
    window = Observations.open(tmp_path).recent(10**6, BUNDLE)
    kept = {int(number): path for number, path in zip(window.features[:, 0], window.images, strict=True) if path}
    assert len(kept) > 1000
    assert all(path.read_bytes() == b"BM%d" % number for number, path in kept.items())


def test_processes_do_not_disturb_one_another(tmp_path):
    script = """
one = recorder(keep_images_mib=0.1)
sys.stdin.readline()
for first in range(0, 400, 5):
    one.add(*batch(first, 5), [b"BM%s %d" % (sys.argv[2].encode(), number) for number in range(first, first + 5)])
assert one.missed == 0 and one.recorded == 400
"""
    processes = [write(tmp_path, script, writer, stdin=subprocess.PIPE) for writer in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60) == ("", "")
    window = Observations.open(tmp_path).recent(10**6, BUNDLE)
    assert len(window) == 1200
    for writer in range(3):
        assert window.features[window.features[:, 1] == writer, 0].tolist() == list(range(400))
    kept = [(row, path) for row, path in enumerate(window.images) if path]
    assert len(kept) > 1000
    for row, path in kept:
        number, writer = window.features[row].astype(int)
        assert path.read_bytes() == b"BM%d %d" % (writer, number)


def test_a_full_disk_is_told_once_and_recording_goes_on_when_there_is_room(tmp_path):
    """The system refuses to let any file grow beyond a limit, as it refuses on a full disk."""
    script = """
import resource
told = []
one = recorder(say=told.append, keep_images_mib=1)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
for first in range(0, 100, 10):
    one.add(*batch(first, 10))
one.add(*batch(-1, 1), [b"BM"])
counts = (one.recorded, one.missed)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
one.add(*batch(100, 10))
one.add(*batch(110, 10))
print(told, counts)
"""
    out, err = write(tmp_path, script).communicate(timeout=60)
    assert err == ""
    assert 1000 // BYTES == 21
    assert (
        out
        == repr(
            [
                f"observations cannot be written to {tmp_path} (File too large); answers go on without them",
                f"observations are written to {tmp_path} again; 80 answers were not recorded so far",
            ]
        )
        + f" {(21, 80)}\n"
    )
    assert numbers(tmp_path) == [*range(21), *range(100, 120)]


def test_what_starts_on_a_full_disk_answers_and_records_as_soon_as_there_is_room(tmp_path):
    script = """
import resource
told = []
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, unlimited[1]))
one = recorder(say=told.append)
one.add(*batch(0, 10))
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
one.add(*batch(10, 10))
print(len(told), one.recorded, one.missed)
"""
    assert write(tmp_path, script).communicate(timeout=60) == ("2 10 10\n", "")
    assert numbers(tmp_path) == list(range(10, 20))


def test_images_that_cannot_be_written_do_not_stop_the_rest(tmp_path):
    told = []
    one = recorder(tmp_path, keep_images_mib=1, say=told.append)
    in_the_way = tmp_path / BUNDLE / "00000001.images"
    in_the_way.touch()
    for number in range(3):
        add(one, number, contents=[b"BM"])
    in_the_way.unlink()
    add(one, 3, contents=[b"BM"])
    assert numbers(tmp_path) == [0, 1, 2, 3]
    assert told == [
        f"images cannot be written to {tmp_path} (Not a directory); answers go on without them",
        f"images are written to {tmp_path} again",
    ]
    assert [path is not None for path in Observations.open(tmp_path).recent(4, BUNDLE).images] == [False] * 3 + [True]


def test_a_process_that_was_stopped_in_the_middle_of_a_write_holds_nobody_up(tmp_path):
    told = []
    one = recorder(tmp_path, say=told.append)
    with segment(tmp_path / BUNDLE, 1).open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        start = time.monotonic()
        for number in range(20):
            add(one, number)
        assert time.monotonic() - start < 1
    add(one, 20)
    assert numbers(tmp_path) == [20]
    assert len(told) == 2 and "another process holds the file and was stopped" in told[0]
    assert one.missed == 20


def test_images_that_cannot_be_written_leave_the_patience_for_another_process_as_it_was(tmp_path):
    told = []
    one = recorder(tmp_path, keep_images_mib=1, say=told.append)
    (tmp_path / BUNDLE / "00000001.images").touch()  # in the way
    add(one, 0, contents=[b"BM"])
    with segment(tmp_path / BUNDLE, 1).open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        release = threading.Timer(0.02, fcntl.flock, (stream, fcntl.LOCK_UN))
        release.start()
        add(one, 1)
        release.join()
    assert (one.recorded, one.missed, len(told)) == (2, 0, 1)


def test_nobody_is_told_where_even_that_cannot_be_written(tmp_path, monkeypatch):
    """Standard error of a server often leads to a file on the disk that is full."""
    one = recorder(tmp_path, say=None)
    with contextlib.suppress(OSError), Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        with segment(tmp_path / BUNDLE, 1).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            add(one, 0)
        add(one, 1)
    assert (numbers(tmp_path), one.missed) == ([1], 1)


def test_a_store_that_somebody_deletes_is_begun_again(tmp_path):
    one = recorder(tmp_path / "store")
    add(one, 1)
    (tmp_path / "store").rename(tmp_path / "gone")
    for path in (tmp_path / "gone" / BUNDLE).iterdir():
        path.unlink()
    add(one, 2)
    assert numbers(tmp_path / "store") == [2]
    assert Observations.open(tmp_path / "store").about(BUNDLE)["classes"] == list(CLASSES)


def test_what_cannot_be_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"cannot write observations to .*file: Not a directory"):
        recorder(tmp_path / "file")
    recorder(tmp_path)
    with pytest.raises(DataError, match=r"bundle\.json says that features are 2, but this model's are 3"):
        recorder(tmp_path, width=3)
    about = tmp_path / BUNDLE / "bundle.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "format": 2}))
    with pytest.raises(DataError, match="does not describe observations of format 1"):
        Observations.open(tmp_path).recent(5, BUNDLE)
