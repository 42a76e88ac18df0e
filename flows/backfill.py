"""The flow that makes up for checks that were not made: the server was down, or the machine was off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from components.errors import ParamsError
from components.monitoring import budget
from flows import zombies
from flows.monitor import check
from flows.telling import run_name, teller

MOST = 1000
"""Checks in one run: each takes seconds."""


def _name() -> str:
    return run_name("backfill")


@flow(name="backfill", flow_run_name=_name, persist_result=False)
def backfill(since: datetime, until: datetime, root: str = ".", every_minutes: float = 15.0) -> list[str]:
    """Checks the images as they had come in by the end of each interval in which no check was made; returns those ends.

    No retraining follows: what was then is no reason for it now. What MLflow has not been told is delivered besides.
    Raises ParamsError for times or intervals that make no sense.
    """
    place = Path(root).resolve()
    zombies.alive(place, flow_run.id)
    made = [
        budget.seconds(line["until"] or line["time"]) for line in budget.history(place) if line["kind"] == budget.CHECK
    ]
    open_ends = missing(_utc(since), _utc(until), timedelta(minutes=every_minutes), made)
    say = teller("backfill")
    say(f"{len(open_ends)} intervals without a check")
    for end in open_ends:
        check(place, end)
    return open_ends


def missing(since: datetime, until: datetime, every: timedelta, made: list[float]) -> list[str]:
    """Ends of the intervals (start, end] between two times in which none of the checks, in seconds since 1970, lies.

    >>> hours = [datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in range(4)]
    >>> missing(hours[0], hours[3], timedelta(hours=1), [hours[1].timestamp() + 60])
    ['2026-11-01T01:00:00Z', '2026-11-01T03:00:00Z']
    """
    if every <= timedelta(0):
        raise ParamsError(f"every_minutes is {every.total_seconds() / 60:g}, but must be positive")
    if until <= since:
        raise ParamsError(f"until is {until.isoformat()}, but must lie after since, {since.isoformat()}")
    count = (until - since) // every
    if count > MOST:
        raise ParamsError(f"between since and until lie {count} intervals, but one run makes {MOST} checks at most")
    ends = [since + (place + 1) * every for place in range(count)]
    return [
        budget.stamp(end.timestamp())
        for end in ends
        if not any((end - every).timestamp() < moment <= end.timestamp() for moment in made)
    ]


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
