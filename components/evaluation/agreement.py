"""Several strategies' answers to images whose labels nobody knows: each is judged by what the others say.

The competitors are a committee. On each image their seeds vote, and a strategy's agreement is the share of images on
which it decides as the committee of all the others does; where a label is known, it takes the vote's place, and with
all of them known agreement is accuracy. That models which disagree on an image cannot both be right bounds their error
from below; that the share on which they disagree is close to their error was found by Jiang et al., 2022,
arXiv:2106.13799, for models of one kind, and that it goes on moving with the error when the images change by Baek et
al., 2022, arXiv:2206.13089. Voting against those who disagree is the query by committee of Seung et al., 1992, and the
votes are pseudo-labels as of Lee, 2013.

What it cannot see is a committee that is wrong together: strategies that all take what is new for the same class agree
perfectly. Two that are built alike lift one another, too. Hence the guard below, which sees the one way of being wrong
together that shows in the answers themselves: classes that nobody answers any more. It has no means against a committee
that swaps two classes with one voice; some labelled images among the recent ones have.

The guard: let n be the effective number of classes that a strategy answers, the exponential of their entropy (Hill,
1973, Ecology 54), and m that of the labelled training images. Its answers have collapsed when n - 1 is less than
COLLAPSED times m - 1: of ten classes equally frequent, when it answers fewer than 4.6. It is then neither chosen nor
heard in the committee, unless all are alike in this. Where the images that come in really are of a few classes only,
the guard shuts out those who say so; with a label on each of the held-out ones it is not asked.

numpy only. Throughout: S seeds, N images, C classes; label and votes are indices of classes, HIDDEN where not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.data.prepared import HIDDEN
from components.errors import GraftError
from components.evaluation import metrics
from components.evaluation.bootstrap import accuracy_and_macro_f1
from components.evaluation.intervals import Interval, wilson
from components.evaluation.predictions import Answers
from components.params import EvaluateParams

COLLAPSED = 0.4
"""Share of the training images' diversity (of classes beyond the first) below which answers have collapsed."""
ENOUGH, PER_CLASS = 20, 2
"""Images, of all and for each effective class of the training images, from which on that is told: of strategies that
answer everything rightly, where all classes are equally frequent, it then takes at most one in 5,000 for collapsed
(simulated for 2 to 15 classes; one in 20,000 up to 10)."""


@dataclass(frozen=True)
class Votes:
    """What a committee says: the class of each image [N], and the probability that it gives it [N]; 1 for a label."""

    label: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Standing:
    """One strategy on the recent images. `agreement` with the others, where a label is known with the label: mean over
    seeds with its interval, which says how far other images and seeds could move it and nothing of how far the others
    may err; `accuracy` on the `labelled` ones; `classes`: the effective number of those that it answers."""

    agreement: Interval
    accuracy: float | None
    labelled: int
    classes: float
    collapsed: bool

    def to_dict(self) -> dict:
        return {
            **dict(zip(("agreement", "low", "high"), map(float, self.agreement), strict=True)),
            "accuracy": self.accuracy,
            "labelled": self.labelled,
            "effective_classes": self.classes,
            "collapsed": self.collapsed,
        }


@dataclass(frozen=True)
class Judgement:
    """`votes`: of the whole committee; `without`: strategy -> of the committee without it, by which it is judged;
    `expected`: the effective number of classes of the labelled training images."""

    votes: Votes
    without: dict[str, Votes]
    standings: dict[str, Standing]
    labelled: int
    expected: float

    @property
    def images(self) -> int:
        return len(self.votes.label)

    @property
    def collapsed(self) -> list[str]:
        return [name for name, standing in self.standings.items() if standing.collapsed]

    @property
    def all_collapsed(self) -> bool:
        """Then the guard tells nothing apart: all fail, or the images are of few classes."""
        return len(self.collapsed) == len(self.standings)

    def rank(self, name: str) -> tuple[bool, float]:
        """The smaller, the better."""
        standing = self.standings[name]
        return standing.collapsed, -standing.agreement.value

    def to_dict(self, classes: Sequence[str]) -> dict:
        counts = np.bincount(self.votes.label, minlength=len(classes))
        return {
            "images": self.images,
            "labelled": self.labelled,
            "votes": self.votes.label.tolist(),
            "confidence": self.votes.confidence.tolist(),
            "votes_without": {name: votes.label.tolist() for name, votes in self.without.items()},
            "classes": {name: float(count / self.images) for name, count in zip(classes, counts, strict=True)},
            "effective_classes": effective_classes(counts, self.images),
            "expected_classes": self.expected,
            "collapsed": self.collapsed,
        }


