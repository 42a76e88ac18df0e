"""How often the monitor raises a false alarm, which changes of the images it finds, and what a check costs.

    python -m benchmarks.drift [--root .] [--windows 200] [--rounds 10] [--permutations 999] [--out FILE]

On the features of the built-in digits, as the champion below `--root` makes them (a finished pipeline: `make run`), of
images that it was not trained on: the handwritten ones of the validation and test parts, dealt anew into a reference
and a stream for every check, so that chance alone decides; and printed ones, drawn here, of which one reference serves
many checks, as it does in use. Every check has the windows of `MonitorParams`.
One thread: two minutes of its time, up to twice that on a busy machine.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks.performance_page import table
from components.data import prepared
from components.data.datasets import digits
from components.evaluation.intervals import wilson
from components.inference.predictor import Predictor
from components.monitoring.drift import TESTS, Sample, Verdict, compare
from components.params.operation import MonitorParams
from components.runtimes.options import Options
from components.types import TASK

LIMITS = MonitorParams()
STREAM = max(LIMITS.windows)
LEVEL = 0.01
"""Above the one of `MonitorParams`, which some hundreds of checks could not show."""
LEVELS = (LEVEL, 0.05)
HANDWRITTEN = 600
"""Images of the handwritten reference; about 500 are left for the stream."""
REFERENCES = 4
"""Printed ones, each for its share of the checks."""
PER_CLASS = 400
"""Printed images of each digit: the reference and what the stream is drawn from."""
SEED = 20_000
BATCH = 64


class Answers(NamedTuple):
    """Images as the model answered them: features [N, D], label and truth [N], confidence [N]."""

    features: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    truth: np.ndarray

    def take(self, rows: np.ndarray) -> Answers:
        return Answers(*(values[rows] for values in self))


Change = Callable[[np.ndarray], np.ndarray]
"""uint8 [N, S, S, 3] -> the same shape"""


def each(change: Callable[[Image.Image], Image.Image]) -> Change:
    return lambda pixels: np.stack([np.asarray(change(Image.fromarray(image)).convert("RGB")) for image in pixels])


def blur(radius: float) -> Change:
    return each(lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def brightness(factor: float) -> Change:
    return each(lambda image: ImageEnhance.Brightness(image).enhance(factor))


def jpeg(quality: int) -> Change:
    def stored(image: Image.Image) -> Image.Image:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality)
        return Image.open(content)

    return each(stored)


CHANGES: dict[str, Change] = {
    "blur, radius 0.5 pixels": blur(0.5),
    "blur, radius 1": blur(1.0),
    "blur, radius 2": blur(2.0),
    "inverted": lambda pixels: 255 - pixels,
    "brightness -10 %": brightness(0.9),
    "brightness +10 %": brightness(1.1),
    "JPEG, quality 75": jpeg(75),
    "JPEG, quality 10": jpeg(10),
    "turned by 5 degrees": each(lambda image: image.rotate(5, Image.Resampling.BILINEAR)),
}
LATELY = ("blur, radius 1", "inverted")
"""These also as changes that only the shorter window is full of."""
PRINTED = (0.1, 0.25, 1.0)
"""Shares of the stream that are no longer handwritten."""
PRIORS = (1.5, 2.0, 3.0)
"""So many times as frequent becomes one of the ten classes."""


def answered(predictor: Predictor, pixels: np.ndarray, truth: np.ndarray) -> Answers:
    found = [
        predictor.run(pixels[at : at + BATCH], ["features", "probabilities"]) for at in range(0, len(pixels), BATCH)
    ]
    probabilities = np.concatenate([batch["probabilities"] for batch in found])
    features = np.concatenate([batch["features"] for batch in found])
    return Answers(features, probabilities.argmax(1), probabilities.max(1), truth)


def check(reference: Answers, stream: Answers, permutations: int, seed: int) -> Verdict:
    windows = {size: Sample(*(values[-size:] for values in stream[:3])) for size in LIMITS.windows}
    return compare(Sample(*reference[:3]), windows, alpha=LEVEL, permutations=permutations, seed=seed)


class Setting(NamedTuple):
    """`hand`: what the model makes of the handwritten images, by what was done to them ("" for nothing); `printed`."""

    hand: Mapping[str, Answers]
    printed: Answers


def setting(root: Path) -> Setting:
    champion = root / "models/champion"
    predictor = Predictor.load(champion if champion.exists() else root / "bundle", options=Options(threads=1))
    target = prepared.read(root / "data/prepared").target
    rows = np.sort(np.concatenate([target.rows("val"), target.rows("test")]))
    pixels, truth = np.asarray(target.pixels[rows]), target.labels[TASK][rows]
    hand = {name: answered(predictor, change(pixels), truth) for name, change in {"": lambda p: p, **CHANGES}.items()}
    with tempfile.TemporaryDirectory() as folder:
        digits.printed(Path(folder), PER_CLASS, SEED)
        paths = sorted(Path(folder).glob("*/*.png"))
        drawn = np.stack([predictor.pixels(path) for path in paths])
        printed = answered(predictor, drawn, np.array([int(path.parent.name) for path in paths]))
    return Setting(hand, printed)


def dealt_anew(found: Setting, count: int, permutations: int) -> list[list[Verdict]]:
    random = np.random.default_rng(SEED)
    hand, verdicts = found.hand[""], []
    for seed in range(count):
        order = random.permutation(len(hand.label))
        reference, stream = order[:HANDWRITTEN], order[HANDWRITTEN : HANDWRITTEN + STREAM]
        verdicts.append(check(hand.take(reference), hand.take(stream), permutations, seed))
    return [verdicts]


def one_reference(found: Setting, count: int, permutations: int) -> list[list[Verdict]]:
    """The verdicts of each of a few references."""
    random = np.random.default_rng(SEED)
    verdicts = []
    for number in range(REFERENCES):
        order = random.permutation(len(found.printed.label))
        reference, rest = found.printed.take(order[: LIMITS.reference]), order[LIMITS.reference :]
        verdicts.append(
            [
                check(reference, found.printed.take(random.permutation(rest)[:STREAM]), permutations, 1000 * number + i)
                for i in range(-(-count // REFERENCES))
            ]
        )
    return verdicts


def false_alarms(verdicts: Mapping[str, Sequence[Sequence[Verdict]]]) -> str:
    rows = []
    for name, by_reference in verdicts.items():
        for alpha in LEVELS:
            hits = [sum(alarm(verdict, alpha) for verdict in several) for several in by_reference]
            count = sum(map(len, by_reference))
            interval = wilson(sum(hits), count, confidence=0.95)
            each_reference = f"{', '.join(map(str, hits))} of {len(by_reference[0])} each" if len(hits) > 1 else "-"
            rows.append(
                (name, f"{alpha:.0%}", f"{sum(hits)} of {count}", f"{sum(hits) / count:.1%}",
                 f"{interval.low:.1%} to {interval.high:.1%}", each_reference)
            )  # fmt: skip
    head = ("no drift", "level", "alarms", "share", "95 % interval", "by reference")
    return table(head, rows)


def alarm(verdict: Verdict, alpha: float) -> bool:
    return min(test.p_adjusted for test in verdict.tests) <= alpha


def streams(found: Setting, random: np.random.Generator) -> Iterable[tuple[str, Answers, Answers]]:
    """Every kind of drift: its name, a reference, and a stream."""
    hand = found.hand[""]
    order = random.permutation(len(hand.label))
    reference, rows = hand.take(order[:HANDWRITTEN]), order[HANDWRITTEN : HANDWRITTEN + STREAM]
    lately = np.arange(STREAM) >= STREAM - min(LIMITS.windows)
    for name in CHANGES:
        yield name, reference, found.hand[name].take(rows)
        if name in LATELY:
            changed = found.hand[name].take(rows)
            yield f"{name}, for {lately.sum()} images", reference, mixed(hand.take(rows), changed, lately)
    other = found.printed.take(random.permutation(len(found.printed.label))[:STREAM])
    for share in PRINTED:
        yield f"{share:.0%} in print", reference, mixed(hand.take(rows), other, random.random(STREAM) < share)
    for factor in PRIORS:
        reference, stream = another_prior(found.printed, factor, random)
        yield f"one class {factor:g} times as frequent", reference, stream


def mixed(first: Answers, second: Answers, chosen: np.ndarray) -> Answers:
    """`first`, but `second` where `chosen` [N]."""
    return Answers(
        np.where(chosen[:, None], second.features, first.features),
        *(np.where(chosen, b, a) for a, b in zip(first[1:], second[1:], strict=True)),
    )


def another_prior(printed: Answers, factor: float, random: np.random.Generator) -> tuple[Answers, Answers]:
    order = random.permutation(len(printed.label))
    reference, rest = order[: LIMITS.reference], order[LIMITS.reference :]
    shares = np.ones(10)
    shares[random.integers(10)] = factor
    counts = random.multinomial(STREAM, shares / shares.sum())
    rows = [rest[printed.truth[rest] == digit][: counts[digit]] for digit in range(10)]
    return printed.take(reference), printed.take(random.permutation(np.concatenate(rows)))


def power(found: Setting, rounds: int, permutations: int) -> str:
    random = np.random.default_rng(SEED + 1)
    verdicts: dict[str, list[Verdict]] = {}
    right: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds):
        for name, reference, stream in streams(found, random):
            verdicts.setdefault(name, []).append(check(reference, stream, permutations, number))
            share = tuple(float((answers.label == answers.truth).mean()) for answers in (reference, stream))
            right.setdefault(name, []).append(share)
    rows = []
    for name, several in verdicts.items():
        before, after = np.mean(right[name], axis=0)
        cells = [f"{np.mean([verdict.drift for verdict in several]):.0%}"]
        for test in TESTS:
            hits = [any(one.drifted for one in verdict.tests if one.name == test) for verdict in several]
            cells.append(f"{np.mean(hits):.0%}")
        rows.append((name, f"{before:.1%}", f"{after:.1%}", *cells))
    head = ("change", "accuracy before", "on the stream", "drift found", *(f"by {test}" for test in TESTS))
    return table(head, rows)


def cost() -> str:
    """CPU seconds of a check of noise, the lesser of two."""
    random = np.random.default_rng(SEED)
    rows = []
    for width in (64, 512, 2048):
        spent = []
        for _ in range(2):
            reference, stream = (
                Answers(random.normal(size=(n, width)).astype(np.float32), random.integers(0, 10, n), random.random(n),
                        np.zeros(n))
                for n in (LIMITS.reference, STREAM)
            )  # fmt: skip
            began = time.process_time()
            check(reference, stream, LIMITS.permutations, 0)
            spent.append(time.process_time() - began)
        rows.append((f"{width}", f"{LIMITS.reference}", f"{LIMITS.permutations}", f"{min(spent):.2f} s"))
    return table(("features", "reference", "permutations", "CPU time"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--windows", type=int, default=200, help="checks without drift, of each kind")
    parser.add_argument("--rounds", type=int, default=10, help="checks of each change")
    parser.add_argument("--permutations", type=int, default=999)
    parser.add_argument("--out", type=Path, help="a Markdown file for the tables")
    options = parser.parse_args(arguments)
    found = setting(options.root)
    verdicts = {
        f"handwritten, {HANDWRITTEN} dealt anew as the reference": dealt_anew(
            found, options.windows, options.permutations
        ),
        f"printed, {REFERENCES} references of {LIMITS.reference}": one_reference(
            found, options.windows, options.permutations
        ),
    }
    sizes = " and ".join(map(str, sorted(LIMITS.windows)))
    parts = [
        f"Windows of {sizes} images, {options.permutations} permutations, level {LEVEL:g} for all tests of a "
        f"check together; {options.rounds} checks of each change.",
        false_alarms(verdicts),
        power(found, options.rounds, options.permutations),
        cost(),
    ]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
