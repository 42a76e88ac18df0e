"""Features of two domains as a picture in the plane, and as a number: how well the domains can be told apart."""

from __future__ import annotations

import numpy as np

PERPLEXITY = 30.0
STEPS = 500
"""Of the descent: twice as many take twice as long, and bring the divergence down by a hundredth."""
FOLDS = 5


def stratified(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """labels [N] -> places [min(count, N)] in their order: as many of each class as there are, or as equal a number of
    each as makes `count`, drawn at random."""
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)  # 0 for the first drawn of its class, 1 for the second, ...
    for value in np.unique(labels):
        places = order[labels[order] == value]
        turn[places] = np.arange(len(places))
    return np.sort(order[np.argsort(turn[order], kind="stable")[:count]])


def in_the_plane(features: np.ndarray, seed: int) -> np.ndarray:
    """features [N, D] -> [N, 2] float32: t-SNE (van der Maaten & Hinton, 2008, JMLR 9) of the standardised features.

    It starts from the first two principal components, and one thread adds in one order: equal features, equal bytes.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    table = standardised(features)
    if len(table) < 4 or not table.any():  # nothing is near or far
        return np.zeros((len(table), 2), dtype=np.float32)
    perplexity = min(PERPLEXITY, (len(table) - 1) / 3)
    with threadpool_limits(1):
        model = TSNE(2, perplexity=perplexity, max_iter=STEPS, init="pca", random_state=seed, n_jobs=1)
        return model.fit_transform(table).astype(np.float32)


def domain_accuracy(features: np.ndarray, domain: np.ndarray, seed: int) -> float | None:
    """features [N, D], domain [N] of 0 and 1, about as many of each -> share of held-out images whose domain a linear
    classifier tells: 0.5 where the domains are alike, 1 where they lie apart.

    The proxy A-distance (Ben-David et al., 2007, "Analysis of representations for domain adaptation") comes of such a
    classifier's error: logistic regression here, and every image is held out once. None where there are too few images
    for that, or one domain only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    counts = np.bincount(domain, minlength=2)
    if counts.min() < FOLDS:
        return None
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):
        scores = cross_val_score(classifier, features, domain, cv=folds, scoring="balanced_accuracy")
    return float(scores.mean())


def standardised(features: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 for each feature; 0 for one that is always the same."""
    table = features.astype(np.float64)
    table -= table.mean(0)
    spread = table.std(0)
    return np.divide(table, spread, out=np.zeros_like(table), where=spread > 1e-12)
