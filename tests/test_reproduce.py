"""The machinery of benchmarks/reproduce with a protocol that takes no time: store, resume, render, refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.reproduce import protocol, runs
from benchmarks.reproduce.__main__ import main

FAKE = '''
"""A protocol whose figures can be worked out in the head."""
from benchmarks.reproduce.protocol import Row

TITLE = "Halving"
PROTOCOL = """Each value is
half of the seed."""
SEEDS = (1, 2, 3)
ROWS = {
    "half": Row("halving", "plain", "size", "1.0", "Euclid, 1", "1"),
    "more": Row("more", "plain", "size", goal="> half"),
    "less": Row("less", "plain", "size", goal="<= 0.5"),
    "said": Row("said", "plain", "size", goal="as small as it gets"),
}
NOTES = "Nothing is smaller."
FILES = ("there.txt",)


def run(data, seed):
    if seed == 9:
        (data / "gone.txt").read_text()
    with (data / "there.txt").open("a") as log:
        log.write(f"{seed} ")
    return {"half": seed / 2, "more": seed / 2 + 3 + seed % 2 / 10, "less": float(seed), "said": 0.0}
'''


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The folder of a repository with one protocol, and data for it."""
    (tmp_path / "fake_protocol.py").write_text(FAKE)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/there.txt").write_text("")
    monkeypatch.setattr(protocol, "PROTOCOLS", {"fake": "fake_protocol"})
    monkeypatch.setenv("GRAFT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fake_protocol", raising=False)
    yield tmp_path
    sys.modules.pop("fake_protocol", None)


def _run_log(folder: Path) -> list[str]:
    return (folder / "data/there.txt").read_text().split()


def _stored(folder: Path) -> dict:
    return json.loads((folder / "docs/results/fake.json").read_text())


def test_seeds_in_processes_of_their_own_give_the_same_figures(fake):
    assert main(["fake", "--workers", "2"], fake) == 0
    assert {seed: entry["values"]["half"] for seed, entry in _stored(fake)["seeds"].items()} == {
        "1": 0.5,
        "2": 1.0,
        "3": 1.5,
    }
    # What `python -m benchmarks.reproduce` hands to a spawned process must not be defined in its __main__.
    assert runs._answer.__module__ == "benchmarks.reproduce.runs"


def test_figures_are_stored_by_seed_and_rendered(fake):
    assert main(["fake"], fake) == 0
    stored = _stored(fake)
    assert {seed: entry["values"]["half"] for seed, entry in stored["seeds"].items()} == {"1": 0.5, "2": 1.0, "3": 1.5}
    assert all(entry["seconds"] >= 0 for entry in stored["seeds"].values())
    assert {"machine", "versions", "command", "date", "wall_s"} <= stored.keys()
    assert "torch" in stored["versions"]
    assert str(fake) not in json.dumps(stored)
    page = (fake / "docs/results.md").read_text()
    assert "## Halving" in page
    assert "Each value is half of the seed." in page
    # 0.5, 1.0, 1.5: standard deviation 0.5, and t is 4.303 for two degrees of freedom.
    assert "| halving | plain | size | 1.0 (Euclid, 1) | 1.0000 ± 1.2422 (3 seeds) | 1 | yes |" in page
    assert "| > halving | yes |" in page
    assert "| <= 0.5 | **no** |" in page
    assert "| as small as it gets | - |" in page
    assert "Nothing is smaller." in page
    assert "python -m benchmarks.reproduce fake" in page


def test_an_interrupted_run_goes_on_with_the_next_seed(fake, capsys):
    assert main(["fake", "--seeds", "1,9,2"], fake) == 2  # seed 9 stops it
    assert "gone.txt" in capsys.readouterr().err
    assert list(_stored(fake)["seeds"]) == ["1"]
    assert main(["fake"], fake) == 0
    assert list(_stored(fake)["seeds"]) == ["1", "2", "3"]
    assert _run_log(fake) == ["1", "2", "3"]
    assert main([], fake) == 0  # all of them: nothing to do
    assert _run_log(fake) == ["1", "2", "3"]
    assert main(["fake", "--fresh", "--seeds", "3"], fake) == 0
    assert _run_log(fake) == ["1", "2", "3", "3"]
    assert list(_stored(fake)["seeds"]) == ["3"]


def test_other_code_starts_anew_and_other_words_do_not():
    code = protocol.code_of(FAKE)
    assert protocol.code_of(FAKE.replace("Nothing is smaller.", "Something is.")) == code
    assert protocol.code_of(FAKE.replace('"1.0"', '"1.1"')) == code
    assert protocol.code_of(FAKE + "# a comment\n") == code
    assert protocol.code_of(FAKE.replace("seed / 2,", "seed / 3,")) != code


def test_seeds_run_in_processes_of_their_own(fake):
    assert main(["fake", "--workers", "2"], fake) == 0
    assert list(_stored(fake)["seeds"]) == ["1", "2", "3"]
    assert "--workers 2" in _stored(fake)["command"]


def test_the_page_alone_is_written_from_what_is_stored(fake, monkeypatch):
    main(["fake"], fake)
    monkeypatch.delenv("GRAFT_DATA")
    page = (fake / "docs/results.md").read_text()
    (fake / "docs/results.md").unlink()
    assert main(["--render"], fake) == 0
    assert (fake / "docs/results.md").read_text() == page


def test_what_is_wrong_is_said(fake, monkeypatch, capsys):
    assert main(["fkae"], fake) == 2
    assert "did you mean 'fake'?" in capsys.readouterr().err
    assert main(["fake", "--seeds", "one"], fake) == 2
    assert "'one'" in capsys.readouterr().err
    (fake / "data/there.txt").unlink()
    assert main(["fake"], fake) == 2
    assert "there.txt" in capsys.readouterr().err
    for value in ("", str(fake / "none")):
        monkeypatch.setenv("GRAFT_DATA", value)
        assert main(["fake"], fake) == 3
        assert "GRAFT_DATA" in capsys.readouterr().err


def test_the_interval_is_student_s():
    found = protocol.mean([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])  # variance 32 / 7
    assert found.value == 5.0
    assert found.half == pytest.approx(2.365 * (32 / 7 / 8) ** 0.5)
    assert protocol.mean([3.0]) == (3.0, None, 1)


def test_goals_are_numbers_or_other_rows():
    values = {"a": [97.0, 98.0, 99.0], "b": [90.0, 91.0, 92.5], "c": [98.0, 90.0, 95.0]}
    assert protocol.met("98", "a", values) is True
    assert protocol.met(">= 98.1", "a", values) is False
    assert protocol.met("<= 98", "a", values) is True
    assert protocol.met("<= 97.9", "a", values) is False
    assert protocol.met("> b", "a", values) is True  # seed by seed: 7, 7, 6.5
    assert protocol.met("> b + 6.8", "a", values) is False
    assert protocol.met("> b + 5", "a", values) is True
    assert protocol.met("< a", "b", values) is True
    assert protocol.met("> c", "a", values) is False  # better on average, but not beyond the spread
    assert protocol.met("-", "a", values) is None
    assert protocol.met("close to the paper", "a", values) is None
