"""How well a few-shot strategy tells apart classes of which it is given a handful of images: accuracies over many tasks
drawn from the target's test images.

Vinyals et al., 2016, arXiv:1606.04080, sec. 4.1: each task has n_way classes with k_shot labelled images, and is scored
on other images of these classes. The mean over several hundred tasks, with an interval, is what few-shot papers report
(600 tasks in Snell et al., 2017, arXiv:1703.05175, sec. 3.2).
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import torch

from components.data import sampling
from components.data.prepared import Prepared
from components.data.streams import Streams
from components.strategies.few_shot import FewShot
from components.types import Sampling


def draw(prepared: Prepared, shape: Sampling, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Support [count, n_way, k_shot] and query [count, n_way, n_query]: places among the target's labelled test images.

    The random numbers come of the images and not of a strategy or a seed: all strategies whose episodes have the same
    shape are examined with the same tasks, so they can be compared task by task. Raises DataError when the images
    cannot fill an episode.
    """
    target = prepared.target
    rows = target.rows("test", labelled=True)
    task = next(iter(prepared.label_space.classes))
    images = sampling.by_class(target.labels[task][rows])
    rng = np.random.default_rng(zlib.crc32("".join(target.sha256[row] for row in rows).encode()))
    of_target = replace(shape, domain="target")
    support, query = zip(*(sampling.episode(images, of_target, rng) for _ in range(count)), strict=True)
    return np.stack(support), np.stack(query)


@torch.no_grad()
def accuracies(strategy: FewShot, data: Streams, episodes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The strategy's share of right answers in each of the episodes that `draw` gave [E], float32.

    Every test image passes through the backbone once; the tasks are made of the features.
    """
    strategy.eval()
    features, _ = strategy.features_of(data.split("test"))
    places = [torch.from_numpy(part).to(features.device) for part in episodes]
    answers = [
        strategy.classify_features(features[query.flatten()], support=features[support]).argmax(1)
        for support, query in zip(*places, strict=True)
    ]
    _, n_way, n_query = places[1].shape
    truth = torch.arange(n_way, device=features.device).repeat_interleave(n_query)
    return (torch.stack(answers) == truth).float().mean(1).cpu().numpy()
