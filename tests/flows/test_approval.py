"""The approval gate, with a real Prefect API: what a person, a terminal or the clock answers to a paused run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components import jsonfile, paths

PROPOSAL = {
    "id": "one",
    "version": "7",
    "strategy": "dan",
    "decision": {
        "reason": "it leads by 3 points",
        "checks": [
            {
                "name": "gain",
                "passed": True,
                "decides": True,
                "sentence": "3 points (1 to 5), more than 0",
            },
            {"name": "latency", "passed": False, "decides": False, "sentence": "2.5 times | as slow"},
        ],
    },
}


@pytest.fixture
def ask(api: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Asks in a flow run; `meanwhile` is called with a client and the run's id once it has paused."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    from flows import approval

    monkeypatch.setattr(approval, "POLL_S", 0.1)
    jsonfile.write(tmp_path / paths.PROPOSAL, PROPOSAL)

    def run(meanwhile: Callable | None, timeout_h: float = 0.01) -> approval.Answer | None:
        def answer(run: str) -> None:
            with get_client(sync_client=True) as client:
                while not client.read_flow_run(run).state.is_paused():
                    time.sleep(0.05)
                time.sleep(0.2)  # the form follows the state
                meanwhile(client, run)

        @flow(persist_result=False)
        def gate() -> approval.Answer | None:
            if meanwhile is not None:
                threading.Thread(target=answer, args=(flow_run.id,), daemon=True).start()
            return approval.ask(tmp_path, PROPOSAL["id"], timeout_h)

        return gate()

    return run


def test_a_person_sees_the_evidence_and_approves_with_name_and_reason(ask: Callable) -> None:
    seen = {}

    def approve(client, run: str) -> None:
        keys = client.read_flow_run(run).state.state_details.run_input_keyset
        seen["text"] = client.read_flow_run_input(run, keys["description"])
        client.resume_flow_run(run, run_input={"decision": "approve", "by": "Ada", "reason": "looked at ten images"})

    answer = ask(approve)
    assert (answer.verdict, answer.by, answer.reason) == ("approve", "Ada", "looked at ten images")
    text = str(seen["text"])
    assert "Put dan (version 7) into production?" in text
    assert "it leads by 3 points. Without an answer within 0.01 h the champion stays." in text
    assert "- **gain** (ok): 3 points (1 to 5), more than 0" in text
    assert "- **latency** (noted): 2.5 times | as slow" in text


def test_a_rejection_without_words_is_one_all_the_same(ask: Callable) -> None:
    answer = ask(lambda client, run: client.resume_flow_run(run, run_input={"decision": "reject"}))
    assert (answer.verdict, answer.by, answer.reason) == ("reject", "Prefect's page", "no reason was given")


def test_nobody_answers_and_the_run_goes_on_in_time(ask: Callable) -> None:
    started = time.monotonic()
    answer = ask(None, timeout_h=1 / 3600)
    assert answer.verdict == "timeout"
    assert time.monotonic() - started < 15


def test_a_decision_on_a_terminal_ends_the_wait(ask: Callable, tmp_path: Path) -> None:
    assert ask(lambda client, run: (tmp_path / paths.PROPOSAL).unlink()) is None


def test_a_proposal_that_takes_the_place_of_the_one_asked_about_is_not_answered_for_it(
    ask: Callable, tmp_path: Path
) -> None:
    assert ask(lambda client, run: jsonfile.write(tmp_path / paths.PROPOSAL, PROPOSAL | {"id": "two"})) is None
    assert ask(None) is None, "it was asked about another proposal"


def test_the_wait_ends_even_if_it_was_over_before_it_began(
    ask: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run may only be pausing, and refuse to be resumed, when the proposal is decided about."""
    from flows import approval

    pause = approval.pause_flow_run

    def late(**told: object) -> object:
        (tmp_path / paths.PROPOSAL).unlink()
        time.sleep(0.5)
        return pause(**told)

    monkeypatch.setattr(approval, "pause_flow_run", late)
    assert ask(None) is None


def test_an_answer_counts_although_the_time_was_over_when_it_came(
    ask: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing could end the wait in time, because Prefect was away."""
    from prefect.client.orchestration import SyncPrefectClient

    resume = SyncPrefectClient.resume_flow_run

    def away(client: object, run: object, run_input: dict | None = None) -> object:
        if run_input and run_input.get("decision") == "reject":
            raise OSError("nobody answers")
        return resume(client, run, run_input)

    monkeypatch.setattr(SyncPrefectClient, "resume_flow_run", away)

    def approve(client: object, run: str) -> None:
        time.sleep(0.5)
        client.resume_flow_run(run, run_input={"decision": "approve", "by": "Ada"})

    answer = ask(approve, timeout_h=0.1 / 3600)
    assert (answer.verdict, answer.by) == ("approve", "Ada")


def test_the_run_that_asks_goes_on_running_while_the_question_waits(
    api: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused run would lose its place among the deployment's concurrency limit, and be crashed for that."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.runtime import flow_run

    from flows import approval

    monkeypatch.setattr(approval, "POLL_S", 0.1)
    jsonfile.write(tmp_path / paths.PROPOSAL, PROPOSAL)
    seen = {}

    def answer(run: str) -> None:
        below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
        with get_client(sync_client=True) as client:
            while not (found := client.read_flow_runs(flow_run_filter=below)) or not found[0].state.is_paused():
                time.sleep(0.05)
            time.sleep(0.2)  # the form follows the state
            seen.update(name=found[0].name, asks=client.read_flow_run(run).state.is_running())
            client.resume_flow_run(found[0].id, run_input={"decision": "approve"})

    @flow(persist_result=False)
    def asks() -> approval.Answer | None:
        threading.Thread(target=answer, args=(flow_run.id,), daemon=True).start()
        return approval.gate(str(tmp_path), PROPOSAL["id"], "dan (version 7)", 0.01)

    assert asks().verdict == "approve"
    assert seen == {"name": "approve dan (version 7)?", "asks": True}
