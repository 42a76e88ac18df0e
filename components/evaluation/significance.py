"""Which differences are real: tests of two models on the same images, and what many tests at once ask for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count
from string import ascii_letters
from typing import NamedTuple

import numpy as np


class Disagreement(NamedTuple):
    """Images that only one of two models answered rightly, and how likely such a split is if both are equally good."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> Disagreement:
    """The exact test of McNemar, 1947, two-sided; `first` [N] and `second` [N] say which images were right.

    Where both are right or both wrong nothing is learned; the others are flips of a fair coin if the models are equally
    good, so p is a sum of binomial chances, no approximation.
    """
    from scipy.special import bdtr

    ahead, behind = int((first & ~second).sum()), int((second & ~first).sum())
    p = 2 * float(bdtr(min(ahead, behind), ahead + behind, 0.5))
    return Disagreement(ahead, behind, min(p, 1.0))


def holm(p: np.ndarray) -> np.ndarray:
    """p [M] of M tests -> adjusted [M]: below the level where the chance of any false finding at all is below it.

    Holm, 1979, Scandinavian Journal of Statistics 6: the smallest is multiplied by M, the next by M - 1, and so on, and
    none may be below the one before it.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def letters(size: int, different: list[tuple[int, int]]) -> list[str]:
    """For each of `size` things its letters, so that exactly the pairs that are `different` have none in common.

    The compact letter display of Piepho, 2004, Journal of Computational and Graphical Statistics 13: start with one
    group of all; each different pair splits every group that holds both (insert), and a group within another is dropped
    (absorb). Then groups, and members of groups, that no pair needs to be held together are dropped (sweep). The groups
    are named in the order of their members: "a" belongs to the first thing.
    """
    groups = [frozenset(range(size))]
    for first, second in different:
        split = [group for group in groups if first in group and second in group]
        kept = [group for group in groups if not (first in group and second in group)]
        for group in chain.from_iterable((group - {first}, group - {second}) for group in split):
            if not any(group <= other for other in kept):
                kept = [*(other for other in kept if not other < group), group]
        groups = kept
    found = [""] * size
    for group, letter in zip(sorted(_swept(groups, size)), _names(), strict=False):
        for member in group:
            found[member] += letter
    return found


def _swept(groups: list[frozenset[int]], size: int) -> list[list[int]]:
    """Fewer and smaller groups that hold together the same pairs, and leave no thing without a group."""
    held = np.zeros((size, size), int)  # in how many groups two things are together; the diagonal: in how many one is
    for group in groups:
        held[np.ix_(sorted(group), sorted(group))] += 1
    kept = []
    for members in sorted(map(sorted, groups), key=lambda members: (len(members), members)):  # small ones go first
        if (held[np.ix_(members, members)] > 1).all():
            held[np.ix_(members, members)] -= 1
        else:
            kept.append(members)
    for members in kept:
        for member in tuple(members):
            if (held[member, members] > 1).all():
                members.remove(member)
                held[member, members] -= 1
                held[members, member] -= 1
                held[member, member] -= 1
    return kept


def _names() -> Iterator[str]:
    """a to z, A to Z, then the letters from Greek on: there is always one more."""
    return chain(ascii_letters, (letter for letter in map(chr, count(ord("α"))) if letter.isalpha()))
