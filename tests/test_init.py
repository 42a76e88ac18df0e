"""`graft init`: what it finds, what it writes, and what it leaves alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components import params
from components.data.listing import listing
from components.errors import DataError, GraftError, MachineError, ParamsError
from graft.initial import layouts, offers, recipes
from init_support import PARAMS, PIPELINE, SOURCE, init, photos

ROOT = Path(__file__).parents[1]


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """What of a clone `graft init` needs, as the current folder; beside it no weights of any backbone."""
    root = tmp_path / "clone"
    (root / "data/raw").mkdir(parents=True)
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text(PIPELINE)
    monkeypatch.chdir(root)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("components.machine.gpus", list)
    return root


@pytest.fixture
def clone(workspace) -> Path:
    """The same with Graft's own params.yaml."""
    shutil.copy(ROOT / "params.yaml", workspace)
    return workspace


def cached_weights(name: str = "resnet18-f37072fd.pth") -> None:
    """A file in torchvision's cache; it is looked for, not read."""
    folder = Path(os.environ["TORCH_HOME"], "hub/checkpoints")
    folder.mkdir(parents=True)
    (folder / name).touch()


def data() -> dict:
    return yaml.safe_load(Path("params.yaml").read_text())["data"]


def test_a_folder_of_photos_and_a_cached_backbone(clone, tmp_path):
    """The whole of it once: the sections that are written, recipes for photos, comments, the dependency, and that a
    second time changes nothing."""
    cached_weights()
    folder = photos(tmp_path / "ants-and-bees", "train/ants", "train/bees", "val/ants", "val/bees", count=20)
    said = " ".join(init(folder, "--yes").split())
    for line in (
        "ants 20 20 40",
        "'val' is used as the test part",
        "resnet18",
        "18 of 31 strategies",
    ):
        assert line in said
    assert "labelled images of another kind to transfer from: --source PATH" in said
    loaded = params.load(clone)
    assert data() == {
        "target": {"folder": str(folder), "layout": "split/class", "splits": {"train": "train", "val": "test"}}
    }
    found = listing(loaded.data.target, "data.target")
    assert [sum(image.part == part for image in found.images) for part in ("train", "val", "test")] == [40, 0, 40]
    assert (loaded.backbone.name, loaded.backbone.weights) == ("resnet18", "IMAGENET1K_V1")
    assert (loaded.prepare.size, loaded.prepare.interpolation, loaded.prepare.labels_per_class) == (
        256,
        "bilinear",
        None,
    )
    assert loaded.compare == ("linear_probe", "knn_probe", "lp_ft")
    assert (loaded.students, loaded.teacher) == ((), "lp_ft")
    assert loaded.promote.registered_model == "ants-and-bees"
    # 40 training images less a fifth, in batches of 16, twice: 4 steps, but 20 at least.
    assert (loaded.train.steps, loaded.train.batch_size, loaded.train.augment) == (20, 16, "flip")
    assert loaded.strategies["fine_tune"] == {}
    assert loaded.strategies["zero_shot"] == {}
    assert loaded.strategies["prototypical"] == {"episodes_from": "target", "n_way": 2}
    before = (ROOT / "params.yaml").read_text()
    after = Path("params.yaml").read_text()
    for comment in (
        "# Who competes",
        "# Likewise",
        "# feature extraction",
        "# students",
        "# pixels a side",
        "# auto, fp32",
    ):
        assert comment in before
        assert comment in after
    deps = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["prepare"]["deps"]
    assert str(folder) in deps
    line = "      - data/raw       # what comes with Graft\n"
    assert Path("dvc.yaml").read_text() == PIPELINE.replace(line, f"{line}      - {folder}\n")
    assert "Nothing to do" in init(folder)
    assert Path("params.yaml").read_text() == after


