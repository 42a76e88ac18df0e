"""Another bundle in the folder that a server was started on: it takes over without a restart and without a request that
fails, or it is refused and the old one goes on."""

from __future__ import annotations

import contextlib
import gc
import itertools
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest

from components import jsonfile
from components.deployment import bundle, exchange, installation
from components.errors import DataError
from components.inference.predictor import Predictor
from components.inference.serving.reload import Watch, stamp
from components.inference.serving.service import Loaded
from components.monitoring.observations import Observations
from graft import observing
from serving_support import PIXELS, Held, Running, command, connect, post, running

NEW_CLASSES = {"label": ["crimson", "lime", "navy"], "light": ["dark", "bright"]}


class Places(NamedTuple):
    """`champion` serves at first; `other` asks two questions, names other classes and looks at larger images."""

    champion: Path
    other: Path

    @property
    def identities(self) -> tuple[str, str]:
        """Of what lies in them now."""
        old, new = (bundle.identity(bundle.read(folder)) for folder in self)
        return old, new

    def swap(self) -> None:
        """As a promotion does, the old one's release included."""
        assert exchange.exchange(self.champion, self.other)


@pytest.fixture
def places(colours, tmp_path) -> Places:
    found = Places(tmp_path / "models" / "champion", tmp_path / "models" / "other")
    found.champion.parent.mkdir()
    colours().rename(found.champion)
    sides = {"size": 16, "resize": 16, "mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"}
    colours(("fp32=tasks_and_features",), classes=NEW_CLASSES, preprocess=sides).rename(found.other)
    for version, folder in enumerate(found, 1):
        jsonfile.write(folder / bundle.RELEASE, {"version": str(version), "id": "x"})
    return found


def loading(folder: Path, observations: Path | None = None, precision: str = "auto") -> Loaded:
    predictor = Predictor.load(folder, provider="cpu", precision=precision, max_pixels=PIXELS)
    recorder = observing.recorder(predictor, observations) if observations else None
    return Loaded(predictor, max_batch=4, observer=recorder)


@contextlib.contextmanager
def watched(folder: Path, load: Callable[[], Loaded]) -> Iterator[Running]:
    found = stamp(folder)
    with running(load()) as here, Watch(here.service, folder, load, found, every_s=0.01):
        yield here


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


class Client(threading.Thread):
    """Asks again and again, for one image and for a form of five in turn, until it is told to stop."""

    def __init__(self, url: str, content: bytes) -> None:
        super().__init__()
        self.url, self.content = url, content
        self.enough = threading.Event()
        self.answers: list[httpx.Response] = []
        self.start()

    def run(self) -> None:
        form = [("image", (str(n), self.content)) for n in range(5)]
        with connect(self.url) as one:
            while not self.enough.is_set():
                self.answers.append(one.post("/predict", content=self.content))
                self.answers.append(one.post("/predict", files=form))


def test_under_load_every_request_is_answered_by_one_model_and_each_client_sees_one_change(places, image, tmp_path):
    store, (old, new) = tmp_path / "seen", places.identities
    with watched(places.champion, lambda: loading(places.champion, store)) as here:
        clients = [Client(here.url, image(seed)) for seed in range(4)]
        until(lambda: all(len(one.answers) > 4 for one in clients))
        places.swap()
        until(lambda: here.service.reloads)
        seen = [len(one.answers) for one in clients]
        until(lambda: all(len(one.answers) > before + 4 for one, before in zip(clients, seen, strict=True)))
        for one in clients:
            one.enough.set()
            one.join()
    count = {old: 0, new: 0}
    for one in clients:
        assert {answer.status_code for answer in one.answers} == {200}
        told = [answer.headers["graft-bundle"] for answer in one.answers]
        assert [identity for identity, _ in itertools.groupby(told)] == [old, new]
        for identity, answer in zip(told, one.answers, strict=True):
            records = answer.json().get("predictions", [answer.json()])
            classes = ["red", "green", "blue"] if identity == old else NEW_CLASSES["label"]
            assert all(list(record["probabilities"]) == classes for record in records)
            assert all(("tasks" in record) == (identity == new) for record in records)
            count[identity] += len(records)
    assert {row["bundle"]: row["observations"] for row in Observations.open(store).summary()} == count


