"""prepare divides images into parts: as the data say, by group, by content, and never otherwise than before."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from PIL import Image

from components import paths
from components.data import prepared, split
from components.stages.prepare import prepare
from prepare_support import COLOURS, fill, manifest_rows, prepared_bytes, reported, set_params


def _table(rows: list[tuple], header: str = "path,label,split,group") -> dict:
    Path("images.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    names = header.split(",")
    return {
        "manifest": "images.csv",
        "folder": "images",
        "columns": {name: name for name in ("path", "label", "split", "group") if name in names},
    }


def _groups(names: list[str]) -> list[tuple]:
    return [(path.relative_to("images"), path.parent.name, names[number % len(names)])
            for number, path in enumerate(sorted(Path("images").rglob("*.png")))]  # fmt: skip


def test_images_that_arrive_later_move_no_earlier_one(workspace):
    prepare()
    before = {row["path"]: row["split"] for row in manifest_rows()}
    fill(workspace / "later", count=10, seed=9)
    for path in sorted((workspace / "later").rglob("*.png")):
        path.rename(workspace / "images" / path.parent.name / f"a{path.name}")
    prepare()
    after = {row["path"]: row["split"] for row in manifest_rows()}
    assert len(after) == 120
    assert {path: after[path] for path in before} == before


def test_the_images_of_a_group_share_a_part_and_keep_it(workspace):
    groups = [f"patient {number}" for number in range(25)]
    set_params(data={"target": _table(_groups(groups), "path,label,group")})
    prepare()
    owner = {f"images/{path}": group for path, _, group in _groups(groups)}
    before: dict[str, set[str]] = {}
    for row in manifest_rows():
        before.setdefault(owner[row["path"]], set()).add(row["split"])
    assert {len(parts) for parts in before.values()} == {1}
    assert {part for parts in before.values() for part in parts} == set(split.SPLITS)

    fill(workspace / "later", count=10, seed=9)
    for path in sorted((workspace / "later").rglob("*.png")):
        path.rename(workspace / "images" / path.parent.name / f"a{path.name}")
    groups = [*groups, "patient 99"]
    set_params(data={"target": _table(_groups(groups), "path,label,group")})
    prepare()
    owner = {f"images/{path}": group for path, _, group in _groups(groups)}
    after: dict[str, set[str]] = {}
    for row in manifest_rows():
        after.setdefault(owner[row["path"]], set()).add(row["split"])
    assert {group: after[group] for group in before} == before


def test_what_nobody_has_labelled_is_not_trained_on_in_a_group_that_is_held_out(workspace):
    """Every third image has no label. Its group is in the part that the labelled ones are in."""
    labelled = _groups([f"patient {number}" for number in range(25)])
    rows = [(path, "" if number % 3 == 0 else label, group) for number, (path, label, group) in enumerate(labelled)]
    set_params(data={"target": _table(rows, "path,label,group")})
    prepare()
    found = {row["path"].removeprefix("images/"): row["split"] for row in manifest_rows()}
    part = {group: found[str(path)] for path, label, group in rows if label}
    expected = {str(path): part[group] for path, label, group in rows if label or part[group] == "train"}
    assert found == expected
    left_out = [f"images/{path}" for path, label, group in rows if not label and part[group] != "train"]
    assert reported()["target"]["in_held_out_groups"] == sorted(left_out)
    assert len(left_out) > 5


def test_a_part_that_a_table_gives_to_a_group_is_that_of_its_unlabelled_images_too(workspace):
    """The table says "test" beside the labelled image of a group alone."""
    rows = [(path, label, ("train", "val", "test")[number % 3], f"patient {number}")
            for number, (path, label, _) in enumerate(_groups(["-"]))]  # fmt: skip
    first, second, third = rows[:3]
    added = [(second[0].with_name("more1.png"), "", "", second[3]), (third[0].with_name("more2.png"), "", "", third[3]),
             (first[0].with_name("more3.png"), "", "", first[3])]  # fmt: skip
    for number, (path, *_) in enumerate(added):
        Image.new("RGB", (20, 20), (number, 90, 200)).save(Path("images", path))
    set_params(data={"target": _table([*rows, *added])})
    prepare()
    found = {row["path"]: row["split"] for row in manifest_rows()}
    assert reported()["target"]["in_held_out_groups"] == ["images/cat/more1.png", "images/cat/more2.png"]
    assert found["images/cat/more3.png"] == "train"
    assert len(found) == 91


def test_a_group_that_the_target_holds_out_is_not_in_a_source_of_the_same_table(workspace):
    """Both scanners have seen every patient."""
    groups = _groups([f"person {number}" for number in range(15)])
    rows = [(*row, ("new", "old")[number // 15 % 2]) for number, row in enumerate(groups)]
    table = _table(rows, "path,label,group,scanner")
    columns = {**table["columns"], "domain": "scanner"}
    sides = {"target": {**table, "domain": "new"}, "source": {**table, "domain": "old"}}
    options = {"size": 16, "val_fraction": 0.25, "test_fraction": 0.25, "source_val_fraction": 0.2}
    set_params(data={side: {**own, "columns": columns} for side, own in sides.items()}, prepare=options)
    prepare()
    patient = {f"images/{path}": group for path, _, group, _ in rows}
    found = manifest_rows()
    parts = {patient[row["path"]]: row["split"] for row in found if row["domain"] == "target"}
    source = {part: {patient[row["path"]] for row in found if row["domain"] == "source" and row["split"] == part}
              for part in ("train", "val")}  # fmt: skip
    assert source["val"]
    assert source["train"] == {group for group, part in parts.items() if part == "train"} - source["val"]
    left_out = {patient[path] for path in reported()["source"]["in_held_out_groups"]}
    assert left_out == {group for group, part in parts.items() if part != "train"} - source["val"]
    assert left_out


def test_given_parts_are_obeyed_and_a_missing_one_is_cut_from_train(workspace):
    rows = [(path, label, "test" if path.stem > "19" else "train") for path, label, _ in _groups(["-"])]
    set_params(data={"target": _table(rows, "path,label,split")})
    prepare()
    found = {row["path"]: row["split"] for row in manifest_rows()}
    assert {path for path, part in found.items() if part == "test"} == {
        f"images/{path}" for path, _, part in rows if part == "test"
    }
    expected = {split.within("train", {"train", "test"}, row["sha256"], val_fraction=0.25, test_fraction=0.25, seed=0)
                for row in manifest_rows() if row["split"] == "val"}  # fmt: skip
    assert expected == {"val"}


def test_of_copies_in_train_and_test_the_one_in_test_is_kept_and_told(workspace):
    shutil.copy("images/cat/25.png", "images/cat/00a.png")
    rows = [(path, label, "test" if path.stem > "19" else "train") for path, label, _ in _groups(["-"])]
    set_params(data={"target": _table(rows, "path,label,split")})
    prepare()
    assert reported()["target"]["overlaps"] == [["images/cat/25.png", "images/cat/00a.png"]]
    assert reported()["target"]["duplicates"] == []
    assert {row["path"]: row["split"] for row in manifest_rows()}["images/cat/25.png"] == "test"


def test_unlabelled_images_are_trained_on_without_a_label(workspace, picture):
    Path("more").mkdir()
    for number in range(12):
        Image.fromarray(picture(20, 20, number)).save(f"more/{number:02d}.png")
    shutil.copy("images/cat/03.png", "more/copy.png")
    set_params(data={"target": {"folder": "images"}, "unlabelled": {"folder": "more", "layout": None}})
    prepare()
    rows = manifest_rows()
    own = [row for row in rows if row["path"].startswith("more/")]
    assert len(own) == 12
    assert {(row["domain"], row["split"], row["label"]) for row in own} == {("target", "train", "")}
    assert reported()["target"]["duplicates"] == [["images/cat/03.png", "more/copy.png"]]
    assert Counter(row["label"] for row in rows if row["split"] == "train" and row["label"]) == dict.fromkeys(
        COLOURS, 4
    )
    data = prepared.read(paths.PREPARED)
    assert len(data.label_space.classes["label"]) == 3
    assert len(data.target.rows("train", labelled=False)) == sum(r["split"] == "train" and not r["label"] for r in rows)


def test_a_table_s_further_tasks_are_in_the_label_space_and_the_source_may_lack_them(workspace):
    fill(workspace / "drawings", classes=("cat", "dog"), count=40, seed=1)
    rows = [(path, label, "odd" if number % 2 else "even") for number, (path, label, _) in enumerate(_groups(["-"]))]
    target = _table(rows, "path,label,parity")
    target["columns"]["tasks"] = ["parity"]
    set_params(data={"target": target, "source": {"folder": "drawings"}})
    prepare()
    data = prepared.read(paths.PREPARED)
    assert data.label_space.classes == {"label": ("cat", "dog", "owl"), "parity": ("even", "odd")}
    assert len(data.domains["source"].rows("train", labelled=True)) > 60
    hidden = [row for row in manifest_rows() if row["domain"] == "target" and not row["label"]]
    assert hidden
    assert not any(row["parity"] for row in hidden)


def test_the_same_images_laid_out_in_other_ways_pack_into_the_same_bytes(workspace):
    prepare()
    found = prepared_bytes()
    order = [row["sha256"] for row in manifest_rows()]
    set_params(data={"target": _table([row[:2] for row in reversed(_groups(["-"]))], "path,label")})
    prepare()
    assert prepared_bytes()["target.npy"] == found["target.npy"]
    for label in COLOURS:
        for part, names in (("a", "0"), ("b", "12")):
            Path("domains", part, label).mkdir(parents=True)
            for path in Path("images", label).glob(f"[{names}]*.png"):
                shutil.copy(path, Path("domains", part, label))
    set_params(data={"target": {"folder": "domains", "layout": "domain/class"}})
    prepare()
    assert prepared_bytes()["target.npy"] == found["target.npy"]
    assert [row["sha256"] for row in manifest_rows()] == order