def test_what_somebody_changed_stays_until_the_data_change(clone, tmp_path):
    cached_weights()
    folder = photos(tmp_path / "first", "a", "b")
    init(folder, "--yes")
    own = Path("params.yaml").read_text().replace("batch_size: 2", "batch_size: 6").replace("{lr: 0.005}", "{lr: 0.5}")
    own = own.replace("  linear_probe: {}", "  mine: {strategy: fine_tune}   # my own\n  linear_probe: {}")
    own = own.replace("compare: [linear_probe, knn_probe, lp_ft]", "compare: [mine]")
    Path("params.yaml").write_text(own)
    assert "Nothing to do" in init(folder)
    assert Path("params.yaml").read_text() == own
    other = photos(tmp_path / "second", "a", "b", count=5)
    init(other, "--yes")
    loaded = params.load(clone)
    assert loaded.strategies["mine"] == {"strategy": "fine_tune"}
    assert "# my own" in Path("params.yaml").read_text()
    assert loaded.strategies["lp_ft"]["recipe"]["lr"] == 0.005
    assert loaded.compare == ("linear_probe", "knn_probe", "lp_ft")
    deps = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["prepare"]["deps"]
    assert str(other) in deps
    assert str(folder) not in deps


def test_a_small_backbone_keeps_its_recipes_and_competes_as_far_as_the_data_allow(clone, tmp_path):
    target = photos(tmp_path / "scans", "a", "b")
    source = photos(tmp_path / "drawings", "a", "b")
    unlabelled = photos(tmp_path / "more", "2024", "2025")
    before = params.load(clone)
    init(target, *SOURCE, source, "--unlabelled", unlabelled, "--yes")
    loaded = params.load(clone)
    assert data() == {
        "target": {"folder": str(target), "layout": "class"},
        "source": {"folder": str(source), "layout": "class"},
        "unlabelled": {"folder": str(unlabelled), "layout": None},
    }
    assert loaded.train == before.train
    assert set(before.compare) - set(loaded.compare) == {"hard_sharing", "zero_shot"}  # neither tasks nor descriptions
    assert "unseen" not in loaded.strategies["zero_shot"]


@pytest.mark.parametrize(
    ("name", "divisor"), [("resnet18", 1), ("vgg16_bn", 1), ("vgg16", 10), ("timm:vgg16.tv_in1k", 10)]
)
def test_a_backbone_without_normalisation_is_trained_at_a_tenth_of_the_rates(name, divisor):
    """SqueezeNet diverges within ten steps at those of the others."""
    facts = offers.Facts(
        classes=2, training_images=100, smallest=50, source=False, descriptions=False, tasks=False, light=True,
        own=False, backbone=name,
    )  # fmt: skip
    assert recipes.train(facts)["lr"] * divisor == 0.02
    assert recipes.entry("lp_ft", facts, 10)["recipe"]["lr"] * divisor == 0.005
    assert recipes.entry("lp_ft", replace(facts, backbone="resnet18"), 10)["recipe"]["lr"] == 0.005


def test_nothing_is_written_before_somebody_said_yes(clone, tmp_path):
    folder = photos(tmp_path / "x", "a", "b")
    source = photos(tmp_path / "y", "a", "b")
    before = {name: Path(name).read_text() for name in ("params.yaml", "dvc.yaml")}
    with pytest.raises(ParamsError, match="add --yes"):
        init(folder, *SOURCE, source)
    assert "Nothing was written" in init(folder, *SOURCE, source, "--dry-run")
    Path("params.yaml").write_text(before["params.yaml"].replace("resamples: 2000", "resamples: 1"))
    with pytest.raises(ParamsError, match="resamples is 1"):
        init(folder, *SOURCE, source, "--yes")  # an error of somebody's own, found before anything is written
    assert Path("params.yaml").read_text() == before["params.yaml"].replace("resamples: 2000", "resamples: 1")
    assert Path("dvc.yaml").read_text() == before["dvc.yaml"]


@pytest.mark.parametrize(
    ("folders", "layout", "splits"),
    [
        (("a", "b"), "class", {}),
        (("a/2023", "b/2024"), "class", {}),
        (
            ("Training/a", "Training/b", "valid/a", "test/b"),
            "split/class",
            {"Training": "train", "valid": "val", "test": "test"},
        ),
        (("a/train", "b/train", "a/test", "b/test"), "class/split", {"train": "train", "test": "test"}),
        (("train/a", "train/b"), "split/class", {"train": "train"}),
        (("train/a", "train/b", "val/a", "val/b"), "split/class", {"train": "train", "val": "test"}),
    ],
)
def test_layouts_are_recognised(folders, layout, splits, tmp_path):
    found = layouts.discover(photos(tmp_path / "x", *folders, count=1))
    assert "/".join(found.levels) == layout
    assert found.parts == splits


