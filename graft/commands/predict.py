"""graft predict: classify images."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import paths
from components.errors import ParamsError
from graft import champion

if TYPE_CHECKING:
    from components.inference.answers import Failure, Prediction
    from components.inference.observer import Observer
    from components.inference.predictor import Predictor

    Answers = Iterable[tuple[str, Prediction | Failure]]

FAILED = 5
"""Exit code when some images have no answer; all others have theirs. Those below belong to `components.errors`."""

FEW = 4
"""Images up to which a sooner start gains more than a faster answer."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="graft predict",
        description="Classify images with the champion.",
        epilog="Exit codes: 0 all images were answered, 5 some have no answer; 2 an argument or the bundle is wrong, "
        "3 this machine lacks what was asked for, 1 anything else.",
    )
    add = parser.add_argument
    add("images", nargs="+", type=Path, metavar="PATH", help="Image files, or folders of them.")
    add("--out", type=Path, metavar="FILE", help="Write a table: .parquet, .csv or .jsonl.")
    add("--json", action="store_true", help="One JSON object a line, with all probabilities.")
    add("--bundle", type=Path, default=paths.CHAMPION, help="A bundle or an .onnx file. [%(default)s]")
    add("--provider", default="auto", help="auto, cpu, openvino, cuda or tensorrt. [%(default)s]")
    add("--precision", default="auto", help="auto, fp32, fp16, bf16 or int8. [%(default)s]")
    add("--coverage", type=float, help="Share of images to answer, instead of the bundle's own; the rest is marked.")
    add("--support", type=Path, metavar="DIR", help="Answer among other classes: a folder of images for each.")
    add("--batch-size", type=int, metavar="N", help="Images in a batch.")
    add("--observe", action="store_true", help="Write down features and answers for graft monitor, but no images.")
    add("--observations", type=Path, metavar="DIR", help=f"Where to. [{paths.OBSERVATIONS}]")
    add("--observations-mib", type=float, metavar="MIB", help="Most they may take; the oldest go first. [512]")
    add("--keep-images", type=float, metavar="MIB", help="Keep a sample of the images, too, of so many MiB at most.")
    return parser


def predict(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    given = _parser().parse_args(arguments)

    from components.inference import folder
    from components.inference.predictor import Predictor

    warnings.filterwarnings("ignore", module="PIL")  # about odd files that it reads all the same
    if given.out is not None:
        from components.inference import records

        records.check(given.out)
        if given.json:
            raise ParamsError("--json prints and --out writes a file: give one of them")
    if given.support is not None and given.coverage is not None:
        raise ParamsError("--coverage has no threshold for the classes of --support: give one of them")
    if given.support is not None and given.observe:
        raise ParamsError("--observe is for the bundle's own classes, and --support gives others: give one of them")
    where = {name: getattr(given, name) for name in ("observations", "observations_mib", "keep_images")}
    if any(value is not None for value in where.values()):
        from graft import observing

        observing.require_observe(given.observe, **where)
    champion.require(given.bundle)
    few = sum(1 for _ in islice(folder.find(given.images), FEW + 1))
    if not few:
        raise ParamsError(f"there are no images below {', '.join(map(_text, given.images))}")
    predictor = Predictor.load(
        given.bundle,
        provider=given.provider,
        precision=given.precision,
        coverage=given.coverage,
        brief=few <= FEW and given.support is None,
    )
    if given.support is not None:
        predictor = predictor.with_support(_support(given.support))
    with _observer(predictor, given) as observer:
        answers = _answers(predictor, folder.find(given.images), given.batch_size, observer)
        if given.out is not None:
            failed = _write(given.out, predictor, answers, given.images)
        else:
            failed = _print(answers, _record_line if given.json else _line)
    if failed:
        print(f"graft: {failed:,} image{'s have' if failed > 1 else ' has'} no answer", file=sys.stderr)
    return FAILED if failed else 0


def _observer(predictor: Predictor, given: argparse.Namespace) -> AbstractContextManager[Observer | None]:
    if not given.observe:
        return contextlib.nullcontext()
    from graft import observing

    recorder = observing.recorder(predictor, given.observations, given.observations_mib, given.keep_images)
    return contextlib.closing(recorder)


def _answers(predictor: Predictor, found: Iterable[Path], batch_size: int | None, observer: Observer | None) -> Answers:
    """Each path as text beside its answer; no more paths are held than images are decoded ahead."""
    taken: deque[Path] = deque()

    def noted() -> Iterator[Path]:
        for path in found:
            taken.append(path)
            yield path

    for answer in predictor.predict(noted(), batch_size, observer):
        yield _text(taken.popleft()), answer


def _text(path: Path) -> str:
    """A file's name need not be UTF-8, but what is printed and written is."""
    return os.fsencode(path).decode(errors="replace")


def _support(root: Path) -> dict[str, list[Path]]:
    from components.data.listing.folders import class_names
    from components.inference import folder

    return {name: list(folder.find([root / name])) for name in class_names(root)}


def _print(answers: Answers, text: Callable[[str, Prediction | Failure], str]) -> int:
    """Returns how many images have no answer."""
    from components.inference.answers import Failure

    failed = 0
    for path, answer in answers:
        failed += isinstance(answer, Failure)
        print(text(path, answer), flush=True)
    return failed


def _line(path: str, answer: Prediction | Failure) -> str:
    from components.inference.answers import Failure

    if isinstance(answer, Failure):
        return f"{path}  error: {answer.reason}"
    said = [path, answer.class_name, f"{answer.probability:.1%}"]
    said += [f"{task}: {found.class_name} {found.probability:.1%}" for task, found in answer.tasks.items()]
    return "  ".join([*said, "abstains"] if answer.abstain else said)


def _record_line(path: str, answer: Prediction | Failure) -> str:
    from components.inference.answers import Failure

    record: dict[str, Any] = {"image": path}
    if isinstance(answer, Failure):
        record["error"] = answer.reason
    else:
        record["class"] = answer.class_name
        record |= {name: getattr(answer, name) for name in ("probability", "abstain", "probabilities")}
        if answer.tasks:
            record["tasks"] = {
                task: {"class": told.class_name, "probability": told.probability, "probabilities": told.probabilities}
                for task, told in answer.tasks.items()
            }
    return json.dumps(record, ensure_ascii=False)


def _write(out: Path, predictor: Predictor, answers: Answers, images: list[Path]) -> int:
    """Returns how many images have no answer."""
    from components.inference import records
    from components.inference.answers import Failure

    columns, failed = records.Columns(predictor), 0
    with records.writing(out, columns) as writer, _progress(images) as advance:
        for path, answer in answers:
            failed += isinstance(answer, Failure)
            writer.add(columns.row(path, answer))
            advance()
    return failed


@contextlib.contextmanager
def _progress(images: list[Path]) -> Generator[Callable[[], None], None, None]:
    """A bar on stderr where somebody watches; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from components.inference import folder

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=sum(1 for _ in folder.find(images)), rate="")

        def advance() -> None:
            speed = progress.tasks[bar].speed
            progress.update(bar, advance=1, rate=f"{speed:,.0f} images/s" if speed else "")

        yield advance
