"""What every strategy of the catalogue must do. A new one adds no test here and has all of these to pass."""

from __future__ import annotations

import copy
import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from components import jsonfile, tensorfile
from components.backbones.build import build, to_arrays
from components.backbones.small_resnet import SmallResNet
from components.data.streams import STREAMS, Streams, crop, normalise
from components.deployment import tracing
from components.deployment.onnx_export import export
from components.explanation.features import answer
from components.inference.predictor import Predictor
from components.params import Recipe
from components.runtimes.options import Options
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.training import session
from components.training.compute import Compute
from components.training.predict import quick_metrics
from components.training.restore import restore
from components.types import LabelSpace

EPISODES = {"n_way": 4, "k_shot": 3, "n_query": 3}  # as in conftest's make_strategy
NAMES = list(catalogue.STRATEGIES)
NEEDS = {"target": "target_labels", "source": "source", "unlabelled": "unlabelled"}  # stream -> what it takes
PHASES = (0.0, 0.5, 0.99)  # of a training: what a strategy trains may change on the way
CPU = Compute(torch.device("cpu"), "fp32", 1)
FAST = Recipe(steps=60, batch_size=32, lr=0.1, augment="none", log_every=10, evaluate_every=1000)
SHORT = Recipe(steps=6, batch_size=16, lr=0.1, augment="light", log_every=3, evaluate_every=3)

every_strategy = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def data_of(toy, toy_tasks):
    """name -> the data set it learns: with all tasks for those that learn several."""
    return lambda name: toy_tasks if catalogue.STRATEGIES[name].tasks == "all" else toy


def _train(make, toy, recipe, folder, seed=0) -> session.Trained:
    return session.train(
        make, toy, recipe, CPU, seed=seed, identity="contract", checkpoints=folder, log=lambda record: None
    )


def _streams(toy, strategy: Strategy, seed: int = 0) -> Streams:
    preprocess, draw = strategy.backbone.preprocess, strategy.sampling
    return Streams(toy, preprocess, batch_size=16, augment="none", seed=seed, draw=draw)


@pytest.fixture(scope="module")
def learned(data_of, make_strategy, tmp_path_factory):
    """name -> the strategy trained long enough to have learned something; each is trained once."""
    cache: dict[str, session.Trained] = {}

    def get(name: str) -> session.Trained:
        if name not in cache:
            cache[name] = _train(lambda: make_strategy(name), data_of(name), FAST, tmp_path_factory.mktemp(name))
        return cache[name]

    return get


@every_strategy
def test_learns_the_toy_task(name, learned):
    trained = learned(name)
    for task, chance in {"label": 0.25, "slant": 0.5}.items():
        if task in trained.logits["test"]:
            answers, labels = ({task: part["test"][task]} for part in (trained.logits, trained.labels))
            assert quick_metrics(answers, labels)["val_accuracy"] > chance + 0.6 * (1 - chance)


@every_strategy
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name, data_of, make_strategy, tmp_path):
    first, again, other = (
        to_arrays(_train(lambda: make_strategy(name), data_of(name), SHORT, tmp_path / str(turn), seed=seed).strategy)
        for turn, seed in enumerate((1, 1, 2))
    )
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)
    if catalogue.load(name).streams:  # what is solved in closed form depends on no random number
        assert any(not np.array_equal(first[key], other[key]) for key in first)


