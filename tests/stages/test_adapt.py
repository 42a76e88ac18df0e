"""From what serving has kept to a workspace in which strategies adapt to it; labels, and what is refused."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest
import typer

from components import jsonfile, paths, tensorfile, workspaces
from components import params as parameters
from components.deployment import bundle
from components.errors import DataError, ParamsError
from components.monitoring import budget
from components.monitoring.observations import Observations
from components.monitoring.recorder import Recorder
from components.stages import adapt
from graft.commands.adapt import adapt as command
from stage_support import write_params

CLASSES = ["cat", "dog", "owl"]
STRATEGIES = {
    "source_only": {},
    "dan": {"trade_off": 2.0, "recipe": {"steps": 4}},
    "mcc": {"recipe": {"augment": "strong"}},
    "fine_tune": {},
}
ADAPT = {"compare": ["source_only", "dan", "mcc"], "supervised": ["fine_tune"], "images": 80, "seeds": [4]}


def champion(weights: str = "1") -> str:
    """Puts a bundle into production; returns its identity."""
    facts = {
        "strategy": "fine_tune", "classes": {"label": CLASSES}, "preprocess": {"size": 16},
        "lineage": {"weights_sha256": weights}, "models": {"fp32": {}},
    }  # fmt: skip
    jsonfile.write(paths.CHAMPION / bundle.FILE, facts)
    return bundle.identity(facts)


def observe(identity: str, first: int, count: int, *, clock: float | None = None) -> None:
    """Serving answers so many images, whose bytes are their numbers, and keeps all of them."""
    recorder = Recorder(
        paths.OBSERVATIONS, bundle=identity, classes=CLASSES, width=2, route="fp32@cpu", keep_images_mib=64,
        clock=time.time if clock is None else lambda: clock,
    )  # fmt: skip
    contents = [b"\x89PNG\r\n\x1a\n" + str(number).encode() for number in range(first, first + count)]
    recorder.add(np.zeros((count, 2), np.float32), np.full((count, 3), 1 / 3, np.float32), contents)
    recorder.close()


def numbers(place: Path) -> list[int]:
    """Of the images in a workspace."""
    found = (place / "data/raw/recent").glob("*.png")
    return sorted(int(path.read_bytes().removeprefix(b"\x89PNG\r\n\x1a\n")) for path in found)


def rows(place: Path) -> list[dict[str, str]]:
    with (place / "data/raw/recent/images.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def kept(identity: str) -> list[Path]:
    return [image.path for image in Observations.open(paths.OBSERVATIONS).images(1000, identity)]


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A workspace with a champion that was asked about 60 images; its identity."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, strategies=STRATEGIES, compare=["fine_tune"], adapt=ADAPT)
    identity = champion()
    observe(identity, 0, 60)
    return identity


def test_the_workspace_adapts_to_the_images_that_came_in(main):
    adapt.adapt(reason="Drift!")
    made = jsonfile.read(paths.ADAPTATION)
    assert (made["images"], made["labelled"], made["bundle"], made["why"]) == (60, 0, main, "Drift!")
    assert made["name"].endswith("-drift") and made["path"] == f".graft/runs/{made['name']}"
    place = Path(made["path"])
    assert numbers(place) == list(range(60))
    assert not any(path.samefile(place / "data/raw/recent" / f"{main[:8]}-{path.name}") for path in kept(main))
    params = parameters.load(place)
    assert params.data.recent is not None and params.data.recent.manifest == "data/raw/recent/images.csv"
    assert (params.compare, params.students, params.teacher) == (("source_only", "dan", "mcc"), (), None)
    assert {name: params.recipe(name).augment for name in params.compare} == {
        "source_only": "appearance", "dan": "appearance", "mcc": "strong",
    }  # fmt: skip
    assert (params.recipe("dan").steps, params.competitor("dan").hyper_parameters) == (4, {"trade_off": 2.0})
    assert params.train.seeds == (4,)
    table = rows(place)
    assert {row["label"] for row in table} == {""}
    assert sorted(row["path"] for row in table) == sorted(path.name for path in place.glob("data/raw/recent/*.png"))


def test_with_labels_the_supervised_compete_too(main, tmp_path):
    first, second, third, fourth = kept(main)[:4]
    table = tmp_path / "labels/mine.csv"
    reported = f"data/raw/recent/{main[:8]}-{fourth.name}"
    relative = f"../{second}"  # from the table's folder
    jsonfile.write_text(
        table,
        f"path,who,label\n{first},me,cat\n{relative},me,dog\n{third.name},me,owl\n{reported},me,cat\n"
        "gone.png,me,cat\nother.png,me,\n",
    )
    made = adapt.make(Path(), labels=table)
    assert (made["labelled"], made["why"]) == (4, "by hand")
    params = parameters.load(Path(made["path"]))
    assert params.compare == ("source_only", "dan", "mcc", "fine_tune")
    assert params.recipe("fine_tune").augment == "appearance"
    labels = {row["path"].partition("-")[2]: row["label"] for row in rows(Path(made["path"])) if row["label"]}
    assert labels == {first.name: "cat", second.name: "dog", third.name: "owl", fourth.name: "cat"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class\n{0},cat\n", "has no column 'label'"),
        ("path,label\n{0},cow\n", "line 2: 'cow' is no class of the champion; did you mean 'owl'"),
        ("path,label\n{0},cat\n{0},dog\n", "line 3: .* has two labels, 'cat' and 'dog'"),
        ("path,label\nelsewhere.png,cat\n", "labels none of the 60 images"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(main, text, message):
    Path("labels.csv").write_text(text.format(kept(main)[0]))
    with pytest.raises(DataError, match=message):
        adapt.make(Path(), labels=Path("labels.csv"))
    assert not paths.ADAPTATION.exists() and not paths.RUNS.exists()


def test_labelled_images_of_an_earlier_champion_are_adapted_to_as_well(main):
    later = champion("2")
    observe(later, 100, 55)
    before, now = kept(main)[7], kept(later)[7]
    assert before.name == now.name
    Path("labels.csv").write_text(f"path,label\n{before.name},cat\n")
    with pytest.raises(DataError, match=f"{before.name} is the name of 2 images"):
        adapt.make(Path(), labels=Path("labels.csv"))
    Path("labels.csv").write_text(f"path,label\n{before},cat\n{now},dog\n")
    made = adapt.make(Path(), labels=Path("labels.csv"))
    assert numbers(Path(made["path"])) == [7, *range(100, 155)]
    assert (made["images"], made["labelled"]) == (56, 2)


def test_too_few_images_are_refused_with_what_to_do(main):
    observe(champion("2"), 0, 49)
    with pytest.raises(DataError, match=r"49 images of those .* were kept, but at least 50 .* --keep-images MIB"):
        adapt.make(Path())
    assert not paths.RUNS.exists()


def test_images_from_before_the_change_are_left_aside(main):
    def checked(drift: bool, **more) -> None:
        last = Observations.open(paths.OBSERVATIONS).recent(1, main).place[-1].tolist()
        line = {"kind": budget.CHECK, **budget.present().to_dict(), "bundle": main, "checked": True, "drift": drift,
                "until": None, "last": last, **more}  # fmt: skip
        budget.append(Path(), line)

    checked(False)
    observe(main, 100, 70, clock=time.time() - 1e6)  # the clock was set back
    checked(False, until=budget.present().to_dict()["time"])  # a look back
    checked(True)
    made = adapt.make(Path())
    assert made["why"] == "the images that come in have changed"
    assert made["name"].endswith("-drift")
    assert numbers(Path(made["path"])) == list(range(100, 170))
    checked(False)  # nothing is known of a change: the newest of all
    assert numbers(Path(adapt.make(Path())["path"])) == [*range(50, 60), *range(100, 170)]
    checked(True)  # none came in since: as many older ones as are needed
    assert numbers(Path(adapt.make(Path())["path"])) == list(range(120, 170))


def test_it_starts_from_the_champions_backbone_where_that_is_still_here(main):
    write_params(Path(), strategies=STRATEGIES, compare=["fine_tune"], adapt=ADAPT, backbone={"weights": "pretrain"})

    def started_from() -> dict | None:
        """None: it is to pretrain by itself."""
        place = Path(adapt.make(Path())["path"])
        weights = parameters.load(place).backbone.weights
        return None if weights == "pretrain" else {**tensorfile.load(place / weights)}

    own, given = np.ones(2, np.float32), np.zeros(2, np.float32)
    jsonfile.write(paths.MODELS / "fine_tune/model.json", {"weights_sha256": "1"})
    model = paths.MODELS / "fine_tune/model.safetensors"
    tensorfile.save(model, {"backbone.stem": own, "heads.label": own})
    assert started_from() is None
    paths.PRETRAINED.mkdir(parents=True)
    tensorfile.save(paths.PRETRAINED / "backbone.safetensors", {"stem": given})
    assert started_from() == {"stem": pytest.approx(own)}
    tensorfile.save(model, {"backbone.stem": own, "backbone.adapter": own})
    assert started_from() == {"stem": pytest.approx(given)}
    champion("2")  # of a model that is no longer here
    observe(bundle.identity(jsonfile.read(paths.CHAMPION / bundle.FILE)), 0, 60)
    assert started_from() == {"stem": pytest.approx(given)}


@pytest.mark.parametrize(
    ("compare", "message"),
    [([], "adapt.compare is empty"), (["dan"], "adapt.compare names 'dan' alone")],
)
def test_who_adapts_must_be_said_and_not_be_alone(main, compare, message):
    write_params(Path(), strategies=STRATEGIES, compare=["fine_tune"], adapt={**ADAPT, "compare": compare})
    with pytest.raises(ParamsError, match=message):
        adapt.make(Path())


def test_names_are_not_given_twice_and_old_workspaces_go(main, monkeypatch):
    monkeypatch.setattr(adapt, "KEPT", 2)
    made = [adapt.make(Path(), reason="new camera in hall 3")["name"] for _ in range(3)]
    assert made[0].endswith("-new-camera-in-hall-3")
    assert len(set(made)) == 3
    assert [path.name for path in workspaces.all_in(Path())] == [made[2], made[1]]


STAND_IN = """
import json, os, sys
from pathlib import Path
line = {"folder": os.getcwd(), "arguments": sys.argv[1:], "store": os.environ.get("MLFLOW_TRACKING_URI")}
with open(os.environ["TOLD"], "a") as stream:
    stream.write(json.dumps(line) + "\\n")
