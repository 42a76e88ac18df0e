"""The schedule and the parameter groups."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from components.params import Recipe
from components.training.optimizer import lr_factor, optimizer


def test_the_rate_warms_up_linearly_peaks_and_falls_to_zero():
    recipe = Recipe(steps=100, warmup=0.1)  # 10 steps of warm-up, 90 of cosine
    assert lr_factor(0, recipe) == pytest.approx(1 / 11)
    assert lr_factor(4, recipe) == pytest.approx(5 / 11)
    assert lr_factor(9, recipe) == pytest.approx(10 / 11)
    assert lr_factor(10, recipe) == 1.0
    assert lr_factor(40, recipe) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))  # 30 of 90: 0.75
    assert lr_factor(55, recipe) == pytest.approx(0.5)
    assert 0 < lr_factor(99, recipe) < 0.001
    assert lr_factor(100, recipe) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("recipe", [Recipe(steps=1, warmup=0.0), Recipe(steps=3, warmup=0.99), Recipe(steps=7)])
def test_the_rate_is_a_positive_share_at_every_step_of_short_trainings(recipe):
    assert all(0 < lr_factor(step, recipe) <= 1 for step in range(recipe.steps))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_groups_keep_their_rate_and_vectors_are_not_decayed(name):
    weight, bias, other = (torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 2), (3,), (4, 4)))
    groups = [{"params": [weight, bias], "lr": 0.3}, {"params": [other], "lr": 0.01}]
    updates = optimizer(groups, Recipe(lr=1.0, weight_decay=0.02, optimizer=name))
    found = {id(p): group for group in updates.param_groups for p in group["params"]}
    assert {id(weight), id(bias), id(other)} == set(found)
    assert [found[id(p)]["lr"] for p in (weight, bias, other)] == [0.3, 0.3, 0.01]
    assert [found[id(p)]["weight_decay"] for p in (weight, bias, other)] == [0.02, 0.0, 0.02]


def test_a_group_may_bring_other_options():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    updates = optimizer([{"params": [weight], "lr": 0.1, "momentum": 0.5}], Recipe())
    assert updates.param_groups[0]["momentum"] == 0.5


def test_a_groups_own_weight_decay_stands_in_for_the_recipes():
    free, held, bias, other = (torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 2), (2, 2), (2,), (2, 2)))
    groups = [
        {"params": [free], "lr": 0.1, "weight_decay": 0.0},
        {"params": [held, bias], "lr": 0.1, "weight_decay": 0.3},
        {"params": [other], "lr": 0.1},
    ]
    updates = optimizer(groups, Recipe(weight_decay=0.02))
    found = {id(p): group["weight_decay"] for group in updates.param_groups for p in group["params"]}
    assert [found[id(p)] for p in (free, held, bias, other)] == [0.0, 0.3, 0.0, 0.02]


def test_sgd_is_nesterov_with_momentum_nine_tenths():
    # One weight at 1, gradient 1, no decay. Nesterov's first two steps with buffer b: b = 1, step = 1 + 0.9 * 1 = 1.9;
    # b = 1.9, step = 1 + 0.9 * 1.9 = 2.71. At lr 0.1 the weight ends at 1 - 0.19 - 0.271 = 0.539.
    weight = torch.nn.Parameter(torch.ones(1, 1))
    updates = optimizer([{"params": [weight], "lr": 0.1}], Recipe(weight_decay=0.0))
    for _ in range(2):
        weight.grad = torch.ones(1, 1)
        updates.step()
    assert weight.item() == pytest.approx(0.539)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_updates_are_those_of_torch_s_own_optimizer(name):
    def trained(make):
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2, bias=False)
        updates = make(layer)
        for step in range(4):
            updates.zero_grad(set_to_none=True)
            layer(torch.full((1, 3), 1.0 + step)).square().sum().backward()
            updates.step()
        return layer.weight, updates.state_dict()["state"]

    def plain(layer):
        if name == "adamw":
            return torch.optim.AdamW(layer.parameters(), lr=0.01, weight_decay=0.1)
        return torch.optim.SGD(layer.parameters(), lr=0.01, weight_decay=0.1, momentum=0.9, nesterov=True)

    recipe = Recipe(weight_decay=0.1, lr=0.01, optimizer=name)
    found, state = trained(lambda layer: optimizer([{"params": list(layer.parameters()), "lr": 0.01}], recipe))
    expected, expected_state = trained(plain)
    assert torch.equal(found, expected)
    assert state[0].keys() == expected_state[0].keys()
    assert all(torch.equal(state[0][key], expected_state[0][key]) for key in state[0])


def test_a_training_does_not_import_torch_s_compiler():
    """It would take each of a run's processes as long as torch itself."""
    code = """
import sys, torch
from components.params import Recipe
from components.training.optimizer import optimizer
layer = torch.nn.Linear(2, 2)
for name in ("sgd", "adamw"):
    updates = optimizer([{"params": list(layer.parameters()), "lr": 0.1}], Recipe(optimizer=name))
    updates.zero_grad()
    layer(torch.ones(1, 2)).sum().backward()
    updates.step()
    updates.load_state_dict(updates.state_dict())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