@every_strategy
def test_comes_back_from_its_folder_with_the_same_logits(name, data_of, make_strategy, tmp_path):
    def make() -> Strategy:
        return make_strategy(name, build("small_resnet", preprocess=SmallResNet(size=16).preprocess))

    strategy = _train(make, data_of(name), SHORT, tmp_path / "checkpoints").strategy
    episodes = {key: value for key, value in EPISODES.items() if key in catalogue.hyper_parameters(name)}
    tensorfile.save(tmp_path / "model.safetensors", to_arrays(strategy))
    jsonfile.write(
        tmp_path / "model.json",
        {
            "strategy": name,
            "backbone": "small_resnet",
            "preprocess": strategy.backbone.preprocess.to_dict(),
            **strategy.label_space.to_dict(),
            "hyper_parameters": episodes,
        },
    )
    back = restore(tmp_path)
    image = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not back.training
    with torch.no_grad():
        expected, found = strategy.eval()(image), back(image)
    assert expected.keys() == found.keys()
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], rtol=1e-4, atol=1e-4)  # memory layouts differ
    assert all(np.array_equal(value, to_arrays(back)[key]) for key, value in to_arrays(strategy).items())


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory) -> Path:
    """Where architectures are remembered: most strategies end as the same one, and it is traced once, as in a run."""
    return tmp_path_factory.mktemp("skeletons")


@every_strategy
def test_the_exported_graph_answers_like_torch(name, learned, toy, tmp_path, skeletons, monkeypatch):
    strategy = learned(name).strategy
    facts = {"classes": strategy.label_space.classes, "preprocess": strategy.backbone.preprocess.to_dict()}
    path = tmp_path / "model.onnx"
    path.write_bytes(export(strategy, facts, skeletons=skeletons))
    predictor = Predictor.load(path, provider="cpu", options=Options(threads=1))
    pixels = toy.target.pixels[toy.target.rows("test", labelled=True)]
    for task, names in strategy.label_space.classes.items():
        expected = learned(name).logits["test"][task]
        suffix = f"_{task}" if len(strategy.label_space.classes) > 1 else ""
        for batch in (1, 5):
            found = predictor.run(pixels[:batch])
            assert found[f"logits{suffix}"].shape == (batch, len(names))
            np.testing.assert_allclose(found[f"logits{suffix}"], expected[:batch], rtol=0, atol=1e-4)
            scores = np.exp(expected[:batch] - expected[:batch].max(1, keepdims=True))
            scores /= scores.sum(1, keepdims=True)
            np.testing.assert_allclose(found[f"probabilities{suffix}"], scores, rtol=0, atol=1e-4)
    # Other weights go into the same architecture, where none of those that it was traced with may have left anything.
    monkeypatch.setattr(tracing, "trace", None)
    other = copy.deepcopy(strategy)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(torch.rand(tensor.shape, generator=generator) * 0.4 + 0.8)
        preprocess = strategy.backbone.preprocess
        image = normalise(crop(torch.from_numpy(pixels[:5].copy()), preprocess), preprocess)
        outputs, features = answer(other, image)
    path.write_bytes(export(other, facts, skeletons=skeletons))
    found = Predictor.load(path, provider="cpu", options=Options(threads=1)).run(pixels[:5])
    for task, expected in outputs.items():
        suffix = f"_{task}" if len(outputs) > 1 else ""
        np.testing.assert_allclose(found[f"logits{suffix}"], expected.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["features"], features.numpy(), rtol=1e-3, atol=1e-4)


@every_strategy
def test_every_stream_changes_some_loss_term(name, data_of, make_strategy):
    torch.manual_seed(0)
    # In eval mode, where no batch statistics are shared: a stream must matter by itself. Untrained, because the loss of
    # an easy episode is exactly zero with pretrained weights.
    strategy = make_strategy(name, SmallResNet(widths=(8, 16, 16), size=16)).eval()
    data = _streams(data_of(name), strategy)
    batches = {stream: data.batch(stream, 0) for stream in strategy.streams}

    def terms(**replaced) -> dict[str, float]:
        torch.manual_seed(1)
        return {term: value.item() for term, value in strategy.losses(**{**batches, **replaced}).items()}

    if not strategy.streams:
        with pytest.raises(TypeError):
            strategy.losses()
        return
    strategy.begin(data)
    strategy.advance(0.5)
    before = terms()
    assert before == terms()  # or the differences below would mean nothing
    for stream in strategy.streams:
        after = terms(**{stream: data.batch(stream, 1)})
        assert after.keys() == before.keys()
        assert any(abs(after[term] - before[term]) > 1e-6 * abs(before[term]) for term in before), stream


