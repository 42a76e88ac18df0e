"""MLflow is told of a comparison: its runs compare, telling twice changes nothing, and a kill is made good."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from components import jsonfile, paths
from components.deployment import bundle
from components.errors import Unreachable
from components.tracking import registry, store, sync
from tracked_support import FAILED, NAMES, PARAMS, REASON, bundle_facts, serving, workspace


@pytest.fixture(autouse=True)
def own_store(monkeypatch):
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def synced(tmp_path_factory):
    """A workspace that was told to MLflow once."""
    root = workspace(tmp_path_factory.mktemp("tracked"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(store.URI_VARIABLE, raising=False)
        told = sync.sync(root, "toy", PARAMS)
        client, experiment = store.connect(root, "toy")
    return root, told, client, experiment


@pytest.fixture
def copied(synced, tmp_path):
    """The tracked workspace once more, for a test that changes it."""
    root, told, _, _ = synced
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    return copy, told, *store.connect(copy, "toy")


def _by_name(client, experiment) -> dict:
    return {run.info.run_name: run for run in client.search_runs([experiment])}


def _everything(client, experiment) -> list:
    """All that the store knows about the runs: every value of every metric, params, tags, times and files."""
    runs = sorted(client.search_runs([experiment]), key=lambda run: run.info.run_id)
    return [
        (
            run.info.run_id, run.info.status, run.info.start_time, run.info.end_time,
            {name: [(m.value, m.step, m.timestamp) for m in client.get_metric_history(run.info.run_id, name)]
             for name in run.data.metrics},
            run.data.params,
            run.data.tags,
            [entry.dataset.name for entry in run.inputs.dataset_inputs],
            [file.path for file in client.list_artifacts(run.info.run_id)],
        )
        for run in runs
    ]  # fmt: skip


def test_the_strategies_stand_below_their_comparison_in_its_order(synced):
    _, told, client, experiment = synced
    runs = client.search_runs([experiment])  # newest first, as MLflow's own list has them
    names = [run.info.run_name for run in runs]
    assert names == ["3 strategies: dan", "dan", "fine_tune", FAILED]
    parent = runs[0]
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs[1:]} == {parent.info.run_id}
    assert parent.info.run_id == sync.find_run(client, experiment, told["comparison"])
    assert set(told["strategies"]) == {*NAMES, FAILED}
    for run in runs[1:]:
        assert run.info.run_id == sync.find_run(client, experiment, told["strategies"][run.info.run_name])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED", "FINISHED", "FAILED"]
    assert [(run.info.end_time - run.info.start_time) / 1000 for run in runs] == [18.0, 3.0, 3.0, 3.0]


def test_a_comparison_s_run_holds_what_all_share_and_the_winner_s_numbers(synced):
    _, _, client, experiment = synced
    run = _by_name(client, experiment)["3 strategies: dan"]
    assert run.data.params == PARAMS
    assert run.data.tags["verdict"] == "dan was chosen. Transfer helps."
    assert (run.data.tags["strategy"], run.data.tags["transfer"], run.data.tags["failed"]) == ("dan", "helps", FAILED)
    note = run.data.tags["mlflow.note.content"]
    assert "1. **fine_tune**: 50.0% of the test images (40.0% to 60.0%); behind by 30.0 points" in note
    assert f"1. **{FAILED}**: failed; {REASON}" in note
    assert run.data.metrics["test_accuracy"] == 0.8
    assert run.data.metrics["bundle_fp32_cpu_batch1_latency_ms"] == 2.0
    assert run.data.metrics["bundle_fp32_cpu_batch1_files_images_per_s"] == 400.0
    assert run.data.metrics["bundle_fp32_cpu_peak_mib"] == 70.0
    assert run.data.metrics["bundle_fp32_cpu_batch1_over_torch"] == 2.5
    assert run.data.metrics["bundle_fp32_agreement"] == 1.0
    assert run.data.metrics["bundle_int8_cpu_agreement"] == 0.75
    assert run.data.metrics["transfer_low"] == 0.1
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "index.html", "leaderboard.json", "leaderboard_table.json", "evaluation.json", "audit.json", "benchmark.json",
        "accuracy.png",
    }  # fmt: skip


def test_every_strategy_has_the_same_names_so_that_they_compare(synced):
    _, _, client, experiment = synced
    runs = _by_name(client, experiment)
    dan, other = runs["dan"], runs["fine_tune"]
    assert set(dan.data.metrics) == set(other.data.metrics)
    assert set(dan.data.params) == set(other.data.params)
    assert set(dan.data.tags) == set(other.data.tags)
    assert dan.data.params["strategy"] == "dan"
    assert dan.data.params["train.steps"] == "20"
    assert dan.data.params["strategy.trade_off"] == "2.0"
    assert dan.data.params["needs"] == dan.data.tags["needs"] == "source, unlabelled"
    assert dan.data.tags["verdict"] == "chosen"
    assert other.data.tags["verdict"] == "behind by 30.0 points; negative transfer"
    assert (dan.data.tags["chosen"], other.data.tags["chosen"]) == ("true", "false")
    assert dan.data.metrics["val_accuracy"] == 0.8  # the mean over seeds, not the last of the series
    assert dan.data.metrics["test_accuracy_seed_0"] == pytest.approx(0.75)
    assert dan.data.metrics["latency_ms"] == 3.0
    assert dan.data.metrics["train_time_s"] == 3.0


def test_losses_are_series_of_the_seed_that_was_kept(synced):
    _, _, client, experiment = synced
    run = _by_name(client, experiment)["dan"]
    history = client.get_metric_history(run.info.run_id, "train_cross_entropy")
    assert [(entry.step, entry.value) for entry in history] == [(10, 1.1), (20, 1.05)]  # of the best seed, 1
    assert [entry.timestamp - run.info.start_time for entry in history] == [1500, 3000]  # of three seconds
    assert client.get_metric_history(run.info.run_id, "val_accuracy_by_step")[0].value == 0.7


def test_a_run_names_the_images_it_learned_from_and_those_it_was_asked(synced):
    _, _, client, experiment = synced
    inputs = _by_name(client, experiment)["dan"].inputs.dataset_inputs
    found = {entry.dataset.name: (entry.tags[0].value, json.loads(entry.dataset.profile)["images"],
                                  entry.dataset.digest) for entry in inputs}  # fmt: skip
    assert found == {
        "target images, train": ("training", 18, "d" * 36),
        "source images, train": ("training", 18, "d" * 36),
        "target images, val": ("validation", 4, "d" * 36),
        "target images, test": ("evaluation", 8, "d" * 36),
    }


def test_pictures_and_tables_are_where_mlflow_s_pages_look_for_them(synced):
    _, _, client, experiment = synced
    run = _by_name(client, experiment)["dan"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "model.json", "panels.png", "per_class.json", "abstain.json", "mistakes.json",
    }  # fmt: skip
    tables = [entry["path"] for entry in json.loads(run.data.tags["mlflow.loggedArtifacts"])]
    assert tables == ["per_class.json", "abstain.json", "mistakes.json"]
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (folder / "panels.png").read_bytes().startswith(b"\x89PNG")
    table = jsonfile.read(folder / "per_class.json")
    assert table["columns"][:2] == ["class_name", "recall"]
    assert [line[:2] for line in table["data"]] == [["a", 0.75], ["b", 1.0]]
    assert jsonfile.read(folder / "mistakes.json")["data"] == [["a/3.png", "a", "b", 0.7]]


def test_a_failed_training_is_a_failed_run_with_its_losses_and_its_reason(synced):
    _, _, client, experiment = synced
    run = _by_name(client, experiment)[FAILED]
    assert run.data.tags["verdict"] == "failed"
    assert REASON in run.data.tags["mlflow.note.content"]
    assert set(run.data.metrics) == {"lr", "train_cross_entropy", "train_mmd"}
    assert [entry.step for entry in client.get_metric_history(run.info.run_id, "train_mmd")] == [10]  # of seed 1


def test_telling_twice_changes_nothing(copied):
    root, told, client, experiment = copied
    before = _everything(client, experiment)
    assert sync.sync(root, "toy", PARAMS) == told
    assert _everything(client, experiment) == before
    client.delete_run(sync.find_run(client, experiment, told["strategies"]["dan"]))
    sync.sync(root, "toy", PARAMS)
    assert _by_name(client, experiment)["dan"].data.tags["verdict"] == "chosen"  # told again
    assert len(client.search_runs([experiment])) == 4


def test_new_times_join_their_runs_and_all_else_is_a_new_comparison(copied):
    root, told, client, experiment = copied
    jsonfile.write(root / paths.TIMINGS / "dan.json", {"train_time_s": 9.0, "seeds": 2})
    assert sync.sync(root, "toy", PARAMS) == told
    runs = client.search_runs([experiment])
    assert len(runs) == 4
    run_id = sync.find_run(client, experiment, told["strategies"]["dan"])
    assert client.get_run(run_id).data.metrics["train_time_s"] == 9.0
    assert len(client.get_metric_history(run_id, "test_accuracy")) == 1  # what did not change is not told again

    path = root / paths.MODELS / "dan" / "model.json"
    jsonfile.write(path, {**jsonfile.read(path), "weights_sha256": "trained anew"})
    again = sync.sync(root, "toy", PARAMS)
    assert len(client.search_runs([experiment])) == 8  # fine_tune, as it was, stands below the new parent too
    assert not set(again["strategies"].values()) & set(told["strategies"].values())

    other = sync.sync(root, "toy", {**PARAMS, "seed": "1"})
    assert other["comparison"] != again["comparison"]
    assert len(client.search_runs([experiment])) == 12


@pytest.mark.parametrize("after", [4, 11])
def test_a_telling_that_was_killed_is_completed(tmp_path, synced, copied, monkeypatch, after):
    """However far it came, telling again leaves what an undisturbed telling leaves, and no run twice."""
    _, _, client, experiment = copied
    root = workspace(tmp_path / "fresh")
    params = {**PARAMS, "seed": str(after)}
    calls = 0

    def dying(method):
        def call(self, *arguments, **options):
            nonlocal calls
            calls += 1
            if calls == after:
                raise KeyboardInterrupt
            return method(self, *arguments, **options)

        return call

    shutil.copytree(copied[0] / paths.MLFLOW_STORE, root / paths.MLFLOW_STORE)  # a fresh store costs seconds
    with monkeypatch.context() as patch:
        import mlflow

        for name in ("create_run", "log_batch", "log_inputs", "set_terminated"):
            patch.setattr(mlflow.MlflowClient, name, dying(getattr(mlflow.MlflowClient, name)))
        with pytest.raises(KeyboardInterrupt):
            sync.sync(root, "toy", params)
    told = sync.sync(root, "toy", params)
    client, experiment = store.connect(root, "toy")
    parent = sync.find_run(client, experiment, told["comparison"])
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert [run.info.run_name for run in children] == ["dan", "fine_tune", FAILED]
    for run in children:
        first = client.get_run(sync.find_run(synced[2], synced[3], synced[1]["strategies"][run.info.run_name]))
        assert run.data.metrics == first.data.metrics
        assert run.data.params == first.data.params
        assert run.inputs.to_dictionary() == first.inputs.to_dictionary()
        for name in run.data.metrics:
            assert len(client.get_metric_history(run.info.run_id, name)) == len(
                client.get_metric_history(first.info.run_id, name)
            )


def _tiny_bundle(folder: Path) -> dict:
    """A bundle that answers with the mean red, green and blue of an image."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["sides"], value_ints=[1, 2]),
        helper.make_node("ReduceMean", ["pixels", "sides"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("logits", "probabilities")
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    bundle.write(folder, {"fp32": model.SerializeToString()}, bundle_facts())
    return bundle.read(folder)


def test_a_registered_model_says_what_goes_in_and_comes_out_and_answers_its_own_example(copied):
    import mlflow

    root, told, client, experiment = copied
    run_id = sync.find_run(client, experiment, told["strategies"]["dan"])
    before = client.get_run(run_id).info
    facts = _tiny_bundle(root / paths.BUNDLE)
    example = np.zeros((1, 4, 4, 3), np.uint8)
    example[..., 1] = 9
    version = registry.register(client, "toy", run_id, root / paths.BUNDLE, example)
    assert registry.register(client, "toy", run_id, root / paths.BUNDLE, example) == version  # once
    after = client.get_run(run_id).info
    assert (after.status, after.end_time) == ("FINISHED", before.end_time)
    entry = client.get_model_version("toy", version)
    assert entry.run_id == run_id
    served = mlflow.pyfunc.load_model(f"models:/toy/{version}")
    signature = served.metadata.signature
    assert [(spec.name, spec.type, spec.shape) for spec in signature.inputs] == [("image", np.uint8, (-1, -1, -1, 3))]
    assert [(spec.name, spec.type, spec.shape) for spec in signature.outputs] == [
        ("logits", np.float32, (-1, 3)), ("probabilities", np.float32, (-1, 3)),
    ]  # fmt: skip
    answer = served.predict(served.input_example)
    assert answer["logits"].tolist() == [[0.0, 9.0, 0.0]]
    with registry.fetched(client, "toy", version) as folder:
        assert bundle.read(folder) == facts


def _ask(address: str, endpoint: str, question: dict) -> dict:
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{endpoint}", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_a_server_is_told_the_same_and_its_pages_find_what_they_compare(copied, monkeypatch):
    root, told, _, experiment = copied
    with monkeypatch.context() as away:
        away.setenv(store.URI_VARIABLE, "http://127.0.0.1:9")  # where nobody listens
        waiting = sync.sync(root, "toy", {**PARAMS, "seed": "7"}, later=True)
        assert sync.owed(root), "what MLflow was not told is forgotten"
        with pytest.raises(
            Unreachable, match=r"http://127\.0\.0\.1:9 does not answer: .*; the results wait in their files"
        ):
            sync.sync(root, "toy", {**PARAMS, "seed": "7"})
    with serving(root) as address:
        monkeypatch.setenv(store.URI_VARIABLE, address)
        assert sync.sync(root, "toy", PARAMS) == told  # which another way of asking had told already
        assert sync.sync(root, "toy", {**PARAMS, "seed": "7"}) == waiting
        assert not sync.owed(root)
        newest = {"experiment_ids": [experiment], "max_results": 4}
        runs = _ask(address, "runs/search", newest)["runs"]
        assert [run["info"]["run_name"] for run in runs] == ["3 strategies: dan", "dan", "fine_tune", FAILED]
        below = f"tags.`mlflow.parentRunId` = '{runs[0]['info']['run_id']}' and tags.verdict != 'failed'"
        worst_first = {"filter": below, "order_by": ["metrics.test_accuracy ASC"]}
        children = _ask(address, "runs/search", {**newest, **worst_first})["runs"]
        assert [child["info"]["run_name"] for child in children] == ["fine_tune", "dan"]
        names = [{metric["key"] for metric in child["data"]["metrics"]} for child in children]
        assert names[0] == names[1]
        page = f"{address}/get-artifact?path=per_class.json&run_uuid={runs[1]['info']['run_id']}"
        with urllib.request.urlopen(page, timeout=30) as answer:
            assert json.load(answer)["columns"][:2] == ["class_name", "recall"]


def test_mlflow_s_pages_take_the_experiment_for_one_of_training(synced):
    _, _, client, experiment = synced
    assert client.get_experiment(experiment).tags["mlflow.experimentKind"] == "custom_model_development"
