"""What a run says: names that every strategy shares, and where each stands."""

from __future__ import annotations

import pytest

from components.tracking import content
from tracked_support import NAMES, evaluation, model, row


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"strategy": NAMES[0]}, "chosen"),
        ({}, "behind by 30.0 points"),
        ({"tied_with_first": True}, "tie with the first"),
        ({"negative_transfer": {"difference": -0.1, "real": True}}, "behind by 30.0 points; negative transfer"),
        ({"negative_transfer": {"difference": -0.1, "real": False}}, "behind by 30.0 points"),
    ],
)
def test_where_a_strategy_stands(change, expected):
    assert content.standing({**row(NAMES[1], 0.5), "negative_transfer": None, **change}, evaluation()) == expected


def test_a_pair_that_is_written_the_other_way_round_is_read_the_other_way_round():
    """The better ranked one stands first; a chosen one that is ranked behind would be a loss of 30 points."""
    found = evaluation()
    found["pairs"][0] |= {"strategy": NAMES[1], "over": NAMES[0], "difference": -0.3}
    assert content.standing({**row(NAMES[1], 0.5), "negative_transfer": None}, found) == "behind by 30.0 points"


def test_one_that_is_really_ahead_on_test_is_not_called_behind():
    found = evaluation()
    found["pairs"][0] |= {"difference": -0.3}
    assert content.standing({**row(NAMES[1], 0.5), "negative_transfer": None}, found) == "ahead by 30.0 points"


def test_metrics_have_names_that_mlflow_takes():
    from mlflow.utils.validation import _validate_metric_name

    entry = {**row("dan", 0.8), "other_tasks": {"has wings? (y/n)": 0.75}}
    found = content.scores(entry)
    assert found["test_accuracy_has wings_ _y/n_"] == 0.75
    for name in found:
        _validate_metric_name(name)


def test_scores_leave_out_what_is_not_known_and_flags():
    entry = row("dan", 0.8)
    entry["test"]["seed_std"] = None
    entry["worst_slice"] = None
    found = content.scores(entry)
    assert "test_seed_std" not in found and "test_accuracy_worst_slice" not in found and "episode_accuracy" not in found
    assert not [name for name, value in found.items() if isinstance(value, bool)]
    assert found["test_accuracy_loops"] == 0.75
    assert found["temperature_label"] == 1.5
    episodes = {"n_way": 5, "k_shot": 1, "n_query": 5, "count": 9, "accuracy": 0.6, "low": 0.5, "high": 0.7}
    assert content.scores({**entry, "episodes": episodes})["episode_accuracy"] == 0.6
    assert content.scores({**entry, "unseen": {"harmonic_mean": 0.4}})["test_accuracy_harmonic_mean"] == 0.4


def test_recent_images_have_metrics_of_their_own_where_there_are_any():
    entry = row("dan", 0.8)
    recent = {"agreement": 0.9, "low": 0.8, "high": 1.0, "accuracy": None, "labelled": 0}
    assert not [name for name in content.scores(entry) if name.startswith("recent")]
    found = content.scores({**entry, "recent": recent})
    assert {name for name in found if name.startswith("recent")} == {"recent_agreement", "recent_low", "recent_high"}
    found = content.scores({**entry, "recent": {**recent, "accuracy": 0.7}})
    assert (found["recent_agreement"], found["recent_accuracy"]) == (0.9, 0.7)


def test_of_an_adaptation_it_is_told_what_chose_and_how_the_images_that_came_in_were_used():
    recent = {"agreement": 0.9, "low": 0.8, "high": 1.0, "accuracy": 0.75, "labelled": 8, "collapsed": True}
    found = evaluation()
    found["images"]["recent"], found["recent"] = 30, {"images": 30, "labelled": 8}
    for entry in found["strategies"]:
        entry["recent"] = recent
    counts = {"a": {"train": 3, "val": 5, "test": 0}}
    audit = {"domains": {name: {"classes": counts, "images": 100} for name in ("target", "source", "recent")}}
    told = content.strategy(found["strategies"][0], model("dan"), found, parent="p", history=[], cost={}, audit=audit,
                            timing={"train_time_s": 1.0})  # fmt: skip
    assert told.tags["collapsed"] == "true"
    assert told.note.endswith(
        "On the recent images it decides as the others do, or as a label says, in 90.0% (80.0% to 100.0%) of the "
        "cases; of the 8 with a label it is right on 75.0%. It is shut out: it answers few of the classes only."
    )
    profiles = {data.name: data.profile["images"] for data in told.data}
    assert profiles["recent images, train"] == 70
    assert profiles["recent images, val"] == 30
    (labelled, _) = (data for data in content.data_sets(["target_labels"], "", found, audit) if "recent" in data.name)
    assert labelled.profile["images"] == 3
    whole = content.comparison(
        found, {name: model(name) for name in NAMES}, {}, leaderboard=[], cost={}, audit=audit,
        timings={name: {"train_time_s": 2.0, "seeds": 2} for name in NAMES},
    )  # fmt: skip
    assert whole.tags["recent"] == "30 images, 8 of them labelled"
    assert "agreement on recent images 90.0%" in whole.note


def test_parameters_are_flat_and_what_is_not_set_is_left_out():
    tree = {"seed": 0, "data": {"source": None, "target": {"dataset": "toy"}, "tasks": ("a", "b")}, "teacher": None}
    assert content.flat(tree) == {"seed": "0", "data.target.dataset": "toy", "data.tasks": "a, b"}


def test_the_compare_view_begins_with_family_needs_and_strategy():
    """MLflow takes the first three that differ, by the alphabet; these differ between most strategies."""
    always_equal = {"backbone", "device", "precision", "seeds", "threads"}
    differ = sorted(set(content.strategy_params(model("dan"))) - always_equal)
    assert differ[:3] == ["family", "needs", "strategy"]


def test_a_run_s_identity_is_its_comparison_and_its_model():
    shared = {"history": [], "cost": {}, "timing": {"train_time_s": 1.0},
              "audit": {"domains": {domain: {"classes": {}} for domain in ("target", "source")}}}  # fmt: skip
    found = evaluation()

    def identity(parent: str, **change) -> str:
        return content.strategy(
            found["strategies"][0], {**model("dan"), **change}, found, parent=parent, **shared
        ).identity

    assert identity("p") == identity("p")
    assert len({identity("p"), identity("q"), identity("p", weights_sha256="other")}) == 3


def test_a_comparison_without_source_images_names_none():
    found = evaluation()
    told = content.comparison(
        found, {name: model(name) for name in NAMES}, {}, leaderboard=[], cost={},
        audit={"domains": {"target": {"classes": {}}}},
        timings={name: {"train_time_s": 2.0, "seeds": 2} for name in NAMES},
    )  # fmt: skip
    assert [data.name for data in told.data] == ["target images, train", "target images, val", "target images, test"]
    assert told.seconds == 8.0
