"""Promotions that are killed, one after each of their steps; run as a process of its own, since each is a fork of one
that has imported everything once and holds neither a connection nor a session.

    python promoted_kills.py TEMPLATE FOLDER

TEMPLATE: a workspace with champion 1 and a proposal that waits for approval; FOLDER: where its copies go. Prints what
was found, by step, as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from components import params as parameters
from components import paths
from components.deployment import installation
from components.inference.predictor import Predictor
from components.promotion import decisions, proposals, references, transaction, verification
from components.tracking import registry, store

STEPS: dict[str, tuple[Any, str]] = {
    "stage": (transaction, "_stage"),
    "verify": (verification, "verify"),
    "reference": (references, "keep"),
    "begin": (transaction, "_begin"),
    "point": (transaction, "_point"),
    "swap": (installation, "swap"),
    "confirm": (verification, "confirm"),
    "log": (decisions, "append"),
    "tell": (registry, "tell"),
    "end": (transaction, "_end"),
}
"""In the order in which a promotion takes them."""
TWICE = ("point", "swap")
"""Steps after which the recovery is killed, too, just before its end."""


def dying(step: str, *, before: bool = False) -> None:
    """From now on this process is killed as soon as it has taken the step, or when it is about to."""
    home, name = STEPS[step]
    function = getattr(home, name)

    def last(*arguments: Any, **options: Any) -> None:
        if not before:
            function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(home, name, last)


def forked(work: Callable[[], Any]) -> tuple[Any, int]:
    """What a child of this process returned, None where it did not live to, and the signal that killed it, if any."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (json.loads(told) if told else None), max(-code, 0)


def killed(root: Path, step: str, params: parameters.Params) -> dict:
    """What a promotion leaves that is killed after the step, what recovering makes of that, and doing it again."""

    def promote() -> None:
        dying(step)
        proposals.settle(root, params, "approve", by="test")

    def recover() -> None:
        with transaction.exclusive(root):
            pass

    def recover_and_die() -> None:
        dying("end", before=True)
        recover()

    def look() -> dict:
        left = standing(root)
        recover()
        recovered = standing(root)
        recover()  # once more changes nothing
        if proposals.waiting(root) is not None:
            proposals.settle(root, params, "approve", by="test")
        return {"left": left, "recovered": recovered, "again": standing(root)}

    _, signalled = forked(promote)
    also = forked(recover_and_die)[1] if step in TWICE else None
    found, _ = forked(look)
    return {**(found or {}), "killed": [signalled] if also is None else [signalled, also]}


def standing(root: Path) -> dict:
    """Who is champion by its files, and what they answer, by the registry, and by the log."""
    client, _ = store.connect(root, "toy")
    images = verification.samples(root)[::5]
    answers = verification.serve(Predictor.load(root / paths.CHAMPION), images)
    champion = decisions.champion(root)
    assert champion is not None
    return {
        "files": champion["version"],
        "answers": [answer.class_name for answer in answers],
        "alias": registry.pointed(client, "toy", registry.CHAMPION),
        "log": [line["version"] for line in decisions.read(root)],
        "tag": client.get_model_version("toy", "2").tags.get("graft.decision"),
        "beside": sorted(path.name for path in (root / paths.CHAMPION).parent.glob(".champion*")),
        "journal": (root / paths.PROMOTION).exists(),
    }


def warm_up(root: Path) -> parameters.Params:
    """What every fork would otherwise do once more: imports, and SQLAlchemy's reading of its own classes."""
    client, _ = store.connect(root, "toy")
    registry.pointed(client, "toy", registry.CHAMPION)
    for found in [entry for entry in gc.get_objects() if isinstance(entry, Engine)]:
        found.dispose()
    del os.environ[store.URI_VARIABLE]  # each fork's is that of its own copy
    return parameters.load(root)


def main() -> None:
    template, folder = Path(sys.argv[1]), Path(sys.argv[2])
    params = warm_up(Path(shutil.copytree(template, folder / "warm")))
    assert threading.active_count() == 1
    told = {}
    for step in STEPS:
        told[step] = killed(Path(shutil.copytree(template, folder / step)), step, params)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
