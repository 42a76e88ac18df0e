"""What of a backbone a recipe trains, and how fast, on top of what the strategy says.

`layer_decay` is the layer-wise decay that Clark et al., 2020, arXiv:2003.10555, fine-tune with, and Bao et al., 2021,
arXiv:2106.08254, on images: the head learns at the full rate, the backbone's last stage at `layer_decay` of its own,
the one before it at the square of that, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.batch_norm import keep_statistics
from components.params import Recipe
from components.strategies.base import Strategy
from components.training.refusal import Unusable, asked, refusal

KEYS = ("batch_norm", "frozen_stages", "layer_decay")


def unusable(strategy: Strategy, recipe: Recipe) -> Iterator[Unusable]:
    """What the recipe asks for that this strategy has no use for."""
    keys = asked(recipe, KEYS)
    if not keys:
        return
    bodies = {id(parameter) for network in _networks(strategy) for parameter in network.parameters()}
    if not any(id(parameter) in bodies for group in strategy.param_groups(recipe.lr) for parameter in group["params"]):
        yield from (Unusable(key, "it trains nothing of the backbone") for key in keys)
        return
    kept = {"frozen_stages": recipe.frozen_stages > 0, "batch_norm": recipe.batch_norm in ("eval", "frozen")}
    for key, keeps in kept.items():
        if keeps and not strategy.pretrained:
            yield Unusable(key, "it starts from random weights")


def check(strategy: Strategy, recipe: Recipe) -> None:
    """Raises ParamsError where the recipe asks for something that this strategy or its backbone does not have."""
    for key, why in unusable(strategy, recipe):
        raise ParamsError(refusal(strategy, recipe, key, why))
    if not asked(recipe, KEYS):
        return
    networks = _networks(strategy)
    count = min(len(network.stages()) for network in networks)
    if recipe.frozen_stages > count:
        raise ParamsError(refusal(strategy, recipe, "frozen_stages", f"its backbone has {count} stages"))
    if recipe.batch_norm != "strategy" and not any(any(_batch_norms(network)) for network in networks):
        why = f"its backbone {type(strategy.backbone).__name__} has no batch-norm layer"
        raise ParamsError(refusal(strategy, recipe, "batch_norm", why))


class TrainedParts:
    """`groups`: the strategy's own for the optimizer, without what the recipe holds still, and at its rates. A recipe
    that says nothing leaves them as they are.

    Raises ParamsError as `check` does.
    """

    def __init__(self, strategy: Strategy, recipe: Recipe) -> None:
        self.groups = strategy.param_groups(recipe.lr)
        self._recipe = recipe
        self._networks = _networks(strategy)
        # Some backbones look for their stages among all names: that once, and not before each step.
        self._stages = [list(network.stages()) for network in self._networks] if asked(recipe, KEYS) else []
        self._held: list[nn.Parameter] = []
        check(strategy, recipe)
        if self._stages:
            self._change()

    def settle(self) -> None:
        """Before each step, after the strategy's `advance`, which knows nothing of the recipe."""
        for parameter in self._held:
            parameter.requires_grad_(False)
        for stages in self._stages:
            for stage in stages[: self._recipe.frozen_stages]:
                stage.eval()  # dropout, too, which has no parameter
        if self._recipe.batch_norm in ("eval", "frozen"):
            for network in self._networks:
                keep_statistics(network)
        elif self._recipe.batch_norm == "train":
            for network, stages in zip(self._networks, self._stages, strict=True):
                # One that the strategy has put into eval mode as a whole is not trained now; nor is a frozen stage.
                if any(module.training for module in network.modules()):
                    for stage in stages:
                        if any(parameter.requires_grad for parameter in stage.parameters()):
                            for layer in _batch_norms(stage):
                                layer.train()

    def _change(self) -> None:
        rates, held = self._rates(), self._held_ids()
        changed = []
        for group in self.groups:
            by_rate: dict[float, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if id(parameter) in held:
                    self._held.append(parameter)
                else:
                    by_rate.setdefault(rates.get(id(parameter), 1.0), []).append(parameter)
            changed += [{**group, "params": own, "lr": rate * group["lr"]} for rate, own in by_rate.items()]
        self.groups = changed

    def _rates(self) -> dict[int, float]:
        """id of a parameter -> the share of its group's rate."""
        rates = {}
        for stages in self._stages:
            for number, stage in enumerate(stages):
                share = self._recipe.layer_decay ** (len(stages) - number)
                rates |= {id(parameter): share for parameter in stage.parameters()}
        return rates

    def _held_ids(self) -> set[int]:
        held: set[int] = set()
        for network, stages in zip(self._networks, self._stages, strict=True):
            still: list[nn.Module] = stages[: self._recipe.frozen_stages]
            if self._recipe.batch_norm == "frozen":
                still += _batch_norms(network)
            held |= {id(parameter) for module in still for parameter in module.parameters()}
        return held


def untrained(strategy: Strategy, groups: list[dict]) -> Iterator[nn.Module]:
    """Modules that must stay in eval mode because no group names a parameter of theirs: with everything inside them,
    unless some of that is trained."""
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for module in strategy.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(id(parameter) in trained for parameter in own):
            within = any(id(parameter) in trained for parameter in module.parameters())
            yield from [module] if within else module.modules()


def _batch_norms(network: nn.Module) -> Iterator[_BatchNorm]:
    return (module for module in network.modules() if isinstance(module, _BatchNorm))


def _networks(strategy: Strategy) -> list[Backbone]:
    return [network for network in strategy.networks() if isinstance(network, Backbone)]
