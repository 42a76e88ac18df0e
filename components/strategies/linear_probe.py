"""Linear probe: the backbone stays as it is, and a linear classifier is solved for on its features.

Alain & Bengio, 2016, arXiv:1610.01644, sec. 3; multinomial logistic regression by L-BFGS with the penalty chosen on the
validation part, as in Kornblith et al., 2019, arXiv:1805.08974, sec. 3, or ridge regression onto the one-hot labels
(Rifkin et al., 2003). The formulas are in `components.layers.linear_solvers`.

Deviation: the features are standardised first, so that one penalty fits all of them.

With `views` the classifier is fitted to changed images, too, as in Sharif Razavian et al., 2014, arXiv:1403.6382: so
many fixed changes of each, whose features are computed once, where training by gradient descent would draw others in
every epoch and pass them through the backbone each time (`feature_extraction`).
"""

from __future__ import annotations

from typing import Literal

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.strategies.base import Classifier, Data
from components.strategies.frozen_features import solve_heads
from components.types import LabelSpace


class LinearProbe(Classifier):
    """`solver`: logistic regression by L-BFGS, or ridge regression, which takes a fraction of the time where there are
    tens of thousands of images; `l2`: the penalties to choose from, per training image; `views`: of each training image
    that are learned from, the image itself among them, at most as many as `embed.views`."""

    frozen = True
    label_options = ("class_weights",)  # solved for at once: there is no step, and nothing to draw for it

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        solver: Literal["ridge", "lbfgs"] = "lbfgs",
        l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
        views: int = 1,
    ) -> None:
        super().__init__(backbone, label_space)
        if views < 1:
            raise ParamsError(f"views is {views}, but must be at least 1")
        self.solver = solver
        self.l2 = l2
        self.views = views

    def param_groups(self, lr: float) -> list[dict]:
        return []

    def finish(self, data: Data) -> None:
        solve_heads(self, data, solver=self.solver, l2=self.l2, views=self.views)
