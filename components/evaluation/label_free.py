"""How good a model seems to be without a single label: what chooses where no target label may be used.

Each is logits [N, C] -> a score, higher is better. They judge by the answers' shape alone, so a model that is sure and
wrong can fool all of them; the choice that labels would have made is reported beside theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from components.evaluation.metrics import log_softmax


def negative_entropy(logits: np.ndarray) -> float:
    """Minus the mean entropy of the answers, in nats: sure answers are good ones.

    Morerio et al., 2018, arXiv:1711.10288, sec. 3.3. Best where all answers are the same class, which is its weakness.
    """
    logs = log_softmax(logits)
    return float((np.exp(logs) * logs).sum(1).mean())


def information_maximisation(logits: np.ndarray) -> float:
    """Mutual information of image and answer, in nats: each answer sure, and all classes answered.

    Bridle et al., 1991; as a criterion: Musgrave et al., 2022, arXiv:2208.07360. Entropy of the mean answer minus mean
    entropy of the answers.
    """
    mean = np.exp(log_softmax(logits)).mean(0)
    return negative_entropy(logits) - float((mean * np.log(np.maximum(mean, 1e-12))).sum())


def soft_neighbourhood_density(logits: np.ndarray, temperature: float = 0.05) -> float:
    """How many neighbours each answer has: the mean entropy of softmax(similarity / temperature) over the others.

    SND; Saito et al., 2021, arXiv:2108.10860, eq. 3 to 5, on the normalised probabilities.
    """
    answers = np.exp(log_softmax(logits))
    answers /= np.linalg.norm(answers, axis=1, keepdims=True)
    similarity = answers @ answers.T / temperature
    np.fill_diagonal(similarity, -np.inf)  # an answer is not its own neighbour
    logs = log_softmax(similarity)
    return float(-(np.exp(logs) * np.where(np.isfinite(logs), logs, 0.0)).sum(1).mean())


CRITERIA: dict[str, Callable[[np.ndarray], float]] = {
    "negative_entropy": negative_entropy,
    "information_maximisation": information_maximisation,
    "soft_neighbourhood_density": soft_neighbourhood_density,
}
DEFAULT = "information_maximisation"