def judge(
    entries: Mapping[str, Answers],
    temperatures: Mapping[str, Sequence[float]],
    training: np.ndarray,
    params: EvaluateParams,
    seed: int,
) -> Judgement:
    """`entries`: name -> answers to the recent images, whose labels [N] may be HIDDEN; `temperatures`: of each entry's
    seeds; `training` [M]: the labels of the labelled training images, by which the guard measures.

    Raises GraftError where a single strategy is left and some labels are not known: nobody could judge it.
    """
    answers = next(iter(entries.values()))
    labels, classes = answers.labels, answers.logits.shape[-1]
    known = labels != HIDDEN
    if len(entries) == 1 and not known.all():
        raise GraftError(
            f"{next(iter(entries))} is the only strategy that was trained, and nobody can judge it on recent images "
            "without labels: let several compete (adapt.compare), or label the images"
        )
    expected = effective_classes(np.bincount(training, minlength=classes))
    answered = {
        name: effective_classes(np.bincount(entry.decisions.ravel(), minlength=classes), entry.decisions.shape[1])
        for name, entry in entries.items()
    }
    guarded = not known.all() and len(labels) >= max(ENOUGH, PER_CLASS * expected)
    collapsed = {name: guarded and number - 1 < COLLAPSED * (expected - 1) for name, number in answered.items()}
    chances = {name: probabilities(entry.logits, temperatures[name]) for name, entry in entries.items()}
    heard = [name for name in entries if not collapsed[name]] or list(entries)
    without = {
        name: vote(
            [chances[other] for other in _others(name, heard) or _others(name, list(entries))], labels, len(labels)
        )
        for name in entries
    }
    return Judgement(
        votes=vote([chances[name] for name in heard], labels, len(labels)),
        without=without,
        standings={
            name: Standing(
                agreement=agreement(entry.decisions, without[name].label, classes, params, seed),
                accuracy=float((entry.decisions == labels)[:, known].mean()) if known.any() else None,
                labelled=int(known.sum()),
                classes=answered[name],
                collapsed=collapsed[name],
            )
            for name, entry in entries.items()
        },
        labelled=int(known.sum()),
        expected=expected,
    )


def _others(name: str, names: Sequence[str]) -> list[str]:
    return [other for other in names if other != name]


def probabilities(logits: np.ndarray, temperatures: Sequence[float]) -> np.ndarray:
    """Logits [S, N, C] -> [N, C]: the mean over the seeds, each at its own temperature [S], or the surest of them would
    be heard alone."""
    return metrics.probabilities(logits / np.asarray(temperatures)[:, None, None]).mean(0)


def vote(chances: Iterable[np.ndarray], labels: np.ndarray, images: int) -> Votes:
    """Of members' probabilities [N, C] each, all heard alike; a known label [N] is everyone's vote."""
    members = list(chances)
    known = labels != HIDDEN
    if not members:  # a single strategy whose images all have labels
        return Votes(labels.copy(), np.ones(images))
    mean = np.mean(members, axis=0)
    return Votes(np.where(known, labels, mean.argmax(1)), np.where(known, 1.0, mean.max(1)))


def agreement(decisions: np.ndarray, votes: np.ndarray, classes: int, params: EvaluateParams, seed: int) -> Interval:
    """The share of images on which decisions [S, N] are the votes [N], as accuracies are measured: mean over seeds, and
    bounds from resampled images and seeds; Wilson's where no resample differs from another."""
    draws, _ = accuracy_and_macro_f1([decisions], votes, classes, resamples=params.resamples, seed=seed)
    low, high = (float(bound[0]) for bound in draws.bounds(params.confidence, 0, 1))
    value = float(draws.value[0])
    if low == high:
        return wilson(round(value * len(votes)), len(votes), confidence=params.confidence)
    return Interval(value, low, high)


def effective_classes(counts: np.ndarray, images: int | None = None) -> float:
    """How many equally frequent classes would be as diverse as these counts [C]: exp of their entropy. `images`: so
    many were answered, and to estimate the entropy of all that might be, what so few of them hide of it is added
    (Miller, 1955): (classes seen - 1) / 2N. More than C there cannot be."""
    shares = counts[counts > 0] / counts.sum()
    hidden = 0.0 if images is None else (len(shares) - 1) / (2 * images)
    return min(float(np.exp(-(shares * np.log(shares)).sum() + hidden)), float(len(counts)))
