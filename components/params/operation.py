"""The sections of `params.yaml` that say how a pipeline is kept running: who is promoted, what is watched, and what is
done when the images change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from components.params.section import Augment, Section, require


@dataclass(frozen=True, kw_only=True)
class PromoteParams(Section):
    """When a challenger takes the champion's place. No threshold has a default: a rule that nobody has set decides
    nothing.

    `registered_model`: its name in MLflow. `aim`: 'better' asks for a lead in test accuracy whose whole interval lies
    above `min_gain`; 'as_good' for one whose whole interval lies above minus `margin`, from a model that is
    `min_speed_up` times as fast.

    Whatever the aim, the challenger must not lose, beyond what the test images cannot tell from chance, more than
    `max_class_loss` of the recall of any class or `max_slice_loss` of the accuracy of any slice; its calibration error
    may be larger by `max_ece_gain`, its latency and its size by these factors, and its ONNX files must decide as torch
    does on `min_agreement` of the images.

    `max_known_loss`: what a challenger that was adapted to recent images without labels may lose of the accuracy on the
    labelled test images, which are not of that kind.

    `approval`: 'manual' waits for a person between the decision and the change, at most `approval_timeout_h` hours.
    """

    registered_model: str
    aim: Literal["better", "as_good"]
    min_gain: float
    margin: float
    min_speed_up: float
    max_class_loss: float
    max_slice_loss: float
    max_ece_gain: float
    max_latency_ratio: float
    max_size_ratio: float
    min_agreement: float
    max_known_loss: float
    approval: Literal["auto", "manual"]
    approval_timeout_h: float = 24.0

    def __post_init__(self) -> None:
        require(bool(self.registered_model.strip()), "registered_model is empty, but MLflow needs a name")
        require(-1 < self.min_gain < 1, f"min_gain is {self.min_gain}, but is a difference of two shares")
        for name in ("margin", "max_class_loss", "max_slice_loss", "max_ece_gain", "max_known_loss"):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}, but must lie in [0, 1]")
        for name in ("min_speed_up", "max_latency_ratio", "max_size_ratio"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, but must be at least 1")
        require(0 < self.min_agreement <= 1, f"min_agreement is {self.min_agreement}, but must lie in (0, 1]")
        require(self.approval_timeout_h > 0, f"approval_timeout_h is {self.approval_timeout_h}, but must be positive")


TESTS = 4
"""Of each window: see `components.monitoring.drift`."""


@dataclass(frozen=True)
class MonitorParams(Section):
    """How the images that come in are watched.

    `windows`: how many of the last ones are compared with the `reference` images at most that the champion was tested
    with; `alpha`: the false-alarm rate of one check, over all of its windows and tests together; `permutations`: of
    each test that needs them; `shown`: images on the page, those that moved most.

    Against retraining in a loop: none within `cool_down_h` hours of the last one that drift has started, and at most
    `max_retrains` in `budget_days` days.
    """

    windows: tuple[int, ...] = (100, 400)
    alpha: float = 0.001
    permutations: int = 8000
    reference: int = 1000
    shown: int = 12
    cool_down_h: float = 24.0
    max_retrains: int = 3
    budget_days: float = 30.0

    def __post_init__(self) -> None:
        require(len(self.windows) > 0 and min(self.windows) >= 20, "windows must be numbers of images, at least 20")
        require(len(set(self.windows)) == len(self.windows), f"windows {list(self.windows)} repeat")
        require(0 < self.alpha < 1, f"alpha is {self.alpha}, but must lie between 0 and 1")
        least = math.ceil(TESTS * len(self.windows) / self.alpha - 1e-9) - 1
        require(
            self.permutations >= least,
            f"permutations is {self.permutations}, but alpha {self.alpha:g} over {len(self.windows)} windows needs at "
            f"least {least}: with fewer, no p-value could be small enough",
        )
        require(self.reference >= 50, f"reference is {self.reference}, but must be at least 50 images")
        for name in ("shown", "cool_down_h", "max_retrains"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, but must not be negative")
        require(self.budget_days > 0, f"budget_days is {self.budget_days}, but must be positive")


@dataclass(frozen=True)
class AdaptParams(Section):
    """What competes when the images have changed: entries of `strategies` that adapt without labels (`compare`), joined
    by the `supervised` ones as soon as somebody has labelled some of the recent images.

    `images`: so many recent ones at most; `augment`: the policy that all of them are trained with, since what the
    images will look like is what nobody knew; `seeds`.
    """

    compare: tuple[str, ...] = ()
    supervised: tuple[str, ...] = ()
    images: int = 1000
    augment: Augment = "appearance"
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        require(self.images >= 50, f"images is {self.images}, but must be at least 50")
        require(len(self.seeds) > 0 and min(self.seeds) >= 0, "seeds must be numbers that are not negative")
        require(len(set(self.seeds)) == len(self.seeds), f"seeds {list(self.seeds)} repeat")


@dataclass(frozen=True)
class RunParams(Section):
    """`max_concurrent`: stages at once; `retries`: for a stage whose failure a second try may mend; `timeout_h`: hours
    after which a stage counts as hanging and is stopped (`meta.timeout_h` in dvc.yaml: for one stage)."""

    max_concurrent: int = 2
    retries: int = 1
    timeout_h: float = 24.0

    def __post_init__(self) -> None:
        require(self.max_concurrent >= 1, f"max_concurrent is {self.max_concurrent}, but must be at least 1")
        require(self.retries >= 0, f"retries is {self.retries}, but must not be negative")
        require(self.timeout_h > 0, f"timeout_h is {self.timeout_h}, but must be positive")
