"""How labels are learned: weights from the data, the loss of the recipe, and a refusal by name where that cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from components.data.prepared import HIDDEN, Prepared
from components.data.streams import Streams
from components.errors import ParamsError
from components.layers.linear_solvers import logistic
from components.params import Recipe
from components.strategies import catalogue
from components.strategies.criterion import Criterion
from components.training import labels, session
from components.training.applicable import applicable
from components.training.compute import Compute
from components.types import LabelSpace

CPU = Compute(torch.device("cpu"), "fp32", 1)
CHANGED = {"class_weights": "balanced", "loss": "focal", "sampler": "balanced", "mix": "mixup"}
REFUSES = {
    "knn_probe": set(CHANGED),
    "prototypical": set(CHANGED),
    "matching": set(CHANGED),
    "siamese": set(CHANGED),
    "linear_probe": {"loss", "sampler", "mix"},
    "zero_shot": {"class_weights", "loss", "mix"},
    "distillation": set(CHANGED),  # without target_labels there is no label to learn
    "feature_distillation": set(CHANGED),
    "relational_distillation": set(CHANGED),
    **{name: {"mix"} for name in ("dan", "deep_coral", "dann", "cdan", "adda", "drcn", "mcc")},
}


@pytest.fixture(scope="module")
def uneven(toy) -> Prepared:
    """Of the first class all labelled training images, of the others every fourth."""
    labels = toy.target.labels["label"].copy()
    for number in (1, 2, 3):
        rows = np.flatnonzero((labels == number) & (toy.target.splits == "train"))
        labels[np.setdiff1d(rows, rows[::4])] = HIDDEN
    return Prepared(toy.label_space, {**toy.domains, "target": replace(toy.target, labels={"label": labels})})


def _streams(data, strategy, **options) -> Streams:
    return Streams(data, strategy.backbone.preprocess, batch_size=16, augment="none", seed=0, **options)


def _train(make, data, recipe, folder):
    return session.train(
        make, data, recipe, CPU, seed=0, identity="labels", checkpoints=folder, log=lambda record: None
    )


@pytest.mark.parametrize("name", catalogue.STRATEGIES)
def test_an_option_is_honoured_or_refused_by_name(name, make_strategy):
    strategy = make_strategy(name)
    for key, value in CHANGED.items():
        if key in REFUSES.get(name, ()):
            with pytest.raises(ParamsError, match=rf"recipe\.{key} is '{value}', which '{name}' cannot use: "):
                labels.check(strategy, Recipe(**{key: value}))
        else:
            labels.check(strategy, Recipe(**{key: value}))


@pytest.mark.parametrize("name", ["distillation", "feature_distillation", "relational_distillation"])
def test_a_student_that_learns_labels_can_be_told_how(name, make_strategy):
    strategy = make_strategy(name, target_labels=True)
    for key, value in CHANGED.items():
        labels.check(strategy, Recipe(**{key: value}))


@pytest.mark.parametrize("name", catalogue.STRATEGIES)
def test_the_criterion_is_asked_about_every_labelled_stream_by_who_takes_its_options(
    name, toy, toy_tasks, make_strategy
):
    also = {key: value for key, value, need in catalogue.STRATEGIES[name].also if key == "target_labels"}
    strategy = make_strategy(name, **also)
    data = _streams(toy_tasks if catalogue.STRATEGIES[name].tasks == "all" else toy, strategy, draw=strategy.sampling)
    asked = []

    class Noting(Criterion):
        def __call__(self, outputs, labels, *, stream="target", label_smoothing=0.0):
            asked.append(stream)
            return super().__call__(outputs, labels, stream=stream, label_smoothing=label_smoothing)

    strategy.criterion = Noting()
    if strategy.streams:
        strategy.begin(data)
        strategy.advance(0.5)
        strategy.losses(**{stream: data.batch(stream, 0) for stream in strategy.streams})
    honours = "loss" in strategy.label_options
    labelled = [stream for stream in strategy.streams if stream in ("target", "source")]
    assert sorted(asked) == (sorted(labelled) if honours else [])


def test_weights_are_those_of_each_stream_s_labelled_training_images(uneven, make_strategy):
    strategy = make_strategy("dann", target_labels=True)
    data = _streams(uneven, strategy)
    found = labels.criterion(strategy, Recipe(class_weights="balanced"), data, torch.device("cpu"))
    assert set(found.class_weights) == {"source", "target"}
    for stream, own in found.class_weights.items():
        rows = uneven.domains[stream].rows("train", labelled=True)
        counts = np.bincount(uneven.domains[stream].labels["label"][rows])
        np.testing.assert_allclose(own["label"], len(rows) / (4 * counts), rtol=1e-6)
    assert found.class_weights["target"]["label"][0] < 0.5 < 1 < found.class_weights["target"]["label"][1]


def test_every_term_is_weighted_by_its_task_and_its_stream():
    weights = {"target": {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([1.0, 1.0])},
               "source": {"a": torch.tensor([5.0, 1.0]), "b": torch.tensor([1.0, 1.0])}}  # fmt: skip
    outputs = {"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}
    answers = {"a": torch.tensor([0, 1]), "b": torch.tensor([0, 1])}
    criterion = Criterion(class_weights=weights)
    target, source = criterion(outputs, answers), criterion(outputs, answers, stream="source")
    nothing = torch.tensor(2.0).log()
    torch.testing.assert_close(target, {"cross_entropy_a": 2 * nothing, "cross_entropy_b": nothing})
    torch.testing.assert_close(source["cross_entropy_a"], 3 * nothing)
    assert list(Criterion(gamma=2.0)({"a": outputs["a"]}, answers)) == ["focal"]


def test_both_corrections_at_once_and_a_mix_of_one_image_are_refused(make_strategy):
    strategy = make_strategy("fine_tune")
    with pytest.raises(ParamsError, match=r"class_weights and recipe\.sampler are both 'balanced'"):
        labels.check(strategy, Recipe(class_weights="balanced", sampler="balanced"))
    with pytest.raises(ParamsError, match=r"mix is 'cutmix', which takes two images, but recipe\.batch_size is 1"):
        labels.check(strategy, Recipe(mix="cutmix", batch_size=1))


def test_a_training_refuses_before_it_begins(toy, make_strategy, tmp_path):
    strategy = make_strategy("prototypical")
    strategy.begin = None  # would not be callable
    for options in ({"loss": "focal"}, {"frozen_stages": 7}):
        with pytest.raises(ParamsError, match="'prototypical' cannot use"):
            _train(lambda: strategy, toy, Recipe(**options), tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"class_weights": "balanced"}, {"loss": "focal"}, {"sampler": "balanced"}, {"mix": "mixup"}, {"mix": "cutmix"}],
    ids=str,
)
def test_an_option_changes_what_is_learned(options, uneven, make_strategy, tmp_path):
    recipe = Recipe(steps=2, batch_size=16, augment="none", log_every=1)
    plain = _train(lambda: make_strategy("fine_tune"), uneven, recipe, tmp_path / "plain")
    other = _train(lambda: make_strategy("fine_tune"), uneven, replace(recipe, **options), tmp_path / "other")
    term = "focal" if "loss" in options else "cross_entropy"
    assert other.history[-1].keys() == plain.history[-1].keys()  # validation sees nothing of it
    assert other.history[0][term] != plain.history[0]["cross_entropy"]
    assert other.labels["val"]["label"].dtype == np.int64


def test_the_closed_form_head_is_that_of_the_weighted_images(uneven, make_strategy, tmp_path):
    recipe = Recipe(class_weights="balanced")
    weighted = _train(lambda: make_strategy("linear_probe", l2=(0.1,)), uneven, recipe, tmp_path).strategy
    plain = _train(lambda: make_strategy("linear_probe", l2=(0.1,)), uneven, Recipe(), tmp_path).strategy
    data = _streams(uneven, weighted)
    features, answers = data.features(weighted.backbone, "target")
    own = answers["label"]
    weights = len(own) / (4 * torch.bincount(own).double())
    weight, _ = logistic(features.double(), F.one_hot(own, 4).double(), 0.1, weights=weights[own])
    torch.testing.assert_close(weighted.heads["label"].weight.double(), weight, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain.heads["label"].weight, weighted.heads["label"].weight, atol=1e-3)


def test_lp_ft_and_wise_ft_begin_where_the_weighted_probe_ends(uneven, make_strategy, tmp_path):
    probe = _train(lambda: make_strategy("linear_probe"), uneven, Recipe(class_weights="balanced"), tmp_path).strategy
    for name in ("lp_ft", "wise_ft"):
        strategy = make_strategy(name)
        data = _streams(uneven, strategy)
        strategy.criterion = labels.criterion(strategy, Recipe(class_weights="balanced"), data, torch.device("cpu"))
        strategy.begin(data)
        torch.testing.assert_close(strategy.heads["label"].weight, probe.heads["label"].weight, rtol=1e-4, atol=1e-4)


def test_a_space_of_more_classes_than_the_data_has_weighs_the_missing_one_with_nothing(uneven, make_strategy):
    wider = Prepared(LabelSpace({"label": (*uneven.label_space.classes["label"], "none")}), uneven.domains)
    strategy = make_strategy("fine_tune")
    found = labels.criterion(strategy, Recipe(class_weights="balanced"), _streams(wider, strategy), torch.device("cpu"))
    assert found.class_weights["target"]["label"][4] == 0


@pytest.mark.parametrize("options", [{"class_weights": "balanced", "mix": "mixup"}, {"sampler": "balanced"}], ids=str)
def test_pretraining_takes_the_source_s_classes_for_its_options(options, toy, toy_tasks, make_strategy, tmp_path):
    recipe = Recipe(steps=2, batch_size=16, augment="flip", loss="focal", log_every=1, **options)
    trained = session.train(
        lambda: make_strategy("source_only"), toy_tasks, recipe, CPU, seed=0, identity="labels", checkpoints=tmp_path,
        log=lambda record: None, domain="source", splits=("val",),
    )  # fmt: skip
    assert np.isfinite(trained.history[0]["focal"])
    assert set(trained.strategy.criterion.class_weights) == ({"source"} if "class_weights" in options else set())


def test_what_train_asks_of_all_is_left_out_where_it_has_no_use_and_said(toy, make_strategy):
    asked = Recipe(class_weights="balanced", batch_norm="eval", layer_decay=0.9)
    left, notes = applicable(make_strategy("knn_probe"), asked, own=())
    assert left == Recipe()
    assert notes == [
        "goes without train.class_weights: balanced, since it has another way with labels",
        "goes without train.batch_norm: eval, since it trains nothing of the backbone",
        "goes without train.layer_decay: 0.9, since it trains nothing of the backbone",
    ]
    assert applicable(make_strategy("fine_tune"), asked, own=()) == (asked, [])
    left, notes = applicable(make_strategy("from_scratch"), asked, own=())
    assert left == replace(asked, batch_norm="strategy") and len(notes) == 1
    with pytest.raises(ParamsError, match=r"recipe\.batch_norm is 'eval', which 'knn_probe' cannot use"):
        applicable(make_strategy("knn_probe"), asked, own=("batch_norm",))


def test_the_focal_loss_s_exponent_is_for_the_focal_loss_alone(make_strategy):
    alone, both = Recipe(focal_gamma=3.0), Recipe(loss="focal", focal_gamma=3.0)
    assert applicable(make_strategy("fine_tune"), both, own=("loss", "focal_gamma")) == (both, [])
    left, notes = applicable(make_strategy("fine_tune"), alone, own=())
    assert left == Recipe()
    assert notes == ["goes without train.focal_gamma: 3.0, since it is of the focal loss, and loss is 'cross_entropy'"]
    assert applicable(make_strategy("knn_probe"), both, own=())[0] == Recipe()
    with pytest.raises(ParamsError, match=r"recipe\.focal_gamma is 3\.0, which 'fine_tune' cannot use: it is of the"):
        applicable(make_strategy("fine_tune"), alone, own=("focal_gamma",))
