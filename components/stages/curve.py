"""curve: accuracy against labels per class, and how many more labels a goal would take. A command, not a DVC stage.

The pipeline hides training labels beyond `prepare.labels_per_class` from every stage. So the data are prepared once
more, with all labels of the training part, and each training hides what is beyond its own number.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components import jsonfile, lineage, paths
from components import params as parameters
from components.data import prepared
from components.errors import DataError, GraftError, ParamsError, choices
from components.evaluation import curve_answers
from components.filelock import locked
from components.params import Params
from components.reporting import curve_page
from components.stages import prepare
from components.stages.command import say
from components.strategies import catalogue
from components.types import TASK

if TYPE_CHECKING:
    from components.stages.curve_points import Point, Study

FOLDER = paths.STATE / "curve"
DATA = FOLDER / "prepared"
BASELINE = "from_scratch"


def curve(*, labels: str, strategies: str | None = None, seeds: str | None = None, goal: float | None = None) -> dict:
    """Measures what is not measured yet and writes reports/curve/; returns the content of curve.json.

    `labels`, `strategies` and `seeds` are lists with commas between their entries; by default the comparison's winner
    and the baseline, and the seeds of `train`. Raises GraftError before anything is trained where that can be known.
    """
    params = parameters.load(Path())
    counts = sorted(set(_numbers(labels, "--labels", least=1)))
    drawn = sorted(set(_numbers(seeds, "--seeds", least=0))) if seeds is not None else sorted(params.train.seeds)
    if goal is not None and not 0 < goal < 1:
        raise ParamsError(f"--goal is {goal:g}, but an accuracy to reach lies between 0 and 1")
    names = _names(strategies, params)
    _check(params, names)
    for file in ("backbone.safetensors", "model.json"):
        if not (paths.PRETRAINED / file).exists():
            raise DataError(f"{paths.PRETRAINED / file} does not exist: make it with `dvc repro pretrain` first")
    with locked(FOLDER / "lock"):
        images = _prepare(params)
        _check_counts(images, counts)
        from components.stages.curve_points import Point, Study  # here, as the first to import torch
        from components.training.compute import choose

        study = Study(params, choose(params.compute), DATA)
        for name in names:
            study.maker(name, images.label_space)()  # a hyper-parameter that does not fit these classes is refused here
        points = {
            name: [
                Point(name, count, seed) for seed in drawn for count in (counts if study.uses_labels(name) else [None])
            ]
            for name in names
        }
        by_seed = sorted((point for own in points.values() for point in own), key=lambda point: drawn.index(point.seed))
        found = _measure(study, by_seed)
    content = curve_answers.summary(
        {name: [found[point] for point in own] for name, own in points.items()},
        families={name: catalogue.STRATEGIES[params.competitor(name).strategy].family for name in names},
        params=params.evaluate,
        seed=params.seed,
        seeds=drawn,
        labels=counts,
        now=params.prepare.labels_per_class or _fewest(images)[1],
        goal=goal,
    )
    jsonfile.write(paths.CURVE / "curve.json", content)
    jsonfile.write_text(paths.CURVE / "index.html", curve_page.render(content))
    return content


def _numbers(text: str, option: str, *, least: int) -> list[int]:
    numbers = []
    for part in text.split(","):
        word = part.strip()
        if not (word.isascii() and word.isdigit()) or int(word) < least:
            raise ParamsError(f"{option}: {word!r} is not a whole number of at least {least}; write them as 1,2,5,10")
        numbers.append(int(word))
    return numbers


def _names(strategies: str | None, params: Params) -> list[str]:
    if strategies is None:
        if not paths.EVALUATION.exists():
            raise ParamsError(
                "there is no comparison yet whose winner could be taken: give --strategies, entries of params.yaml; "
                + choices("", params.strategies)
            )
        chosen = jsonfile.read(paths.EVALUATION)["chosen"]
        return [name for name in dict.fromkeys([chosen, BASELINE]) if name in params.strategies]
    names = list(dict.fromkeys(name.strip() for name in strategies.split(",") if name.strip()))
    if not names:
        raise ParamsError(f"--strategies is empty; {choices('', params.strategies)}")
    for name in names:
        if name not in params.strategies:
            raise ParamsError(f"--strategies: strategies has no entry {name!r}; {choices(name, params.strategies)}")
    return names


def _check(params: Params, names: Iterable[str]) -> None:
    """Refuses what a comparison of these could not be either."""
    students = []
    for name in names:
        competitor = params.competitor(name)
        if catalogue.TEACHER in catalogue.needs(competitor.strategy, competitor.hyper_parameters):
            students.append(name)
    compare = [name for name in names if name not in students]
    if students and params.teacher in params.strategies and params.teacher not in compare:
        compare.append(params.teacher)
    parameters.check(replace(params, compare=tuple(compare or params.compare), students=tuple(students)))


def _prepare(params: Params) -> prepared.Prepared:
    """The data with all training labels, prepared again only where something they depend on has changed."""
    made_from = lineage.digest(
        {
            "images": lineage.folder_digest(paths.PREPARED),
            "params": {key: params.to_dict()[key] for key in ("seed", "data", "prepare")},
            "code": [lineage.code_digest("data"), lineage.file_digest(Path(prepare.__file__))],
        }
    )
    note = FOLDER / "prepared.sha256"
    if not (note.exists() and note.read_text() == made_from and DATA.exists()):
        note.unlink(missing_ok=True)
        shutil.rmtree(DATA, ignore_errors=True)
        prepare.write(replace(params, prepare=replace(params.prepare, labels_per_class=None)), DATA)
    images, own = prepared.read(DATA), prepared.read(paths.PREPARED)
    if _held_out(images) != _held_out(own):
        raise DataError(f"{paths.PREPARED} was made of other images than those of now: run `dvc repro pretrain` first")
    jsonfile.write_text(note, made_from)  # last: without it, an unfinished copy is made again
    return images


def _held_out(data: prepared.Prepared) -> list[tuple[str, str]]:
    return sorted(
        (data.target.sha256[row], part) for part in ("val", "test") for row in data.target.rows(part, labelled=True)
    )


def _fewest(data: prepared.Prepared) -> tuple[str, int]:
    """The class with the fewest training images, and how many it has."""
    classes = data.label_space.classes[TASK]
    found = Counter(data.target.labels[TASK][data.target.rows("train", labelled=True)].tolist())
    return min(((name, found[number]) for number, name in enumerate(classes)), key=lambda pair: pair[1])


def _check_counts(data: prepared.Prepared, counts: Sequence[int]) -> None:
    name, most = _fewest(data)
    if counts[-1] > most:
        raise ParamsError(
            f"--labels: {counts[-1]} of each class are asked for, but the class {name!r} has {most} training images; "
            f"choose from 1 to {most}"
        )


def _measure(study: Study, points: Sequence[Point]) -> dict[Point, dict]:
    """What is found at each point: read where it is known, trained where it is not."""
    found = {point: content for point in points if (content := study.read(point)) is not None}
    missing = [point for point in points if point not in found]
    workers = min(1 if study.compute.device.type == "cuda" else study.params.compute.cpu_slots, len(missing))
    say(
        f"learning curve: {_trainings(len(points))}"
        + (f", {len(found)} finished before" if found else "")
        + (f"; {workers} at a time on {study.compute.describe()}" if missing else "")
    )
    began = time.monotonic()
    with _progress(len(points), len(found)) as tell, closing(_train(study, missing, workers)) as results:
        for point, content, resumed in results:
            found[point] = content
            tell(point.describe(), content, resumed)
    if missing:
        say(f"learning curve: {_trainings(len(missing))} in {time.monotonic() - began:.0f} s")
    if all(content["failed"] for content in found.values()):
        raise GraftError(f"every training failed; the first one: {found[points[0]]['failed']}")
    return found


def _trainings(count: int) -> str:
    return f"{count} training{'s' if count != 1 else ''}"


def _train(study: Study, points: Sequence[Point], workers: int) -> Generator[tuple[Point, dict, bool]]:
    """Trains points in processes of their own, and ends these at once when it is left early."""
    if not points:
        return
    from components.stages import curve_points

    used = study.compute  # settled once for all: the workers measure nothing again
    settled = replace(study.params.compute, device=used.device.type, precision=used.precision, threads=used.threads)
    # Forked processes would share torch's threads and locks.
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=curve_points.begin, initargs=(settled,)
    )
    others = multiprocessing.active_children()
    try:
        with _no_interrupt():  # the workers inherit that; until they can ignore it themselves, Ctrl-C is not for them
            jobs: dict[Future, Point] = {pool.submit(curve_points.measure, study, point): point for point in points}
        for job in as_completed(jobs):
            point = jobs[job]
            try:
                content, resumed = job.result()
            except BrokenProcessPool:
                raise GraftError(
                    "a training's process was killed, perhaps for want of memory; what is finished is kept: run the "
                    "command again, with a smaller compute.cpu_slots if memory is short"
                ) from None
            except Exception as error:  # nobody foresaw it, so it is not kept: the next call tries again
                if os.environ.get("GRAFT_DEBUG"):
                    raise
                reason = f"{type(error).__name__}: {error}"
                content = {"strategy": point.name, "labels": point.labels, "seed": point.seed, "failed": reason}
                resumed = False
            yield point, content, resumed
        pool.shutdown()
    finally:
        for child in multiprocessing.active_children():
            if child not in others:
                child.kill()
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _no_interrupt() -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may say what a signal does
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(total: int, done: int) -> Generator[Callable[[str, dict, bool], None]]:
    """A bar on a terminal, a line for each training elsewhere."""

    def line(name: str, content: dict, resumed: bool) -> str:
        if content["failed"]:
            return f"{name}: failed. {content['failed']}"
        accuracy = 1 - len(content["wrong"]) / content["images"]
        return f"{name}: {accuracy:.1%} in {content['seconds']:.1f} s{' (resumed)' * resumed}"

    if not sys.stderr.isatty():
        counter = iter(range(done + 1, total + 1))
        yield lambda *told: say(f"[{next(counter)}/{total}] {line(*told)}")
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda *told: bar.update(task, advance=1, description=line(*told))
