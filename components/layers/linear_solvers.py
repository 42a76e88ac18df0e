"""Linear classifiers solved for, not trained: ridge regression in closed form, logistic regression by L-BFGS.

Both standardise the features inside, so that one penalty fits all of them, and give the solution for the features as
they come. The offset is not penalised. A constant feature gets no weight.

`weights` [n], at least 0: how much each image counts. Only their ratios matter, and they count in everything, mean and
spread of the features included: an image of weight 2 is two images of weight 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.layers.uncompiled import uncompiled

LBFGS = uncompiled(torch.optim.LBFGS)


def ridge(features: Tensor, one_hot: Tensor, l2: float, *, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """features [n, D], one_hot [n, C] -> weight [C, D] and bias [C] of the regression onto the one-hot labels.

    Rifkin et al., 2003, "Regularized least-squares classification": W = (X'X + n * l2 * I)^-1 X'Y for standardised
    X and centred Y; with weights, X'SX and X'SY, where S has them on its diagonal and their mean is 1.
    """
    share = _shares(features, weights)
    x, mean, std = _standardised(features, share)
    offset = share @ one_hot
    shared = (x * share[:, None]).T
    gram = shared @ x + l2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(gram, shared @ (one_hot - offset)).T / std
    return weight, offset - weight @ mean


def logistic(
    features: Tensor, one_hot: Tensor, l2: float, iterations: int = 200, *, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """features [n, D], one_hot [n, C] -> weight [C, D] and bias [C] of the multinomial logistic regression.

    Minimises the mean cross-entropy + l2 / 2 * |W|^2 for standardised features (Bishop, 2006, "Pattern recognition
    and machine learning", sec. 4.3.4, whose gradient, eq. 4.109, is written out here) by L-BFGS (Liu & Nocedal, 1989,
    Mathematical Programming 45) with a line search, in at most so many iterations. Give it double precision: the
    search stops where rounding hides the slope.
    """
    share = _shares(features, weights)
    x, mean, std = _standardised(features, share)
    weight, bias = x.new_zeros(one_hot.shape[1], x.shape[1]), x.new_zeros(one_hot.shape[1])
    search = LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def value_and_gradient() -> Tensor:
        log_probabilities = (x @ weight.T + bias).log_softmax(1)
        difference = (log_probabilities.exp() - one_hot) * share[:, None]
        weight.grad = difference.T @ x + l2 * weight
        bias.grad = difference.sum(0)
        return -(share @ (one_hot * log_probabilities)).sum() + l2 / 2 * weight.square().sum()

    search.step(value_and_gradient)
    weight = weight / std
    return weight, bias - weight @ mean


def _shares(features: Tensor, weights: Tensor | None) -> Tensor:
    """What each image counts [n]; the sum is 1."""
    if weights is None:
        return features.new_full((len(features),), 1 / len(features))
    return weights.to(features) / weights.sum()


def _standardised(features: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """features [n, D], share [n] of each -> features of mean 0 and spread 1, and their mean [D] and spread [D] before,
    infinite where there is none."""
    mean = share @ features
    std = (share @ (features - mean).square()).sqrt()
    std = torch.where(std > 1e-12, std, torch.inf)
    return (features - mean) / std, mean, std
