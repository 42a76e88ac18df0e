"""DANN: features a domain discriminator cannot tell apart (also called DATNN: domain-adversarial training of neural
networks, which the catalogue knows as an alias).

Ganin et al., 2016, arXiv:1505.07818, eq. 9: minimise over the network, maximise over the discriminator,
L_y(source) - lambda * (L_d(source) + L_d(target)), in one step by gradient reversal (sec. 4.2).

Where the ramp weighs (sec. 5.2.2): lambda_p = 2 / (1 + exp(-gamma p)) - 1 scales the reversed gradient that enters the
features, and nothing else. The discriminator learns at full weight from the first step, so the logged term is its own,
unweighted loss: 2 log 2 = 1.39 says that it cannot tell the domains apart.

Deviation: the learning rate follows the recipe's schedule, not the paper's mu_0 / (1 + 10 p)^0.75.
"""

from __future__ import annotations

from components.backbones.base import Backbone
from components.layers.discriminator import Discriminator
from components.layers.gradient_reversal import GradientReversal
from components.losses.domain_cross_entropy import domain_cross_entropy
from components.strategies.adaptation import Adaptation, Side
from components.types import LabelSpace, Losses


class DANN(Adaptation):
    """`trade_off`: lambda at the end of the ramp, `gamma`: the ramp's steepness; `hidden`: widths of the
    discriminator's layers (the paper: one of 100 for MNIST, two of 1024 for larger networks)."""

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        trade_off: float = 1.0,
        gamma: float = 10.0,
        hidden: tuple[int, ...] = (100,),
        target_labels: bool = False,
    ) -> None:
        super().__init__(backbone, label_space, target_labels=target_labels)
        self.reversal = GradientReversal(height=trade_off, gamma=gamma)
        self.discriminator = Discriminator(backbone.num_features, hidden)

    def advance(self, progress: float) -> None:
        self.reversal.advance(progress)

    def adapt(self, *, source: Side, target: Side) -> Losses:
        domain = domain_cross_entropy(
            source=self.discriminator(self.reversal(source.features)),
            target=self.discriminator(self.reversal(target.features)),
        )
        return {"domain": domain}
