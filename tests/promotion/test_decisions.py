"""The decision log: what was decided stays, once, and says when it holds no longer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from components import jsonfile, paths
from components.deployment import bundle
from components.errors import GraftError
from components.params import PromoteParams
from components.promotion import decisions
from promoted_support import CONFUSED, GOOD, write_bundle
from promotion_support import PROMOTE

LIMITS = PromoteParams(**PROMOTE)


def facts(weights: str, data: str = "d") -> dict:
    return {
        "strategy": "dan",
        "classes": {"label": ["a", "b"]},
        "preprocess": {"size": 8},
        "lineage": {"weights_sha256": weights, "data_sha256": data},
        "models": {},
    }


def reign(root: Path, champion: dict | None) -> None:
    if champion is not None:
        jsonfile.write(root / paths.CHAMPION / bundle.FILE, champion)


def decided(root: Path, decision: str, version: str, about: dict, before: dict | None = None, **more) -> dict:
    against = None if before is None else {"version": "0", "bundle": bundle.identity(before), "strategy": "dan"}
    given = {"limits": decisions.thresholds(LIMITS), "champion_before": against, **more}
    line = decisions.entry(decision, version, decisions.about(about), reason="because", by="rule", **given)
    decisions.append(root, line)
    return line


def test_a_line_is_written_once_and_a_torn_one_is_written_again(tmp_path):
    line = decided(tmp_path, "promoted", "1", facts("1"))
    decisions.append(tmp_path, line)
    assert decisions.read(tmp_path) == [line]
    log = tmp_path / paths.DECISIONS
    log.write_bytes(log.read_bytes()[:-20])  # the machine went down while it was written
    assert decisions.read(tmp_path) == []
    decisions.append(tmp_path, line)
    assert decisions.read(tmp_path) == [line]


def test_a_decision_holds_for_the_same_data_thresholds_and_champion_alone(tmp_path):
    old, new, other = facts("1"), facts("2"), facts("3")
    reign(tmp_path, old)
    line = decided(tmp_path, "kept", "2", new, before=old)
    assert decisions.made(tmp_path, new, LIMITS) == line
    assert decisions.made(tmp_path, other, LIMITS) is None
    assert decisions.made(tmp_path, facts("2", data="e"), LIMITS) is None
    assert decisions.made(tmp_path, new, replace(LIMITS, min_gain=0.1)) is None
    assert decisions.made(tmp_path, new, replace(LIMITS, approval="manual", approval_timeout_h=1.0)) == line
    reign(tmp_path, other)
    assert decisions.made(tmp_path, new, LIMITS) is None


def test_what_was_champion_does_not_return_by_itself(tmp_path):
    """Somebody may have rolled it back, past the one that it was held against."""
    old, middle, new = facts("1"), facts("2"), facts("3")
    decided(tmp_path, "promoted", "2", middle, before=old)
    promoted = decided(tmp_path, "promoted", "3", new, before=middle)
    decided(tmp_path, "rolled back", "1", old, before=new)
    reign(tmp_path, old)
    assert decisions.made(tmp_path, new, LIMITS) == promoted


def test_the_champion_s_own_bundle_needs_a_line_that_put_it_there(tmp_path):
    own = facts("1")
    reign(tmp_path, own)
    assert decisions.made(tmp_path, own, LIMITS) is None
    line = decided(tmp_path, "promoted", "1", own)
    assert decisions.made(tmp_path, own, replace(LIMITS, min_gain=0.5)) == line


def test_without_a_champion_or_with_a_damaged_one_everything_is_to_be_decided(tmp_path):
    own = facts("1")
    decided(tmp_path, "promoted", "1", own)
    assert decisions.champion(tmp_path) is None
    assert decisions.made(tmp_path, own, LIMITS) is None
    jsonfile.write_text(tmp_path / paths.CHAMPION / bundle.FILE, "{torn")
    assert decisions.champion(tmp_path) == {"version": None, "bundle": None, "strategy": None}
    assert decisions.made(tmp_path, own, LIMITS) is None


def test_the_champion_s_version_is_what_its_files_say(tmp_path):
    own = write_bundle(tmp_path / paths.CHAMPION, GOOD)
    assert decisions.champion(tmp_path)["version"] is None  # put there by hand
    decided(tmp_path, "promoted", "4", own)
    assert decisions.champion(tmp_path)["version"] == "4"
    jsonfile.write(tmp_path / paths.CHAMPION / decisions.RELEASE, {"version": "7", "id": "x"})
    assert decisions.champion(tmp_path)["version"] == "7"
    assert write_bundle(tmp_path / "other", CONFUSED)["lineage"] != own["lineage"]


def test_a_champion_whose_files_say_too_little_is_known_by_the_log(tmp_path):
    own = write_bundle(tmp_path / paths.CHAMPION, GOOD)
    decided(tmp_path, "promoted", "4", own)
    for text in ("{torn", "[]"):
        jsonfile.write_text(tmp_path / paths.CHAMPION / decisions.RELEASE, text)
        assert decisions.champion(tmp_path)["version"] == "4"
    assert decisions.gone(tmp_path) is None
    shutil.rmtree(tmp_path / paths.CHAMPION)
    assert decisions.gone(tmp_path) == "4"
    (tmp_path / paths.CHAMPION).mkdir()  # as where a volume is to be mounted
    assert (decisions.champion(tmp_path), decisions.gone(tmp_path)) == (None, "4")


def test_the_champion_before_is_found_past_repeated_reigns(tmp_path):
    with pytest.raises(GraftError, match="no earlier champion"):
        decisions.previous(tmp_path)
    for decision, version in (("promoted", "1"), ("kept", "2"), ("promoted", "3"), ("rejected", "4")):
        decided(tmp_path, decision, version, facts(version))
    assert decisions.previous(tmp_path) == "1"
    decided(tmp_path, "rolled back", "1", facts("1"))
    assert decisions.previous(tmp_path) == "3"
    decided(tmp_path, "rolled back", "1", facts("1"))
    assert decisions.previous(tmp_path) == "3"


def test_a_version_ships_as_when_it_was_promoted(tmp_path):
    from components.runtimes.routes import Route
    from components.speed.shipping import Shipping

    shipped = Shipping(("fp32",), Route("fp32", "cpu"))
    decided(tmp_path, "promoted", "1", facts("1"), shipped=shipped.to_dict())
    assert decisions.shipped(tmp_path, "1").files == ("fp32",)
    assert decisions.shipped(tmp_path, "2") == Shipping()


def test_lines_of_earlier_versions_of_graft_are_read(tmp_path):
    """They have no id and no thresholds: they count for who reigned, and decide nothing any more."""
    old = {"time": "2026-01-01T00:00:00Z", "decision": "promoted", "version": "1", "strategy": "dan",
           "bundle": bundle.identity(facts("1")), "reason": "first", "gain": None, "min_gain": 0.0}  # fmt: skip
    jsonfile.append_line(tmp_path / paths.DECISIONS, old)
    jsonfile.append_line(tmp_path / paths.DECISIONS, {**old, "decision": "kept", "bundle": bundle.identity(facts("2"))})
    reign(tmp_path, facts("1"))
    assert decisions.champion(tmp_path)["version"] == "1"
    assert decisions.made(tmp_path, facts("1"), LIMITS) == old
    assert decisions.made(tmp_path, facts("2"), LIMITS) is None
    decided(tmp_path, "kept", "2", facts("2"))
    assert len(decisions.read(tmp_path)) == 3
