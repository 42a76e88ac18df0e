"""`graft predict`: every image has its line or its row, and the exit code says whether all were answered."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components import paths
from components.errors import DataError, GraftError, MachineError, ParamsError, ParityError
from components.monitoring.observations import Observations, Window
from graft.commands import predict as command
from graft.commands.predict import predict

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def photos(tmp_path, plain) -> Path:
    folder = tmp_path / "photos"
    for name, colour in {"b/2.png": (0, 0, 255), "a.png": (255, 0, 0), "b/1.png": (255, 127, 0)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(plain(*colour, height=20, width=30)).save(folder / name)
    return folder


def _run(*arguments: object) -> int:
    return predict([str(argument) for argument in arguments])


def test_a_line_for_each_image_in_order(colours, photos, capsys):
    assert _run(photos, "--bundle", colours(), "--provider", "cpu") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{photos}/a.png  red  96.5%",
        f"{photos}/b/1.png  red  86.8%  abstains",  # logits 4, 1.992 and 0; the threshold is 90 %
        f"{photos}/b/2.png  blue  96.5%",
    ]


def test_what_has_no_answer_has_its_line_and_the_exit_code(colours, photos, capsys):
    (photos / "0.png").write_bytes(b"text")
    assert _run(photos, photos / "none.png", "--bundle", colours()) == command.FAILED
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith(f"{photos}/0.png  error: {photos}/0.png is not an image of a kind that is read")
    assert lines[1].startswith(f"{photos}/a.png  red")
    assert lines[4].startswith(f"{photos}/none.png  error: cannot read")
    assert told.err == "graft: 2 images have no answer\n"


def test_json_holds_all_probabilities(colours, photos, capsys):
    (photos / "c.png").write_bytes(b"text")
    assert _run(photos, "--json", "--bundle", colours()) == command.FAILED
    first, second, _, failure = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["class"], first["abstain"], list(first["probabilities"])) == ("red", False, ["red", "green", "blue"])
    assert first["probability"] == first["probabilities"]["red"]
    assert second["abstain"] is True
    assert failure["image"] == f"{photos}/c.png"
    assert failure["error"].startswith(f"{photos}/c.png is not an image of a kind that is read")


def test_json_tells_further_tasks(colours, photos, capsys):
    tasks = colours(("fp32=tasks",), classes={"label": ["red", "green", "blue"], "light": ["dark", "bright"]})
    assert _run(photos / "a.png", "--json", "--bundle", tasks) == 0
    assert json.loads(capsys.readouterr().out)["tasks"]["light"]["class"] == "dark"
    assert _run(photos / "a.png", "--bundle", tasks) == 0
    assert capsys.readouterr().out == f"{photos}/a.png  red  96.5%  light: dark 66.7%\n"


def test_a_table_holds_every_row_also_of_those_that_failed(colours, photos, tmp_path, capsys):
    (photos / "0.png").write_bytes(b"text")
    out = tmp_path / "new" / "predictions.csv"
    assert _run(photos, "--out", out, "--bundle", colours(), "--batch-size", 2) == command.FAILED
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [Path(row["path"]).name for row in rows] == ["0.png", "a.png", "1.png", "2.png"]
    assert [row["class"] for row in rows] == ["", "red", "red", "blue"]
    assert [row["abstain"] for row in rows] == ["", "False", "True", "False"]
    assert float(rows[1]["p_red"]) == float(rows[1]["probability"]) == pytest.approx(0.96466, abs=1e-5)
    assert "not an image" in rows[0]["error"]
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "graft: 1 image has no answer\n")
    assert list(out.parent.iterdir()) == [out]


def test_what_cannot_be_written_is_one_line(colours, photos, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"cannot write .*file/p\.csv: File exists"):
        _run(photos, "--out", tmp_path / "file" / "p.csv", "--bundle", colours())


def test_its_exit_code_is_no_error_s():
    assert command.FAILED not in {error.exit_code for error in (GraftError, ParamsError, MachineError, ParityError)}


def test_coverage_draws_another_line(colours, photos, capsys):
    assert _run(photos, "--bundle", colours(), "--coverage", "1.0") == 0
    assert "abstains" not in capsys.readouterr().out


def test_support_folders_are_the_classes(colours, photos, tmp_path, plain, capsys):
    for name, colour in {"warm": (255, 64, 0), "cold": (0, 64, 255)}.items():
        (tmp_path / "support" / name).mkdir(parents=True)
        Image.fromarray(plain(*colour)).save(tmp_path / "support" / name / "1.png")
    bundle = colours(("fp32", "support"))
    with pytest.raises(ParamsError, match="no threshold for the classes of --support"):
        _run(photos, "--bundle", bundle, "--support", tmp_path / "support", "--coverage", "1.0")
    assert _run(photos, "--bundle", bundle, "--support", tmp_path / "support") == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["warm", "warm", "cold"]


def test_a_name_that_is_not_utf8_is_told_as_well_as_it_can_be(colours, photos, capsys):
    (photos / "a.png").rename(photos / os.fsdecode(b"\xff.png"))
    assert _run(photos, "--bundle", colours()) == 0
    assert "/\ufffd.png  red" in capsys.readouterr().out


def test_wrong_arguments_are_refused_before_anything_is_loaded(tmp_path, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=r"ends in '\.xlsx'; choose from: \.parquet, \.csv, \.jsonl"):
        _run(photos, "--out", "p.xlsx")
    with pytest.raises(ParamsError, match="give one of them"):
        _run(photos, "--out", "p.csv", "--json")
    with pytest.raises(GraftError, match="there is no champion at models/champion"):
        _run(photos)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ParamsError, match="no images below nothing"):
        _run("nothing", "--bundle", tmp_path)
    with pytest.raises(DataError, match="is not a bundle"):
        _run(photos, "--bundle", tmp_path)


def test_a_bar_is_drawn_only_for_somebody_who_watches(colours, photos, tmp_path, monkeypatch, capsys):
    assert _run(photos, "--bundle", colours(), "--out", tmp_path / "p.csv") == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert _run(photos, "--bundle", colours(), "--out", tmp_path / "p.csv") == 0
    assert "3/3" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_half(colours, photos, tmp_path):
    """A whole process, stopped while its table is being written."""
    for number in range(30_000):  # seconds of work, so that the signal comes in the middle of it
        os.link(photos / "a.png", photos / f"{number:05}.png")
    out = tmp_path / "results" / "p.csv"
    arguments = ["predict", str(photos), "--out", str(out), "--bundle", str(colours()), "--batch-size", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "graft", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background may have SIGINT ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not (parts := list(out.parent.glob(".p.csv.*.part"))) or not parts[0].stat().st_size:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.communicate()[1] == b""
    assert list(out.parent.iterdir()) == []


def test_the_list_of_commands_knows_it_and_hands_over(monkeypatch):
    from typer.testing import CliRunner

    from graft.cli import app

    assert "Classify images with the champion." in CliRunner().invoke(app, ["--help"]).output
    given = []
    monkeypatch.setattr(command, "predict", lambda arguments: given.extend(arguments) or 3)
    done = CliRunner().invoke(app, ["--debug", "predict", "a.png", "--out", "p.csv", "--help"])
    assert (done.exit_code, given) == (3, ["a.png", "--out", "p.csv", "--help"])
    monkeypatch.delenv("GRAFT_DEBUG")


def test_who_reads_the_first_line_only_sees_no_traceback(colours, plain, tmp_path):
    image = tmp_path / "a.png"
    Image.fromarray(plain(255, 0, 0)).save(image)
    many = [str(image)] * 2000  # whose lines are more than a pipe holds
    process = subprocess.Popen(
        [sys.executable, "-m", "graft", "predict", "--json", "--bundle", str(colours()), *many],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert b"red" in process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 141


def _observed(folder: Path = paths.OBSERVATIONS) -> Window:
    seen = Observations.open(folder)
    (bundle,) = seen.bundles()
    return seen.recent(100, bundle)


def test_what_is_observed_is_what_was_answered(colours, photos, tmp_path, monkeypatch, capsys):
    """In one run of the model: its features are the shares of red, green and blue, and it is asked for 3 images."""
    monkeypatch.chdir(tmp_path)
    (photos / "0.png").write_bytes(b"text")
    bundle, before = colours(), time.time()
    assert _run(photos, "--json", "--bundle", bundle, "--provider", "cpu", "--observe") == command.FAILED
    _, *told = map(json.loads, capsys.readouterr().out.splitlines())
    window = _observed()
    np.testing.assert_allclose(window.features, [[1, 0, 0], [1, 127 / 255, 0], [0, 0, 1]], atol=1e-6)
    assert window.label.tolist() == [0, 0, 2]
    assert window.confidence.tolist() == [row["probability"] for row in told]
    assert set(window.route) == {"fp32@cpu"}
    assert window.images == (None, None, None)
    assert before <= window.time[0] <= window.time[-1] <= time.time()
    seen = Observations.open(paths.OBSERVATIONS)
    (about,) = map(seen.about, seen.bundles())
    assert (about["classes"], about["strategy"], about["task"]) == (["red", "green", "blue"], "prototypical", "label")


def test_images_are_kept_only_where_somebody_asks(colours, photos, tmp_path, capsys):
    store = tmp_path / "seen"
    given = (photos, "--bundle", colours(), "--observe", "--observations", store)
    assert _run(*given) == 0
    assert _observed(store).images == (None, None, None)
    assert _run(*given, "--keep-images", "1", "--observations-mib", "2") == 0
    kept = _observed(store).images
    assert [path and path.read_bytes() for path in kept] == [
        None, None, None, *((photos / name).read_bytes() for name in ("a.png", "b/1.png", "b/2.png")),
    ]  # fmt: skip


def test_of_several_tasks_the_prediction_s_own_is_observed(colours, photos, tmp_path, capsys):
    classes = {"label": ["red", "green", "blue"], "light": ["dark", "bright"]}
    tasks = colours(("fp32=tasks_and_features",), classes=classes)
    assert _run(photos, "--bundle", tasks, "--observe", "--observations", tmp_path / "seen") == 0
    assert _observed(tmp_path / "seen").label.tolist() == [0, 0, 2]


def test_what_cannot_be_observed_is_refused(colours, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = colours()
    observe = (photos, "--bundle", bundle, "--observe")
    with pytest.raises(ParamsError, match="is for the bundle's own classes, and --support gives others"):
        _run(*observe, "--support", photos)
    for option in ("--observations", "--observations-mib", "--keep-images"):
        with pytest.raises(ParamsError, match=f"^{option} says how to observe, but without --observe nothing is"):
            _run(photos, "--bundle", bundle, option, "1")
    with pytest.raises(ParamsError, match="--keep-images is -1, but must be more than 0 MiB"):
        _run(*observe, "--keep-images", "-1")
    with pytest.raises(ParamsError, match=r"the whole bundle, and .*model\.fp32\.onnx is one file of it"):
        _run(photos, "--bundle", bundle / "model.fp32.onnx", "--observe")
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"cannot write observations to .*file"):
        _run(*observe, "--observations", tmp_path / "file")
    facts = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**facts, "lineage": {"weights_sha256": "1" * 64}}))
    with pytest.raises(DataError, match="was replaced while it was loaded"):
        _run(*observe)
    classes = {"label": ["red", "green", "blue"], "light": ["dark", "bright"]}
    with pytest.raises(DataError, match=r"gives no features: it was exported with export\.features false"):
        _run(photos, "--bundle", colours(("fp32=tasks",), classes=classes), "--observe")
    assert not paths.OBSERVATIONS.exists()


def test_who_does_not_observe_pays_nothing_for_it(colours, photos, tmp_path):
    script = """
import sys
from graft.commands.predict import predict
predict(sys.argv[1:])
print([name for name in sys.modules if name.startswith(("components.monitoring", "graft.observing"))])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(photos / "a.png"), "--bundle", str(colours())],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[1:] == ["[]"]
    assert not (tmp_path / paths.STATE).exists()
