"""The stage in a workspace of known answers: what reports/evaluation.json holds, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components import jsonfile, paths, tensorfile
from components.data import prepared
from components.errors import DataError, GraftError, ParamsError
from components.evaluation import metrics
from components.stages.evaluate import evaluate
from components.types import TASK, LabelSpace

PARAMS = """
seed: 0
data: {target: {folder: images}, source: {folder: drawings}}
compare: [from_scratch, source_only, dan, fine_tune, prototypical]
students: []
strategies: {from_scratch: {}, source_only: {}, dan: {}, fine_tune: {}, prototypical: {}}
evaluate: {resamples: 200, coverages: [1.0, 0.8]}
export: {coverage: 0.8}
promote: {registered_model: toy, aim: better, min_gain: 0.0, margin: 0.01, min_speed_up: 1.2, max_class_loss: 0.05,
  max_slice_loss: 0.05, max_ece_gain: 0.03, max_latency_ratio: 2.0, max_size_ratio: 4.0, min_agreement: 0.995,
  max_known_loss: 0.05, approval: auto}
"""
CLASSES = ("cat", "dog", "owl")
IMAGES = {("target", "train"): 6, ("target", "val"): 60, ("target", "test"): 150, ("source", "val"): 40}
RECENT = {("recent", "train"): 5, ("recent", "val"): 90}
RECENT_SKILL = {"from_scratch": -1.0, "source_only": 2.0, "dan": 4.0, "fine_tune": 0.5, "prototypical": 1.0}
"""On these, those are best that are not on the others, and the worst answers the wrong classes."""
SKILL = {"from_scratch": 1.0, "source_only": 1.5, "dan": 1.2, "fine_tune": 2.7, "prototypical": 2.0}
NEEDS = {"source_only": ["source"], "dan": ["source", "unlabelled"]}
SURE = 5.0
"""Factor by which all are too sure of themselves."""


def _prepare(recent: float | None = None) -> prepared.Prepared:
    """`recent`: with images that came in since, of which this share is labelled."""
    rng = np.random.default_rng(0)
    rows, pixels = [], {}
    for domain in ("target", "source", *([] if recent is None else ["recent"])):
        for (of, split), count in {**IMAGES, **RECENT}.items():
            for index in range(count if of == domain else 0):
                rows.append(
                    {"path": f"{domain}/{split}/{index}.png", "domain": domain, "split": split, "sha256": f"{index:x}",
                     "width": 20 + 4 * (index % 2), "height": 20, TASK: CLASSES[rng.integers(3)],
                     "site": ("north", "south")[index % 2]}
                )  # fmt: skip
                if domain == "recent" and index >= (recent or 0) * count:
                    rows[-1][TASK] = ""
        count = sum(row["domain"] == domain for row in rows)
        pixels[domain] = np.zeros((count, 8, 8, 3), np.uint8)
    problems = {domain: {"unreadable": [], "duplicates": [], "contradictions": []} for domain in pixels}
    prepared.write(paths.PREPARED, rows, pixels, LabelSpace({TASK: CLASSES}), problems, ("site",))
    return prepared.read(paths.PREPARED)


def _train(name: str, data: prepared.Prepared, **facts) -> None:
    rng = np.random.default_rng(len(name))
    arrays = {}
    for split, domain, part in (("val", "target", "val"), ("test", "target", "test"), ("source", "source", "val")):
        of = data.domains[domain]
        labels = of.labels[TASK][of.rows(part, labelled=True)]
        logits = rng.normal(size=(2, len(labels), 3))
        logits[:, np.arange(len(labels)), labels] += SKILL[name]
        arrays[f"{split}/{TASK}/logits"] = (SURE * logits).astype(np.float32)
        arrays[f"{split}/{TASK}/labels"] = labels
    if data.recent is not None:
        labels = data.recent.labels[TASK][data.recent.rows("val")]
        logits = np.random.default_rng(len(name)).normal(size=(2, len(labels), 3))
        logits[:, np.arange(len(labels)), np.arange(len(labels)) % 3] += RECENT_SKILL[name]
        arrays[f"recent/{TASK}/logits"] = logits.astype(np.float32)
        arrays[f"recent/{TASK}/labels"] = labels
    few = {"n_way": 3, "k_shot": 1, "n_query": 5, "count": 50} if name == "prototypical" else None
    if few:
        arrays["episodes/accuracy"] = rng.choice([0.6, 0.8], size=(2, 50)).astype(np.float32)
    if not facts.get("failed"):
        tensorfile.save(paths.MODELS / name / "predictions.safetensors", arrays)
    known = {"name": name, "strategy": name, "family": "fine-tuning", "needs": NEEDS.get(name, ["target_labels"]),
             "teacher": None, "hyper_parameters": {}, "classes": {TASK: list(CLASSES)}, "seeds": [3, 5], "best_seed": 5,
             "chosen_by": "val", "oracle_seed": 3, "parameters": 7, "weights_sha256": "cd", "data_sha256": "ab",
             "episodes": few, "failed": None}  # fmt: skip
    jsonfile.write(paths.MODELS / name / "model.json", {**known, **facts})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> prepared.Prepared:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS, encoding="utf-8")
    data = _prepare()
    for name in SKILL:
        _train(name, data)
    return data


def _evaluation() -> dict:
    evaluate()
    return jsonfile.read(paths.EVALUATION)


def test_everything_promised_is_there(workspace, capsys):
    found = _evaluation()
    assert found["verdict"] in capsys.readouterr().out
    assert (found["chosen"], found["selected_by"], found["seeds"]) == ("fine_tune", "val.accuracy", [3, 5])
    assert found["images"] == {"val": 60, "test": 150, "source": 40}
    assert (found["transfer"]["finding"], found["transfer"]["over"]) == ("helps", "from_scratch")
    assert len(found["pairs"]) == 10
    accuracies = [row["val"]["accuracy"] for row in found["strategies"]]
    assert accuracies == sorted(accuracies, reverse=True)
    rows = {row["strategy"]: row for row in found["strategies"]}
    first = rows["fine_tune"]
    assert set(first) == {
        "strategy", "family", "needs", "teacher", "chosen_by", "oracle", "other_tasks", "unseen", "negative_transfer",
        "parameters", "weights_sha256", "seeds", "val", "test", "per_seed", "letters", "tied_with_first", "per_class",
        "worst_class", "temperature", "reliability", "selective", "aurc", "slices", "worst_slice", "episodes",
        "confusion", "mistakes",
    }  # fmt: skip
    assert [entry["seed"] for entry in first["per_seed"]] == [3, 5]
    assert np.mean([entry["accuracy"] for entry in first["per_seed"]]) == pytest.approx(first["test"]["accuracy"])
    assert first["oracle"]["test_accuracy"] == first["per_seed"][0]["accuracy"]
    assert first["tied_with_first"]
    assert not rows["from_scratch"]["tied_with_first"]
    assert set(first["letters"]).isdisjoint(rows["from_scratch"]["letters"])
    assert rows["prototypical"]["episodes"]["count"] == 50
    assert first["episodes"] is None


def test_the_details_are_those_of_the_best_seed_on_the_test_images(workspace):
    first = _evaluation()["strategies"][0]
    arrays = tensorfile.load(paths.MODELS / "fine_tune" / "predictions.safetensors")
    answers, labels = arrays[f"test/{TASK}/logits"][1].argmax(1), arrays[f"test/{TASK}/labels"]
    right = answers == labels
    assert np.trace(first["confusion"]) == right.sum()
    assert first["selective"][0]["test_accuracy"] == pytest.approx(right.mean())
    assert sum(entry["images"] for entry in first["reliability"]["after"]) == 150
    assert [(entry["column"], entry["value"]) for entry in first["slices"]] == [
        ("site", "north"), ("site", "south"), ("size", "20 x 20"), ("size", "24 x 20"),
        ("domain", "target"), ("domain", "source"),
    ]  # fmt: skip
    assert first["slices"][0]["accuracy"] == pytest.approx(right[::2].mean())
    assert first["worst_slice"]["accuracy"] == min(entry["accuracy"] for entry in first["slices"][:4])
    rows = workspace.target.rows("test", labelled=True)
    calibrated = metrics.probabilities(arrays[f"test/{TASK}/logits"][1] / first["temperature"][TASK]["value"]).max(1)
    assert first["mistakes"][0]["confidence"] == pytest.approx(calibrated[~right].max())
    assert first["selective"][1]["test_coverage"] == (calibrated >= first["selective"][1]["threshold"]).mean()
    assert len(first["mistakes"]) == min((~right).sum(), 24)
    for entry in first["mistakes"]:
        index = int(np.flatnonzero(rows == entry["row"])[0])
        assert entry["path"] == f"target/test/{index}.png"
        assert (entry["label"], entry["answer"]) == (CLASSES[labels[index]], CLASSES[answers[index]])


def test_confidence_is_set_by_the_validation_labels(workspace):
    rows = {row["strategy"]: row for row in _evaluation()["strategies"]}
    fitted = {name: row["temperature"][TASK] for name, row in rows.items()}
    assert {(entry["fitted_on"], entry["images"]) for entry in fitted.values()} == {("val", 60)}
    assert len(fitted) == 5
    for row in rows.values():
        assert row["temperature"][TASK]["value"] > 2
        assert row["test"]["ece_calibrated"] < row["test"]["ece"]
        assert row["test"]["log_loss_calibrated"] < row["test"]["log_loss"]


def test_adaptation_that_does_harm_is_flagged(workspace):
    rows = {row["strategy"]: row for row in _evaluation()["strategies"]}
    harm = rows["dan"]["negative_transfer"]
    assert (harm["strategy"], harm["over"]) == ("dan", "source_only")
    assert harm["difference"] == pytest.approx(
        rows["dan"]["test"]["accuracy"] - rows["source_only"]["test"]["accuracy"]
    )
    assert harm["difference"] < 0
    assert rows["fine_tune"]["negative_transfer"] is rows["source_only"]["negative_transfer"] is None


def test_a_competitor_that_failed_is_left_out_with_its_reason(workspace, capsys):
    _train("from_scratch", workspace, failed="seed 3: the loss is nan after 40 steps")
    found = _evaluation()
    assert [row["strategy"] for row in found["failed"]] == ["from_scratch"]
    assert found["failed"][0]["reason"] == "seed 3: the loss is nan after 40 steps"
    assert len(found["strategies"]) == 4
    assert found["transfer"]["finding"] == "unknown"
    assert found["verdict"].endswith("Whether transfer helps is unknown: from_scratch failed.")
    assert "left out: from_scratch, which failed: seed 3" in capsys.readouterr().out


def test_where_all_failed_the_stage_fails(workspace):
    for name in SKILL:
        _train(name, workspace, failed="nan")
    with pytest.raises(GraftError, match="every strategy failed"):
        evaluate()


def test_equal_input_gives_equal_bytes(workspace):
    evaluate()
    first = paths.EVALUATION.read_bytes()
    evaluate()
    assert paths.EVALUATION.read_bytes() == first


def test_predictions_in_another_order_than_the_manifest_are_refused(workspace):
    text = (paths.PREPARED / prepared.MANIFEST).read_text(encoding="utf-8").splitlines(keepends=True)
    text[20], text[21] = text[21], text[20]
    if text[20].split(",")[6] == text[21].split(",")[6]:
        text[20], text[22] = text[22], text[20]
    (paths.PREPARED / prepared.MANIFEST).write_text("".join(text), encoding="utf-8")
    with pytest.raises(DataError, match="other val images than data/prepared has"):
        evaluate()


def test_a_slice_that_does_not_exist_is_refused(workspace):
    Path("params.yaml").write_text(PARAMS.replace("evaluate: {", "evaluate: {slices: [sight], "), encoding="utf-8")
    with pytest.raises(ParamsError, match=r"evaluate\.slices: the manifest has no column 'sight'; did you mean 'site'"):
        evaluate()


def test_the_stage_starts_without_torch_and_without_what_costs_a_second():
    code = "import sys, components.stages.evaluate; print({'torch', 'sklearn', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def _with_recent(labelled: float) -> prepared.Prepared:
    data = _prepare(labelled)
    for name in SKILL:
        _train(name, data)
    return data


def test_recent_images_choose_by_agreement(workspace):
    data = _with_recent(0.0).recent
    assert data is not None
    found = _evaluation()
    assert (found["chosen"], found["selected_by"]) == ("dan", "recent.agreement")
    recent, rows = found["recent"], {row["strategy"]: row for row in found["strategies"]}
    agreements = [row["recent"]["agreement"] for row in found["strategies"]]
    assert agreements == sorted(agreements, reverse=True)
    assert rows["fine_tune"]["val"]["accuracy"] > rows["dan"]["val"]["accuracy"]
    assert (recent["images"], recent["labelled"], found["images"]["recent"]) == (90, 0, 90)
    assert recent["rows"] == data.rows("val").tolist()
    assert set(recent["votes_without"]) == set(SKILL)
    arrays = tensorfile.load(paths.MODELS / "dan" / "predictions.safetensors")
    decisions = arrays[f"recent/{TASK}/logits"].argmax(-1)
    assert rows["dan"]["recent"]["agreement"] == pytest.approx(
        (decisions == np.array(recent["votes_without"]["dan"])).mean()
    )
    assert rows["dan"]["recent"]["accuracy"] is None
    assert np.mean(np.array(recent["votes"]) == np.arange(90) % 3) > 0.8  # those who know outvote those who do not
    assert len(recent["doubtful"]) == 16
    least = recent["doubtful"][0]
    assert least["confidence"] == min(recent["confidence"])
    assert least["path"] == data.paths[least["row"]]
    assert {row["negative_transfer"] for row in rows.values()} == {None}
    assert "dan was chosen on 90 recent images, none of them labelled, where it decides as the" in found["verdict"]
    assert "fine_tune" in found["verdict"].split("agreement on the recent ones ranked lower")[0]


def test_labels_of_recent_images_take_the_place_of_votes(workspace):
    _with_recent(1.0)
    found = _evaluation()
    for row in found["strategies"]:
        assert row["recent"]["agreement"] == pytest.approx(row["recent"]["accuracy"])
    assert (found["recent"]["labelled"], found["recent"]["doubtful"]) == (90, [])
    assert "90 recent images, all labelled, where it is right on" in found["verdict"]


def test_recent_images_that_the_models_did_not_answer_are_refused(workspace):
    _prepare(0.0)
    with pytest.raises(DataError, match="other recent images than data/prepared has: train again"):
        evaluate()


def test_without_recent_images_nothing_is_said_of_them(workspace):
    found = _evaluation()
    assert list(found) == [
        "chosen", "verdict", "selected_by", "confidence", "classes", "images", "seeds", "transfer", "failed", "pairs",
        "strategies",
    ]  # fmt: skip
    assert "recent" not in paths.EVALUATION.read_text(encoding="utf-8")