def test_what_was_accepted_before_is_answered_by_the_one_before_which_then_is_closed(places, image, tmp_path):
    held = Held(Predictor.load(places.champion, provider="cpu", max_pixels=PIXELS))
    recorder = observing.recorder(held, tmp_path / "seen")
    answers: list[httpx.Response] = []
    with running(Loaded(held, max_batch=4, observer=recorder)) as here:
        held.gate.clear()

        def ask() -> threading.Thread:
            thread = threading.Thread(target=lambda: answers.append(post(here, image())))
            thread.start()
            return thread

        waiting = here.service.waiting
        asking = [ask()]
        assert held.running.wait(10)
        asking += [ask() for _ in range(2)]
        until(lambda: here.service.waiting == waiting + 3)
        here.service.replace(loading(places.other))
        asking.append(ask())
        until(lambda: here.service.waiting == waiting + 4)
        assert recorder._file is not None
        held.gate.set()
        for thread in asking:
            thread.join()
        until(lambda: recorder._file is None)
    told = [answer.headers["graft-bundle"] for answer in answers]
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(map(places.identities.index, told)) == [0, 0, 0, 1]


def test_it_says_which_one_answers(places, image, caplog):
    old, new = places.identities
    with watched(places.champion, lambda: loading(places.champion)) as here, connect(here.url) as client:
        before = client.get("/metadata").json()
        assert (before["bundle"], before["release"]["version"], before["reloads"]["done"]) == (old, "1", 0)
        places.swap()
        until(lambda: here.service.reloads)
        after = client.get("/metadata").json()
        assert (after["bundle"], after["release"]["version"], after["classes"]) == (new, "2", NEW_CLASSES)
        assert after["reloads"] == {"done": 1, "refused": 0, "refusal": None}
        assert client.get("/readyz").status_code == 200
        client.post("/predict", content=image())
        metrics = client.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = metrics.text.splitlines()
        info = f'graft_bundle_info{{bundle="{new}",version="2",strategy="prototypical",route="fp32@cpu"}} 1'
        assert {info, "graft_reloads_total 1", "graft_refused_reloads_total 0", "graft_bundle_refused 0"} <= set(lines)
        assert {"graft_answered_requests_total 1", "graft_waiting_images 0"} <= set(lines)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "graft.serve"]
    assert line == (
        f"{places.champion} has changed, and from now on answers as prototypical (fp32 on cpu), version 2, {new[:16]}"
    )


def spoil(folder: Path) -> None:
    """A file that is not the one that was admitted."""
    path = folder / "model.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def drop(folder: Path) -> None:
    """Without the route that was asked for."""
    facts = bundle.read(folder)
    jsonfile.write(folder / bundle.FILE, {**facts, "models": {"int8": facts["models"]["fp32"]}})


def remove(folder: Path) -> None:
    folder.rename(folder.with_name("gone"))


BROKEN = {
    "spoilt": (spoil, "is not the file that was admitted"),
    "another route": (drop, "does not run as fp32@cpu; it has int8@cpu"),
    "no folder": (remove, "there is no folder at"),
    "no numbers": (None, "answers a black image with no probabilities"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_that_cannot_answer_is_refused_once_and_the_old_one_goes_on(name, places, image, caplog, monkeypatch):
    spoiled, reason = BROKEN[name]
    old = places.identities[0]

    def load() -> Loaded:
        return loading(places.champion, precision="fp32")

    with watched(places.champion, load) as here, connect(here.url) as client:
        if spoiled is None:
            run = Predictor.run
            monkeypatch.setattr(
                Predictor, "run", lambda self, batch, names: {k: v * np.nan for k, v in run(self, batch, names).items()}
            )
            places.swap()
        elif spoiled is remove:
            remove(places.champion)
        else:
            spoiled(places.other)
            places.swap()
        until(lambda: here.service.refused_reloads)
        monkeypatch.undo()
        time.sleep(0.1)  # ten looks
        assert (here.service.reloads, here.service.refused_reloads) == (0, 1)
        assert client.post("/predict", content=image()).headers["graft-bundle"] == old
        assert client.get("/readyz").status_code == 200
        assert reason in client.get("/metadata").json()["reloads"]["refusal"]
        assert {"graft_bundle_refused 1", "graft_refused_reloads_total 1"} <= set(
            client.get("/metrics").text.splitlines()
        )
        (line,) = [record.getMessage() for record in caplog.records if record.name == "graft.serve"]
        assert line.startswith(
            f"what lies at {places.champion} by now cannot answer, and prototypical (fp32 on cpu) goes"
        )
        assert reason in line
        if spoiled is remove:
            places.champion.with_name("gone").rename(places.champion)
        else:
            places.swap()
        until(lambda: here.service.reloads)
        assert client.get("/metadata").json()["reloads"] == {"done": 1, "refused": 1, "refusal": None}


def test_features_that_the_new_one_has_not_are_refused_and_not_failed(places, image, colours, tmp_path):
    colours(("fp32=tasks",), classes=NEW_CLASSES).rename(tmp_path / "bare")
    with running(loading(places.champion)) as here, connect(here.url) as client:
        assert client.post("/predict?features=true", content=image()).status_code == 200

        def halves() -> Iterator[bytes]:
            yield image()[:9]
            here.service.replace(loading(tmp_path / "bare"))
            yield image()[9:]

        answer = client.post("/predict?features=true", content=halves())
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "this model gives no features: it was exported without them"},
        )


