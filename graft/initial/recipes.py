"""Recipes to begin with on photos and a backbone that was pretrained on photos."""

from __future__ import annotations

from typing import Any

from components.backbones.catalogue import TIMM
from components.strategies import catalogue
from graft.initial.offers import Facts

# By whether time is short: without a GPU, a step of 16 photos through a MobileNetV2 takes a second.
BATCH = {True: 16, False: 32}
SEEDS = {True: [0, 1], False: [0, 1, 2]}
EPOCHS = {True: 2, False: 20}
STEPS = {True: (20, 150), False: (100, 4000)}
"""Fewest and most steps, however few or many images there are."""

# The rate is the head's; by default strategies give the pretrained body a tenth of it.
LR = 0.02
UNNORMALISED = (
    "alexnet", "squeezenet1_0", "squeezenet1_1", "vgg11", "vgg13", "vgg16", "vgg19",
)  # fmt: skip
"""Backbones without any layer that normalises: at the usual rates SqueezeNet diverges within ten steps."""
UNNORMALISED_LR_DIVISOR = 10
PHOTOS: dict[str, dict[str, Any]] = {
    "from_scratch": {"recipe": {"lr": 0.05}},
    "lp_ft": {"recipe": {"lr": 0.005}},  # the head is solved already: large steps would only undo that
    "wise_ft": {"recipe": {"lr": 0.005}},
}
"""Entries that differ from `{}`, which is the papers' own values and the recipe of `train`."""

FEW_SHOT = ("prototypical", "matching", "siamese")


def train(facts: Facts) -> dict[str, Any]:
    """Keys of `train`. Steps are so many that every image is seen `EPOCHS` times, within `STEPS`."""
    batch = BATCH[facts.light]
    if facts.training_images < 2 * batch:
        batch = max(2, facts.training_images // 4)
    fewest, most = STEPS[facts.light]
    steps = round(EPOCHS[facts.light] * facts.training_images / batch)
    return {
        "steps": max(fewest, min(most, 10 * round(steps / 10))),
        "batch_size": batch,
        "lr": LR / _lr_divisor(facts),
        "augment": "flip",
        "seeds": SEEDS[facts.light],
    }


def entry(name: str, facts: Facts, steps: int) -> dict[str, Any]:
    """What stands below strategies.<name> for a strategy of the catalogue."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in PHOTOS.get(name, {}).items()}
    if "lr" in found.get("recipe", {}):
        found["recipe"]["lr"] /= _lr_divisor(facts)
    if name == "from_scratch":
        found["recipe"]["steps"] = 2 * steps  # twice as long: it has everything to learn
    if name in FEW_SHOT:
        found |= _episodes(name, facts)
    return found


def _lr_divisor(facts: Facts) -> int:
    architecture = facts.backbone.removeprefix(TIMM).partition(".")[0]
    return UNNORMALISED_LR_DIVISOR if architecture in UNNORMALISED else 1


def _episodes(name: str, facts: Facts) -> dict[str, Any]:
    """Few-shot tasks that the data can fill: of the target where there is no source, of no more classes than it has."""
    known = catalogue.hyper_parameters(name)
    found: dict[str, Any] = {}
    for key in ("episodes_from", "pairs_from"):
        if key in known and not facts.source:
            found[key] = "target"
    if "n_way" in known and facts.classes < known["n_way"].default:
        found["n_way"] = facts.classes
    shots = [key for key in ("k_shot", "n_query") if key in known]
    wanted = sum(known[key].default for key in shots)
    if shots and not facts.source and facts.smallest < wanted:
        found |= {key: max(1, known[key].default * facts.smallest // wanted) for key in shots}
    return found
