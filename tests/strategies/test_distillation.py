"""The three that learn from a teacher: who learns from whom, from what, and what happens without one."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from components.backbones.build import from_arrays, to_arrays
from components.backbones.small_resnet import SmallResNet
from components.errors import ParamsError
from components.losses.soft_targets import soft_targets
from components.strategies import catalogue
from components.strategies.distillation import Distillation
from components.strategies.feature_distillation import FeatureDistillation
from components.strategies.fine_tune import FineTune
from components.strategies.relational_distillation import RelationalDistillation
from components.strategies.teacher import Teacher
from components.types import TASK, Labelled, LabelSpace, Unlabelled

SPACE = LabelSpace({TASK: ("a", "b", "c")})
FAMILY = [name for name, entry in catalogue.STRATEGIES.items() if entry.family == "distillation"]


def backbone(widths=(4, 6, 8), size: int = 16) -> SmallResNet:
    return SmallResNet(widths=widths, size=size)


def teacher(model=None) -> Teacher:
    return Teacher(model or FineTune(backbone((6, 8, 10)), SPACE), backbone().preprocess)


def batches(count: int = 6) -> dict:
    torch.manual_seed(1)
    images = torch.randn(2, count, 3, 16, 16)
    return {"unlabelled": Unlabelled(images[0]), "target": Labelled(images[1], {TASK: torch.arange(count) % 3})}


@pytest.mark.parametrize("name", FAMILY)
def test_the_student_learns_and_the_teacher_does_not(name):
    torch.manual_seed(0)
    known = teacher()
    before = deepcopy(known.model.state_dict())
    student = catalogue.load(name)(backbone(), SPACE, teacher=known, target_labels=True).train()
    student.advance(0.9)
    updates = torch.optim.SGD(student.param_groups(0.1)[0]["params"], lr=0.1)
    start = deepcopy(student.backbone.state_dict())
    student.backward(student.losses(**batches()))
    updates.step()
    assert all(torch.equal(value, before[key]) for key, value in known.model.state_dict().items())
    assert all(parameter.grad is None for parameter in known.model.parameters())
    assert not known.model.training
    assert any(not torch.equal(value, start[key]) for key, value in student.backbone.state_dict().items())
    # Neither trained nor saved: the teacher is no part of the student.
    assert not any(key.startswith("teacher") for key in student.state_dict())


@pytest.mark.parametrize("name", FAMILY)
def test_without_a_teacher_it_answers_but_cannot_learn(name):
    student = catalogue.load(name)(backbone(), SPACE)
    assert student(torch.zeros(2, 3, 16, 16))[TASK].shape == (2, 3)
    with pytest.raises(TypeError, match="without a teacher"):
        student.losses(unlabelled=batches()["unlabelled"])


@pytest.mark.parametrize("name", FAMILY)
def test_labels_are_read_only_where_they_are_asked_for(name):
    kind = catalogue.load(name)
    assert kind(backbone(), SPACE).streams == ("unlabelled",)
    assert set(kind(backbone(), SPACE, target_labels=True).streams) == {"unlabelled", "target"}
    assert "target_labels" not in catalogue.needs(name, {})
    assert "target_labels" in catalogue.needs(name, {"target_labels": True})


@pytest.mark.parametrize("name", FAMILY)
def test_a_teacher_of_other_classes_is_refused(name):
    other = FineTune(backbone(), LabelSpace({TASK: ("c", "b", "a")}))
    with pytest.raises(ParamsError, match="same classes in the same order"):
        catalogue.load(name)(backbone(), SPACE, teacher=teacher(other))


def test_distillation_needs_a_teacher_that_answers():
    with pytest.raises(ParamsError, match="feature_distillation"):
        Distillation(backbone(), SPACE, teacher=teacher(backbone()), target_labels=True)


@pytest.mark.parametrize("kind", [FeatureDistillation, RelationalDistillation])
def test_features_can_be_learned_from_a_backbone_alone(kind):
    with pytest.raises(ParamsError, match="target_labels is False"):
        kind(backbone(), SPACE, teacher=teacher(backbone()))
    student = kind(backbone(), SPACE, teacher=teacher(backbone()), target_labels=True)
    for progress in (0.0, 0.9):
        student.advance(progress)
        student.backward(student.losses(**batches()))
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_distillation_is_soft_targets_for_all_and_labels_for_the_labelled():
    torch.manual_seed(0)
    known = teacher()
    options = {"temperature": 3.0, "hard_weight": 0.25, "target_labels": True}
    student = Distillation(backbone(), SPACE, teacher=known, **options).eval()
    given = batches()
    image = torch.cat([given["unlabelled"].image, given["target"].image])
    own, answers = student(image)[TASK], known.outputs(image)[TASK]
    losses = student.losses(**given)
    assert list(losses) == ["soft_targets", "cross_entropy"]
    torch.testing.assert_close(losses["soft_targets"], soft_targets(student=own, teacher=answers, temperature=3.0))
    torch.testing.assert_close(losses["cross_entropy"], 0.25 * F.cross_entropy(own[6:], given["target"].labels[TASK]))


@pytest.mark.parametrize("kind", [Distillation, RelationalDistillation])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(kind):
    torch.manual_seed(0)
    model = FineTune(backbone(), SPACE).eval()
    student = kind(deepcopy(model.backbone), SPACE, teacher=teacher(model)).eval()
    student.heads.load_state_dict(model.heads.state_dict())
    losses = student.losses(unlabelled=batches()["unlabelled"])
    assert all(value.item() == pytest.approx(0, abs=1e-5) for value in losses.values()), losses


def test_relational_terms_have_their_weights():
    torch.manual_seed(0)
    known, body, given = teacher(), backbone(), batches()["unlabelled"]
    heavy = RelationalDistillation(body, SPACE, teacher=known).eval().losses(unlabelled=given)
    light = RelationalDistillation(body, SPACE, teacher=known, distance_weight=1.0, angle_weight=2.0).eval()
    light = light.losses(unlabelled=given)
    torch.testing.assert_close(heavy["distance"], 25 * light["distance"])
    torch.testing.assert_close(heavy["angle"], 25 * light["angle"])


def test_hints_come_first_and_train_only_the_lower_half():
    torch.manual_seed(0)
    student = FeatureDistillation(backbone(), SPACE, teacher=teacher(), target_labels=True, hint_share=0.5).train()
    student.advance(0.49)
    losses = student.losses(**batches())
    assert list(losses) == ["hint"]
    student.backward(losses)
    reached = [all(p.grad is not None for p in stage.parameters()) for stage in student.backbone.stages()]
    assert reached == [True, True, True, False]
    assert all(p.grad is not None for p in student.regressor.parameters())
    assert all(p.grad is None for p in student.heads.parameters())
    student.advance(0.5)
    assert set(student.losses(**batches())) == {"cross_entropy", "soft_targets"}


def test_the_weight_of_soft_targets_falls_from_4_to_1():
    torch.manual_seed(0)
    student = FeatureDistillation(backbone(), SPACE, teacher=teacher(), hint_share=0.2).eval()
    values = {}
    for progress in (0.2, 0.6, 1.0):
        student.advance(progress)
        values[progress] = student.losses(unlabelled=batches()["unlabelled"])["soft_targets"].item()
    assert values[0.2] / values[1.0] == pytest.approx(4.0)
    assert values[0.6] / values[1.0] == pytest.approx(2.5)


def test_making_one_changes_neither_statistics_nor_modes():
    student, model = backbone().train(), backbone((6, 8, 10))
    student.stem.eval()
    states = [deepcopy(module.state_dict()) for module in (student, model)]
    modes = [part.training for part in student.modules()]
    FeatureDistillation(student, SPACE, teacher=teacher(model), target_labels=True)
    assert [part.training for part in student.modules()] == modes
    for module, before in zip((student, model), states, strict=True):
        assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
        assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.parametrize("depths", [(0.0, 1.0), (1.0, 0.0)])
def test_hint_and_guided_layer_may_differ_in_size_and_width(depths):
    torch.manual_seed(0)
    known = Teacher(FineTune(backbone((6, 8, 10), size=24), SPACE), backbone().preprocess)
    at, own = depths
    student = FeatureDistillation(backbone(), SPACE, teacher=known, teacher_depth=at, student_depth=own).train()
    updates = torch.optim.SGD(student.parameters(), lr=0.3)
    values = []
    for _ in range(25):
        losses = student.losses(unlabelled=batches()["unlabelled"])
        updates.zero_grad()
        student.backward(losses)
        updates.step()
        values.append(losses["hint"].item())
    assert values[-1] < 0.7 * values[0]


def test_the_regressor_comes_back_without_the_teacher():
    trained = FeatureDistillation(backbone(), SPACE, teacher=teacher())
    back = FeatureDistillation(backbone(), SPACE)
    from_arrays(back, to_arrays(trained))
    assert back.regressor.weight.shape == (8, 6)
    image = torch.randn(2, 3, 16, 16)
    assert torch.equal(back.eval()(image)[TASK], trained.eval()(image)[TASK])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Distillation, {"temperature": 0.0}, "temperature is 0.0"),
        (RelationalDistillation, {"temperature": -1.0}, "temperature is -1.0"),
        (FeatureDistillation, {"student_depth": 2.0}, "student_depth is 2.0"),
        (FeatureDistillation, {"hint_share": 1.0}, "hint_share is 1"),
    ],
)
def test_impossible_values_are_refused(kind, options, message):
    with pytest.raises(ParamsError, match=message):
        kind(backbone(), SPACE, **options)