sys.exit(int(os.environ.get("FAILS", 0)))
"""


def test_the_command_runs_there_and_promotes_here(main, tmp_path, monkeypatch, capsys):
    """The code is that of the workspace, so modules that note how they were called can stand in for it."""
    jsonfile.write_text(tmp_path / "graft/__main__.py", STAND_IN)
    jsonfile.write_text(tmp_path / "components/stages/promote.py", STAND_IN)
    monkeypatch.setenv("TOLD", str(tmp_path / "told.jsonl"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command(reason="drift")
    ran, promoted = jsonfile.read_lines(tmp_path / "told.jsonl")
    made = jsonfile.read(paths.ADAPTATION)["path"]
    assert f"-drift: 60 images, 0 of them labelled, in {made}" in capsys.readouterr().out
    place = tmp_path / made
    assert (ran["folder"], ran["arguments"]) == (str(place), ["run", "--no-promote"])
    assert ran["store"] == f"sqlite:///{tmp_path / paths.MLFLOW_STORE}/mlflow.db"
    assert promoted["folder"] == str(tmp_path)
    assert promoted["arguments"][0] == "--from" and (tmp_path / promoted["arguments"][1]).samefile(place)

    monkeypatch.setenv("FAILS", "3")
    with pytest.raises(typer.Exit) as failed:
        command(reason="drift")
    assert failed.value.exit_code == 3
    assert len(jsonfile.read_lines(tmp_path / "told.jsonl")) == 3  # what failed is not promoted
