"""Unseen classes: their labels and images leave no trace, and descriptions that share parts with seen ones find
them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.data.prepared import Domain, Prepared
from components.errors import ParamsError
from components.params import Recipe
from components.strategies.zero_shot import ZeroShot
from components.training import session
from components.training.compute import Compute
from components.types import TASK, Labelled, LabelSpace

CPU = Compute(torch.device("cpu"), "fp32", 1)
RECIPE = Recipe(steps=80, batch_size=32, lr=0.5, weight_decay=0.0, augment="none", log_every=50, evaluate_every=1000)
UNSEEN = ("bright-right", "dark-left")
SIDE = 8


def _compositional() -> Prepared:
    """Classes are a brightness and a side where a bar stands: six of two times three. Two are to be unseen; each of
    their parts is also in a seen class."""
    names, vectors, pixels, labels = [], [], [], []
    rng = np.random.default_rng(0)
    for i, brightness in enumerate(("dark", "bright")):
        for j, side in enumerate(("left", "middle", "right")):
            number = len(names)
            names.append(f"{brightness}-{side}")
            vectors.append((*(float(i == k) for k in range(2)), *(float(j == k) for k in range(3))))
            for _ in range(30):
                image = np.full((SIDE, SIDE, 3), 60.0 + 90 * i)
                image[:, 1 + 2 * j : 3 + 2 * j] += 70
                pixels.append((image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8))
                labels.append(number)
    splits = np.array((["train"] * 15 + ["val"] * 5 + ["test"] * 10) * len(names))
    domain = Domain(np.stack(pixels), {TASK: np.array(labels)}, splits, [""] * len(labels), [""] * len(labels))
    return Prepared(LabelSpace({TASK: tuple(names)}, {TASK: tuple(vectors)}), {"target": domain})


class Columns(torch.nn.Module):
    """Replaces a learned network: the mean of each column of pixels, and of the whole image."""

    def __init__(self) -> None:
        from components.types import Preprocess

        super().__init__()
        self.preprocess = Preprocess(SIDE, SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.num_features = SIDE + 1
        self.norm = torch.nn.BatchNorm1d(self.num_features, affine=False)
        self.gain = torch.nn.Parameter(torch.ones(self.num_features))

    def forward(self, image):
        columns = image.mean((1, 2))
        return self.gain * self.norm(torch.cat([columns, columns.mean(1, keepdim=True)], 1))

    def stages(self):
        return [self]


def _train(prepared: Prepared, folder: Path, **given) -> session.Trained:
    return session.train(
        lambda: ZeroShot(Columns(), prepared.label_space, **given),
        prepared,
        RECIPE,
        CPU,
        seed=0,
        identity=str(given),
        checkpoints=folder,
        log=lambda record: None,
    )


def test_unseen_classes_are_found_by_what_they_share_with_seen_ones(tmp_path):
    prepared = _compositional()
    unseen = [prepared.label_space.classes[TASK].index(name) for name in UNSEEN]
    trained = _train(prepared, tmp_path, unseen=UNSEEN)
    logits, labels = trained.logits["test"][TASK], trained.labels["test"][TASK]
    of_unseen = np.isin(labels, unseen)
    assert (logits[~of_unseen].argmax(1) == labels[~of_unseen]).mean() > 0.9
    among = np.array(unseen)[logits[of_unseen][:, unseen].argmax(1)]  # the answer is known to be an unseen class
    assert (among == labels[of_unseen]).mean() > 0.9


def test_calibrated_stacking_gives_unseen_classes_their_chance(tmp_path):
    prepared = _compositional()
    unseen = [prepared.label_space.classes[TASK].index(name) for name in UNSEEN]
    accuracy = {}
    for calibration in (0.0, 1.5):
        trained = _train(prepared, tmp_path, unseen=UNSEEN, calibration=calibration)
        logits, labels = trained.logits["test"][TASK], trained.labels["test"][TASK]
        right, of_unseen = logits.argmax(1) == labels, np.isin(labels, unseen)
        accuracy[calibration] = (right[~of_unseen].mean(), right[of_unseen].mean())
    assert accuracy[0.0][0] > 0.9 > accuracy[0.0][1]  # all six classes in question, seen ones are favoured
    assert min(accuracy[1.5]) > 0.9


@pytest.mark.parametrize("body_lr_factor", [0.0, 1.0])
def test_labels_and_images_of_unseen_classes_leave_no_trace(body_lr_factor, tmp_path):
    prepared = _compositional()
    names = prepared.label_space.classes[TASK]
    one, other = (names.index(name) for name in UNSEEN)
    labels = prepared.target.labels[TASK]
    swapped = np.where(labels == one, other, np.where(labels == other, one, labels))
    unseen = np.isin(labels, [one, other])
    noise = np.random.default_rng(5).integers(0, 256, prepared.target.pixels.shape, dtype=np.uint8)
    pixels = np.where(unseen[:, None, None, None], noise, prepared.target.pixels)
    changed = replace(prepared.target, labels={TASK: swapped}, pixels=pixels)
    given = {"unseen": UNSEEN, "body_lr_factor": body_lr_factor}
    first = _train(prepared, tmp_path / "a", **given).strategy.state_dict()
    second = _train(Prepared(prepared.label_space, {"target": changed}), tmp_path / "b", **given).strategy.state_dict()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    seen_only = _train(prepared, tmp_path / "c", body_lr_factor=body_lr_factor).strategy.state_dict()
    assert not torch.equal(first["compatibility.weight"], seen_only["compatibility.weight"])


def test_the_compatibility_by_hand():
    # W maps the nine features to the five parts of a description, which has two of them: length sqrt 2.
    strategy = ZeroShot(Columns(), _compositional().label_space).eval()
    torch.nn.init.zeros_(strategy.compatibility.weight)
    strategy.compatibility.weight.data[:, 0] = torch.arange(5.0)
    image = torch.zeros(1, 3, SIDE, SIDE)
    image[..., 0] = 2.0  # the first feature is 2, and the norm layer has seen nothing yet
    found = strategy(image)[TASK][0]
    expected = 2 * torch.tensor([0 + 2, 0 + 3, 0 + 4, 1 + 2, 1 + 3, 1 + 4]) / 2**0.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_calibrated_stacking_lowers_seen_logits_alone():
    space = _compositional().label_space
    torch.manual_seed(0)
    plain = ZeroShot(Columns(), space, unseen=UNSEEN).eval()
    calibrated = ZeroShot(Columns(), space, unseen=UNSEEN, calibration=1.5).eval()
    calibrated.load_state_dict(plain.state_dict())
    image = torch.randn(4, 3, SIDE, SIDE)
    lowered = plain(image)[TASK] - calibrated(image)[TASK]
    expected = [0.0 if name in UNSEEN else 1.5 for name in space.classes[TASK]]
    torch.testing.assert_close(lowered, torch.tensor(expected).expand(4, 6))
    batch = Labelled(image, {TASK: torch.tensor([0, 1, 2, 0])})
    assert plain.losses(batch)["cross_entropy"].item() == calibrated.losses(batch)["cross_entropy"].item()


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [5, 0, 5, 1]], ids=["none seen", "one seen"])
def test_a_batch_without_seen_images_gives_a_finite_loss_and_teaches_nothing(labels):
    space = _compositional().label_space
    strategy = ZeroShot(Columns(), space, unseen=(UNSEEN[1], UNSEEN[0], "bright-middle")[:2], body_lr_factor=1.0)
    first, last = 0, 5  # dark-left and bright-right are the unseen ones
    assert [space.classes[TASK][number] for number in (first, last)] == [UNSEEN[1], UNSEEN[0]]
    before = {key: value.clone() for key, value in strategy.state_dict().items()}
    loss = strategy.train().losses(Labelled(torch.randn(4, 3, SIDE, SIDE), {TASK: torch.tensor(labels)}))
    strategy.backward(loss)
    assert loss["cross_entropy"].item() == 0
    assert strategy.compatibility.weight.grad.abs().sum() == 0
    assert all(torch.equal(value, before[key]) for key, value in strategy.state_dict().items())


def test_an_unknown_class_is_refused_with_a_suggestion():
    with pytest.raises(ParamsError, match=r"unseen names 'dark-lift', which .*; did you mean 'dark-left'\?"):
        ZeroShot(Columns(), _compositional().label_space, unseen=("dark-lift",))


def test_one_seen_class_is_too_few():
    space = _compositional().label_space
    with pytest.raises(ParamsError, match="leaves fewer than two"):
        ZeroShot(Columns(), space, unseen=space.classes[TASK][1:])


def test_without_descriptions_it_says_what_to_set():
    with pytest.raises(ParamsError, match=r"zero_shot needs a description of every class .* set data\.attributes"):
        ZeroShot(Columns(), LabelSpace({TASK: ("a", "b")}))