@every_strategy
def test_loss_terms_are_named_scalars_that_reach_every_trained_parameter(name, data_of, make_strategy):
    torch.manual_seed(0)
    strategy = make_strategy(name).train()
    if not strategy.streams:
        assert strategy.param_groups(0.1) == []
        return
    data = _streams(data_of(name), strategy)
    trained = [parameter for group in strategy.param_groups(0.1) for parameter in group["params"]]
    strategy.begin(data)
    for progress in PHASES:
        strategy.advance(progress)
        losses = strategy.losses(**{stream: data.batch(stream, 0) for stream in strategy.streams})
        assert losses
        assert all(value.shape == () and torch.isfinite(value) for value in losses.values())
        strategy.backward(losses)
        # A step, because a product of two weights that begins with a zero has no slope in the other one at first.
        torch.optim.SGD(trained, lr=1e-3).step()
    assert trained
    assert all(parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in trained)


@every_strategy
def test_what_no_param_group_names_stays_put(name, data_of, make_strategy, tmp_path):
    before = {}

    def make() -> Strategy:
        strategy = make_strategy(name)
        before.update({key: value.clone() for key, value in strategy.state_dict().items()})
        return strategy

    strategy = _train(make, data_of(name), SHORT, tmp_path).strategy
    after = strategy.state_dict()
    named = {id(parameter) for group in strategy.param_groups(0.1) for parameter in group["params"]}
    moved = 0
    for path, module in strategy.named_modules():
        own = dict(module.named_parameters(recurse=False))
        trained = [key for key, parameter in own.items() if id(parameter) in named]
        keys = [key for key in own if key not in trained]
        if own and not trained:
            keys += [key for key, _ in module.named_buffers(recurse=False)]
        if path.startswith("heads") and not strategy.streams:
            continue  # solved in `finish`, which may write here
        for key in (f"{path}.{key}" for key in keys):
            assert torch.equal(after[key], before[key]), key
        moved += sum(not torch.equal(after[f"{path}.{key}"], before[f"{path}.{key}"]) for key in trained)
    if not strategy.streams:  # heads that were solved, or a memory that was filled
        moved = sum(not torch.equal(after[key], before[key]) for key in before)
    assert moved  # something was learned


@every_strategy
def test_param_groups_share_no_parameter_and_scale_with_the_rate(name, make_strategy):
    strategy = make_strategy(name)
    groups, doubled = strategy.param_groups(0.1), strategy.param_groups(0.2)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(ids) == len(set(ids))
    assert set(ids) <= {id(parameter) for parameter in strategy.parameters()}
    assert [2 * group["lr"] for group in groups] == pytest.approx([group["lr"] for group in doubled])


@every_strategy
def test_forward_gives_logits_for_every_task(name):
    space = LabelSpace({"shape": ("a", "b", "c"), "colour": ("red", "blue")}, {"shape": ((0.0, 1.0),) * 3})
    if catalogue.STRATEGIES[name].tasks == "first":
        space = space.only("shape")
    strategy = catalogue.load(name)(SmallResNet(widths=(8, 8, 8), size=16), space).eval()
    outputs = strategy(torch.zeros(7, 3, 16, 16))
    shapes = {task: (7, size) for task, size in space.sizes().items()}
    assert {task: logits.shape for task, logits in outputs.items()} == shapes


