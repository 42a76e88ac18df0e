"""What is shown of a count that goes on for long."""

from __future__ import annotations

import pytest

from components.stages import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_a_line_every_few_seconds(clock, capsys):
    tell = progress.counter("target", 4000, "images")
    for second in range(1, 21):
        clock[0] = float(second)
        tell(200 * second)
    assert capsys.readouterr().out.splitlines() == [
        "target: 1,200 of 4,000 images, 200 a second, 14 s left",
        "target: 2,400 of 4,000 images, 200 a second, 8 s left",
        "target: 3,600 of 4,000 images, 200 a second, 2 s left",
    ]


def test_what_is_done_at_once_says_nothing(clock, capsys):
    tell = progress.counter("target", 40, "images")
    clock[0] = 0.5
    tell(40)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_ends_when_all_is_done(monkeypatch):
    bars = []

    class Bar:
        def __init__(self):
            self.seen = []
            bars.append(self)

        def add_task(self, name, total):
            self.seen.append((name, total))
            return 0

        def update(self, task, completed):
            self.seen.append(completed)

        def stop(self):
            self.seen.append("stop")

    monkeypatch.setattr(progress, "_bar", Bar)
    tell = progress.counter("target", 40, "images")
    assert not bars  # a bar has a thread, beside which no process could be forked
    tell(20)
    tell(40)
    assert [bar.seen for bar in bars] == [[("target", 40), 20, 40, "stop"]]