def test_domains_are_recognised_and_one_must_be_named(workspace, tmp_path):
    names = [
        f"{domain}/{part}/{kind}"
        for domain in ("art", "photo", "sketch")
        for part in ("train", "test")
        for kind in ("cat", "dog")
    ]
    folder = photos(tmp_path / "pacs", *names, count=1)
    with pytest.raises(ParamsError, match=r"folders art, photo, sketch, .* cat, dog.*--domain art.*--layout class"):
        init(folder)
    with pytest.raises(DataError, match="did you mean 'sketch'"):
        init(folder, "--domain", "sketsch")
    init(folder, "--backbone", "small_resnet", "--domain", "sketch", "--yes")
    assert data()["target"] == {
        "folder": str(folder), "layout": "domain/split/class", "domain": "sketch",
        "splits": {"train": "train", "test": "test"},
    }  # fmt: skip
    assert data()["source"]["domain"] == ["art", "photo"]
    init(folder, "--backbone", "small_resnet", "--domain", "sketch", "--source-domain", "photo", "--yes")
    assert data()["source"]["domain"] == "photo"
    init(photos(tmp_path / "own", "cat", "dog"), *SOURCE, folder, "--yes")  # of another place, all
    assert data()["source"] == {
        "folder": str(folder), "layout": "domain/split/class", "splits": {"train": "train", "test": "test"}
    }  # fmt: skip
    with pytest.raises(ParamsError, match="is the target's own domain"):
        init(folder, "--domain", "sketch", "--source-domain", "sketch")