@every_strategy
def test_the_signature_is_the_schema(name):
    signature = inspect.signature(catalogue.load(name).__init__)
    keyword_only = {key: value for key, value in signature.parameters.items() if value.kind is value.KEYWORD_ONLY}
    assert (keyword_only.pop(catalogue.TEACHER, None) is not None) == ("teacher" in catalogue.STRATEGIES[name].needs)
    positional = [key for key, value in signature.parameters.items() if value.kind is not value.KEYWORD_ONLY]
    assert positional == ["self", "backbone", "label_space"]
    for key, parameter in keyword_only.items():
        assert parameter.annotation is not parameter.empty, f"{key} has no annotation"
        assert parameter.default is not parameter.empty, f"{key} has no default"
    # The text that params.yaml is checked against names the same parameters, and takes the defaults.
    assert list(catalogue.hyper_parameters(name)) == list(keyword_only)
    defaults = {key: parameter.default for key, parameter in keyword_only.items()}
    assert defaults == {key: parameter.default for key, parameter in catalogue.hyper_parameters(name).items()}
    as_in_yaml = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    catalogue.check_hyper_parameters(name, as_in_yaml, key=f"strategies.{name}")


@every_strategy
def test_the_entry_says_what_the_strategy_reads(name, make_strategy):
    entry = catalogue.STRATEGIES[name]
    options = [{}, *({key: value} for key, value, _ in entry.also)]
    for given in options:
        strategy = make_strategy(name, **given)
        assert set(strategy.streams) <= set(STREAMS)
        assert len(set(strategy.streams)) == len(strategy.streams)
        drawn_from = strategy.sampling and ("source" if strategy.sampling.domain == "source" else "target_labels")
        read = {NEEDS.get(stream, drawn_from) for stream in strategy.streams}
        needs = set(catalogue.needs(name, given))
        assert needs <= {*NEEDS.values(), "teacher", "descriptions"}
        assert needs  # what is solved in closed form still needs something to solve
        assert read <= needs
        # Beyond the streams: a teacher and descriptions come otherwise, and the target may be for `finish` alone.
        assert not strategy.streams or needs - read <= {"teacher", "descriptions", "target_labels", "unlabelled"}


@every_strategy
def test_the_file_opens_with_its_idea_and_its_paper(name):
    text = inspect.getdoc(inspect.getmodule(catalogue.load(name)))
    assert text
    assert ":" in text.splitlines()[0]
    if catalogue.STRATEGIES[name].family != "baseline":
        assert "et al." in text or "&" in text


def test_no_two_strategies_give_the_same_answers(learned):
    """Trained on the same data from the same seed: one that equals another by accident is not what its name says."""
    answers = {name: learned(name).logits["test"]["label"] for name in NAMES}
    for one, other in itertools.combinations(NAMES, 2):
        assert not np.allclose(answers[one], answers[other], rtol=0, atol=1e-4), (one, other)


SAME_STEP = [
    {"source_only", "adabn"},  # differ in the statistics that `finish` takes from the target
    {"lp_ft", "wise_ft"},  # differ in the weights that `finish` averages
    {"layerwise_lr", "gradual_unfreezing"},  # differ while something is frozen: until the middle
]


def test_no_two_strategies_take_the_same_step(data_of, make_strategy):
    """Rate times gradient of each weight of the backbone, on the same first batch: what one step changes."""
    steps = {name: _step(name, data_of(name), make_strategy) for name in NAMES if catalogue.load(name).streams}
    for one, other in itertools.combinations(steps, 2):
        if {one, other} in SAME_STEP:
            assert _alike(steps[one], steps[other]), f"{one} and {other} need no exception"
        else:
            assert not _alike(steps[one], steps[other]), (one, other)


def _step(name: str, toy, make_strategy) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    strategy = make_strategy(name).train()
    data = _streams(toy, strategy)
    strategy.begin(data)
    strategy.advance(0.5)
    strategy.backward(strategy.losses(**{stream: data.batch(stream, 0) for stream in strategy.streams}))
    names = {id(parameter): key for key, parameter in strategy.named_parameters()}
    return {
        names[id(parameter)]: group["lr"] * parameter.grad
        for group in strategy.param_groups(0.1)
        for parameter in group["params"]
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


def _alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[key], other[key], atol=1e-7) for key in one)