def test_one_that_is_replaced_while_it_is_loaded_does_not_answer(places, image):
    """What was loaded may then hold files of both."""
    old, new = places.identities
    taken = []

    def load() -> Loaded:
        model = loading(places.champion)
        if len(taken) == 1:
            places.swap()
        taken.append(model.identity)
        return model

    with watched(places.champion, load) as here, connect(here.url) as client:
        places.swap()
        until(lambda: len(taken) == 2)
        time.sleep(0.1)
        assert taken == [old, new]
        assert (here.service.reloads, here.service.refused_reloads) == (0, 0)
        assert client.post("/predict", content=image()).headers["graft-bundle"] == old


def test_what_changes_within_the_folder_is_seen(places):
    """`graft tune` writes into it, and a bundle may be copied over another; touching a file has it tried again."""
    seen = stamp(places.champion)
    assert seen == stamp(places.champion)
    (places.champion / bundle.RELEASE).touch()
    assert seen != (touched := stamp(places.champion))
    (places.champion / "machines.json").write_text("{}")
    assert stamp(places.champion) not in (seen, touched)
    assert stamp(places.champion / bundle.FILE) is None


def test_files_of_two_bundles_are_not_taken_for_one(places):
    predictor = Predictor.load(places.champion, provider="cpu")
    places.swap()
    with pytest.raises(DataError, match="was replaced while it was loaded"):
        Loaded(predictor, max_batch=4)


def test_back_and_forth_ten_times_leaves_nothing_behind(places, image, tmp_path):
    sessions: list[weakref.ref] = []

    def load() -> Loaded:
        model = loading(places.champion, tmp_path / "seen")
        sessions.append(weakref.ref(model.predictor.model.session))
        return model

    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    with watched(places.champion, load) as here, connect(here.url) as client:
        identities = []
        for turn in range(10):
            identities.append(client.post("/predict", content=image()).headers["graft-bundle"])
            before = held()
            places.swap()
            until(lambda turn=turn: here.service.reloads > turn)
        assert len(set(identities[::2])) == len(set(identities[1::2])) == 1 < len(set(identities))
        until(lambda: held() == before)
        gc.disable()  # what is over is gone at once: before the next collection, and before the next request
        try:
            until(lambda: [ref() is not None for ref in sessions] == [False] * 10 + [True])
        finally:
            gc.enable()
    assert sum(row["observations"] for row in Observations.open(tmp_path / "seen").summary()) == 10


def test_the_command_follows_a_promotion_unless_it_is_told_not_to(places):
    old, new = places.identities
    options = (str(places.champion), "--provider", "cpu", "--drain-s", "0")
    with command(*options) as (process, url), command(*options, "--no-reload") as (fixed, other):
        installation.stage(places.other, places.champion)
        installation.swap(places.champion)

        def told(address: str) -> str:
            return httpx.get(f"{address}/metadata", trust_env=False, verify=False).json()["bundle"]

        until(lambda: told(url) == new)
        time.sleep(1.5)
        assert told(other) == old
        process.terminate()
        fixed.terminate()
        (out, err), (_, silent) = process.communicate(timeout=20), fixed.communicate(timeout=20)
    assert (process.returncode, out) == (0, "Stopped. Answered requests: 0.\n")
    assert re.fullmatch(rf"{places.champion} has changed, and from now on answers as .*, version 2, \w+\n", err)
    assert silent == ""