def table(root: Path, header: str, row: str, count: int = 8) -> Path:
    """A CSV of images that lie in the folder `scans` beside it. In `row`, {n} counts, {c} and {d} alternate."""
    photos(root, "scans", count=count)
    lines = [row.format(n=n, c="xy"[n % 2], d=("train", "test")[n // 2 % 2]) for n in range(count)]
    (root / "table.csv").write_text("\n".join([header, *lines]) + "\n")
    return root / "table.csv"


def test_the_columns_of_a_table_are_guessed_and_shown(workspace, tmp_path):
    path = table(tmp_path / "clinic", "file,diagnosis,patient_id,subset,age", "{n}.png,{c},p{n},{d},4{n}")
    said = init(path, *SOURCE, photos(tmp_path / "y", "x", "y", count=1), "--yes")
    assert "path = file, label = diagnosis, split = subset, group = patient_id" in " ".join(said.split())
    assert data()["target"] == {
        "folder": str(path.parent / "scans"),
        "manifest": str(path),
        "splits": {"test": "test", "train": "train"},
        "columns": {"path": "file", "label": "diagnosis", "split": "subset", "group": "patient_id"},
    }
    found = listing(params.load(workspace).data.target, "data.target")
    assert found.columns == ("age",)
    assert {image.group for image in found.images} == {f"p{n}" for n in range(8)}


def test_several_labels_are_tasks_and_columns_can_be_named(workspace, tmp_path):
    path = table(tmp_path / "clinic", "image,kind,colour,target", "scans/{n}.png,{c},{d},7")
    source = photos(tmp_path / "y", "x", "y", count=1)
    init(path, *SOURCE, source, "--label", "kind, colour", "--yes")
    assert data()["target"]["columns"] == {"path": "image", "label": "kind", "tasks": ["colour"]}
    assert "hard_sharing" in params.load(workspace).compare
    with pytest.raises(DataError, match=r"no column 'kindd'; did you mean 'kind'"):
        init(path, *SOURCE, source, "--label", "kindd")


def test_a_table_that_could_be_read_in_two_ways_is_refused(workspace, tmp_path):
    path = table(tmp_path / "clinic", "file,label,category", "{n}.png,{c},{d}")
    with pytest.raises(DataError, match=r"label, category\): say which with --label; .* file, label, category"):
        init(path)
    other = table(tmp_path / "other", "file,kind", "{n}.png,{c}")
    with pytest.raises(DataError, match="no column that is called like a label: say which with --label"):
        init(other)


def test_attributes_are_sorted_into_tasks_and_descriptions(workspace, tmp_path):
    (tmp_path / "kinds.csv").write_text("class,fur,legs\na,yes,4\nb,no,2\n")
    init(
        photos(tmp_path / "x", "a", "b"), *SOURCE, photos(tmp_path / "y", "a", "b"),
        "--attributes", tmp_path / "kinds.csv", "--yes",
    )  # fmt: skip
    assert data()["attributes"] == str(tmp_path / "kinds.csv")
    assert data()["tasks"] == ["fur"]
    assert {"zero_shot", "hard_sharing"} <= set(params.load(workspace).compare)


def test_what_is_wrong_with_the_images_is_told(workspace, tmp_path):
    folder = photos(tmp_path / "x", "many", count=33)
    photos(folder / "few", ".", count=3)
    (folder / "few" / "broken.jpg").write_bytes(b"no image")
    said = " ".join(init(folder, *SOURCE, photos(tmp_path / "y", "many", "few"), "--dry-run").split())
    assert "1 of 37 images looked at do not open, such as" in said
    assert "1 class has fewer than 10 images, such as 'few' with 4" in said
    photos(folder / "more", ".", count=2)
    assert "'many' has 33 images and 'more' 2: with train.class_weights: balanced" in " ".join(
        init(folder, *SOURCE, photos(tmp_path / "z", "many", "few"), "--dry-run").split()
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["nowhere"], DataError, "PATH nowhere: there is no such file or folder"),
        (["empty"], DataError, "holds no images"),
        (["flat"], DataError, "nothing that looks like labels: 4 images lie right in it"),
        (["one"], DataError, "at least 2 are needed"),
        (["good", "--test", "val"], ParamsError, "has no folders of parts; it was taken for class"),
        (["parts", "--test", "tets"], DataError, "did you mean 'test'"),
        (["good", "--domain", "photo"], ParamsError, "taken for class, which has no domains"),
        (["good", "--backbone", "resnt50"], ParamsError, "did you mean 'resnet50'"),
        (["good"], MachineError, "no pretrained weights in"),
        (["good", "--backbone", "small_resnet"], ParamsError, "give --source PATH, or --weights"),
        (["good", "--source", "other"], DataError, "classes that the target lacks: c"),
        (["s3://bucket/photos"], ParamsError, "add --import"),
        (["good", "--track", "--import"], ParamsError, "give one of the two"),
        (["torchvision:CIFR10"], ParamsError, "did you mean 'CIFAR10'"),
        (["good/a/0.png"], DataError, "is a file, but no table"),
    ],
)
def test_errors_name_the_value_and_the_choices(arguments, kind, message, workspace):
    photos(workspace / "good", "a", "b", count=1)
    photos(workspace / "other", "a", "c", count=1)
    photos(workspace / "parts", "train/a", "train/b", "test/a", "test/b", count=1)
    photos(workspace / "one", "a", count=2)
    photos(workspace / "flat", ".")
    (workspace / "empty").mkdir()
    before = Path("params.yaml").read_text()
    with pytest.raises(GraftError, match=message.replace("(", r"\(")) as caught:
        init(*arguments, "--yes")
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert Path("params.yaml").read_text() == before


def test_a_data_set_of_torchvisions_by_name(workspace, tmp_path):
    """From the name to the list of images; asked about before it is written."""
    name = "torchvision:FakeData?size=30&num_classes=3&image_size=3x20x24"
    source = photos(tmp_path / "y", "0", "1", count=1)
    with pytest.raises(ParamsError, match=r"Fetch torchvision:FakeData.* into data/raw/fakedata-30-3-3x20x24"):
        init(name, *SOURCE, source)
    assert "Fetched torchvision:FakeData" in init(name, *SOURCE, source, "--yes")
    assert data()["target"] == {"folder": "data/raw/fakedata-30-3-3x20x24", "layout": "class"}
    assert len(listing(params.load(workspace).data.target, "data.target").images) == 30
    assert "Nothing to do" in init(name, *SOURCE, source)
