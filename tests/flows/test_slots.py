"""Who may run beside whom."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

from components import params as parameters
from flows.slots import Slots

ROOT = Path(__file__).resolve().parents[2]
PARAMS = parameters.load(ROOT)
ON_CPU = replace(
    PARAMS, compute=replace(PARAMS.compute, device="cpu", cpu_slots=2), run=replace(PARAMS.run, max_concurrent=2)
)


def _most_at_once(takes: list[dict[str, bool]]) -> dict[str, int]:
    """Starts one thread for each, together; kind of stage -> how many ran at most while one of the kind did."""
    slots, lock, start = Slots(ON_CPU), threading.Lock(), threading.Barrier(len(takes))
    running: list[str] = []
    most: dict[str, int] = {}

    def work(take: dict[str, bool]) -> None:
        kind = next((name for name, wanted in take.items() if wanted), "plain")
        start.wait()
        with slots.take(**take):
            with lock:
                running.append(kind)
                for name in running:
                    most[name] = max(most.get(name, 0), len(running))
            time.sleep(0.05)
            with lock:
                running.remove(kind)

    threads = [threading.Thread(target=work, args=(take,)) for take in takes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads), "a stage waits for ever"
    return most


def test_trainings_and_other_stages_have_places_of_their_own():
    assert _most_at_once([{"accelerator": True}] * 4) == {"accelerator": 2}
    assert _most_at_once([{"alone": False}] * 4) == {"plain": 2}
    assert _most_at_once([{"accelerator": True}] * 3 + [{"alone": False}] * 3)["plain"] > 2


def test_what_measures_time_has_no_company_and_holds_nobody_up_for_ever():
    most = _most_at_once([{"alone": True}, {"accelerator": True}, {"alone": False}] * 3)
    assert most["alone"] == 1
    assert most["accelerator"] > 1
