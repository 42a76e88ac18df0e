"""From a bundle to a decision: the rule's, a person's, or one against the rule; for this workspace or for another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components import jsonfile, paths
from components import params as parameters
from components.deployment import bundle
from components.errors import DataError, GraftError, ParamsError
from components.monitoring import reference
from components.promotion import decisions, proposals, references
from components.stages import promote as stage
from components.tracking import registry, store
from promoted_support import CONFUSED, GOOD, set_params, write_bundle


def settle(root: Path, answer: str, **more: str) -> proposals.Proposal:
    return proposals.settle(root, parameters.load(root), answer, by="ada", **more)


def pending(root: Path) -> bool:
    return proposals.pending(root, root, parameters.load(root))


def version(root: Path, number: str):
    return store.connect(root, "toy")[0].get_model_version("toy", number)


def elsewhere(root: Path) -> Path:
    """A workspace below the one in `root`, with the same results."""
    source = root / paths.RUNS / "adapted"
    for place in (paths.BUNDLE, paths.PREPARED, paths.MODELS, paths.TIMINGS, paths.REPORTS, Path("params.yaml")):
        origin = root / place
        source.mkdir(parents=True, exist_ok=True)
        shutil.copytree(origin, source / place) if origin.is_dir() else shutil.copy(origin, source / place)
    shutil.rmtree(source / paths.CHAMPION)
    return source


def alias(root: Path, name: str = registry.CHAMPION) -> str | None:
    return registry.pointed(store.connect(root, "toy")[0], "toy", name)


def test_a_better_bundle_is_promoted_and_every_number_is_kept(root):
    before = bundle.identity(bundle.read(root / paths.CHAMPION))
    assert pending(root)
    made = proposals.propose(root, root, parameters.load(root))
    assert not pending(root)
    line = decisions.read(root)[-1]
    assert made.line == line
    assert (line["decision"], line["version"], line["by"], line["forced"]) == ("promoted", "2", "rule", False)
    assert line["champion_before"] == {"version": "1", "bundle": before, "strategy": "dan"}
    assert line["evidence"]["lead"]["value"] == pytest.approx(1 / 3)
    assert line["limits"]["min_gain"] == 0.0 and "approval" not in line["limits"]
    assert {check["name"] for check in line["checks"]} >= {"lead", "class", "latency", "size", "calibration", "parity"}
    told = version(root, "2").tags
    assert (told["graft.decision"], told["graft.by"], told["graft.lead"]) == ("promoted", "rule", "0.3333")
    assert float(told["graft.lead_low"]) < 1 / 3 < float(told["graft.lead_high"])
    assert told["graft.checks_failed"] == "none" and int(told["graft.checks_passed"]) == len(line["checks"])
    assert (alias(root), alias(root, registry.CHALLENGER)) == ("2", None)
    release = jsonfile.read(root / paths.CHAMPION / decisions.RELEASE)
    assert (release["version"], release["model"], release["id"]) == ("2", "toy", line["id"])


def test_the_monitor_s_reference_is_there_with_the_champion(root):
    proposals.propose(root, root, parameters.load(root))
    kept = reference.read(root, decisions.champion(root)["bundle"])
    assert len(kept.images) == 90  # 120 images, of which a quarter was trained on
    assert kept.votes is None


def test_a_worse_bundle_is_kept_out_as_the_challenger(root):
    proposals.propose(root, root, parameters.load(root))
    write_bundle(root / paths.BUNDLE, CONFUSED, weights_sha256="another training")
    made = proposals.propose(root, root, parameters.load(root))
    assert made.line["decision"] == "kept"
    assert "kept the champion" in made.line["reason"]
    assert (alias(root), alias(root, registry.CHALLENGER)) == ("2", "3")
    assert version(root, "3").tags["graft.decision"] == "kept"
    assert "lead" in version(root, "3").tags["graft.checks_failed"]
    assert not pending(root)
    assert "already decided; kept the champion" in stage.standing(root, root, parameters.load(root))
    set_params(root, min_gain=-0.9, max_class_loss=1.0)
    assert pending(root), "what other thresholds decided says nothing about these"


def test_force_promotes_against_the_rule_and_leaves_the_reason_everywhere(root):
    params = parameters.load(root)
    proposals.propose(root, root, params)
    write_bundle(root / paths.BUNDLE, CONFUSED, weights_sha256="another training")
    for nothing in ("", "  "):
        with pytest.raises(ParamsError, match="--force needs --reason"):
            proposals.force(root, root, params, by="ada", reason=nothing)
    assert alias(root) == "2"
    made = proposals.force(root, root, params, by="ada", reason="the old one leaks")
    line = decisions.read(root)[-1]
    assert made.line == line
    assert line["reason"].startswith("forced by ada: the old one leaks. The rule: kept the champion")
    assert (line["decision"], line["forced"], line["by"]) == ("promoted", True, "ada")
    told = version(root, "3")
    assert told.tags["graft.forced"] == "true" and "the old one leaks" in told.tags["graft.reason"]
    assert "the old one leaks" in told.description
    assert alias(root) == "3"


def test_manual_approval_waits_and_says_so(waiting):
    proposal = proposals.waiting(waiting)
    assert proposal is not None and proposal.decision.promoted and proposal.line is None
    assert proposals.Proposal.from_dict(json.loads(json.dumps(proposal.to_dict()))) == proposal
    assert (alias(waiting), alias(waiting, registry.CHALLENGER)) == ("1", "2")
    assert not pending(waiting), "a driver would propose it again and again"
    assert "waits for approval" in stage.standing(waiting, waiting, parameters.load(waiting))
    assert [line["version"] for line in decisions.read(waiting)] == ["1"]


def test_an_approval_promotes_with_its_reason(waiting):
    with pytest.raises(ParamsError, match="no proposal waits"):
        settle(waiting, "approve", asked="another one")
    made = settle(waiting, "approve", reason="looks right")
    assert made.line["reason"].endswith("approved by ada: looks right")
    assert (alias(waiting), made.line["by"]) == ("2", "ada")
    assert proposals.waiting(waiting) is None and not (waiting / paths.PROPOSAL).exists()
    with pytest.raises(ParamsError, match="no proposal waits"):
        settle(waiting, "approve")


@pytest.mark.parametrize(
    ("answer", "decision", "reason"),
    [
        ("reject", "rejected", "rejected by ada: not on a Friday. The rule: better than the champion"),
        ("timeout", "timed out", "timed out: nobody approved in time: not on a Friday. The rule: better than"),
    ],
)
def test_a_rejection_and_the_end_of_the_time_keep_the_champion(waiting, answer, decision, reason):
    made = settle(waiting, answer, reason="not on a Friday")
    assert made.line["decision"] == decision == decisions.read(waiting)[-1]["decision"]
    assert made.line["reason"].startswith(reason)
    assert alias(waiting) == "1"
    assert version(waiting, "2").tags["graft.decision"] == decision
    assert not (waiting / paths.PROPOSAL).exists()
    assert not pending(waiting), "it would be proposed again at once"


def test_an_approval_of_what_is_no_longer_so_promotes_nothing_and_proposes_anew(waiting):
    write_bundle(waiting / paths.BUNDLE, GOOD, weights_sha256="trained since")
    made = settle(waiting, "approve")
    assert made.line is None and made.version == "3"
    assert (
        made.note == "the bundle of " + str(waiting) + " is another one than that it was about, so it was decided anew"
    )
    assert alias(waiting) == "1"
    assert proposals.waiting(waiting) == made
    write_bundle(waiting / paths.CHAMPION, GOOD, weights_sha256="somebody's own")
    assert "the champion is another one" in proposals.outdated(waiting, made)


def test_what_waits_is_not_forgotten_over_another_bundle(waiting):
    """One that is kept out changes nothing; one that is proposed takes its place, and the log has both."""
    source = elsewhere(waiting)
    write_bundle(source / paths.BUNDLE, CONFUSED, weights_sha256="a worse one")
    params = parameters.load(waiting)
    before = proposals.waiting(waiting)
    assert proposals.propose(waiting, source, params).line["decision"] == "kept"
    assert proposals.waiting(waiting) == before
    write_bundle(source / paths.BUNDLE, GOOD, weights_sha256="another good one")
    later = proposals.propose(waiting, source, params)
    assert proposals.waiting(waiting) == later
    line = decisions.read(waiting)[-1]
    assert (line["decision"], line["version"], line["id"]) == ("timed out", "2", before.id)
    assert line["reason"].startswith("timed out: version 4 was proposed before anybody had answered. The rule: better")
    assert version(waiting, "2").tags["graft.decision"] == "timed out"


def test_a_champion_that_is_gone_or_damaged_is_no_reason_to_bootstrap(root):
    """Whatever is proposed would be the first model, however bad."""
    params, place = parameters.load(root), root / paths.CHAMPION
    write_bundle(root / paths.BUNDLE, CONFUSED, weights_sha256="a worse one")
    (place / bundle.FILE).unlink()
    with pytest.raises(DataError, match=r"the champion is damaged: .*; graft rollback VERSION puts one back"):
        proposals.propose(root, root, params)
    shutil.rmtree(place)
    with pytest.raises(DataError, match="is gone, though version 1 is champion: graft rollback 1 puts it back"):
        proposals.propose(root, root, params)
    assert alias(root) == "1" and len(decisions.read(root)) == 1
    assert stage.rollback(root, "1", by="ada") == "1"
    assert proposals.propose(root, root, params).line["decision"] == "kept"


def test_an_unknown_answer_is_refused(waiting):
    with pytest.raises(ParamsError, match="choose from: approve, reject, timeout"):
        settle(waiting, "yes")


def test_another_workspace_s_bundle_is_decided_about_here(root):
    """An isolated one: its runs and its version go into this registry, its bundle into production here."""
    source = elsewhere(root)
    write_bundle(root / paths.BUNDLE, CONFUSED)
    made = proposals.propose(root, source, parameters.load(root))
    assert made.line["source"] == ".graft/runs/adapted"
    assert made.place(root) == source
    assert alias(root) == "2"
    assert list((source / paths.STATE).rglob("*")) == [], "it has no history of its own"
    assert bundle.identity(bundle.read(root / paths.CHAMPION)) == bundle.identity(bundle.read(source / paths.BUNDLE))
    assert not proposals.pending(root, source, parameters.load(root))
    assert not pending(root), "this workspace's own bundle was champion before"


def test_a_rollback_is_verified_logged_and_lasts(root):
    params = parameters.load(root)
    first = bundle.read(root / paths.CHAMPION)
    proposals.propose(root, root, params)
    shutil.rmtree(root / paths.MONITOR)  # as after a promotion by an earlier version of Graft
    assert stage.rollback(root, by="ada", reason="it sees ghosts") == "1"
    assert bundle.read(root / paths.CHAMPION) == first
    line = decisions.read(root)[-1]
    assert (line["decision"], line["by"]) == ("rolled back", "ada")
    assert line["reason"] == "rolled back to version 1 by ada: it sees ghosts"
    assert line["champion_before"]["version"] == "2"
    assert alias(root) == "1"
    assert version(root, "1").tags["graft.decision"] == "rolled back"
    assert len(reference.read(root, bundle.identity(first)).images) == 90
    assert not pending(root), "the next run would undo it"
    with pytest.raises(GraftError, match="toy has no version 77; choose from: 1, 2"):
        stage.rollback(root, "77", by="ada")
    # A champion that is damaged, while the data are being prepared anew and nothing is left to make a reference of.
    (root / paths.CHAMPION / bundle.FILE).write_text("{torn")
    (root / paths.CHAMPION / decisions.RELEASE).write_text("{torn")
    (root / paths.PREPARED / "manifest.csv").unlink()
    shutil.rmtree(root / paths.MONITOR)
    assert stage.rollback(root, "2", by="ada") == "2"
    assert alias(root) == "2"


def test_references_of_those_that_were_champion_long_ago_are_removed(root):
    def reigned(number: int) -> str:
        about = {"strategy": "dan", "bundle": f"{number}", "data": None}
        decisions.append(root, decisions.entry("promoted", f"{number}", about, reason="because", by="rule"))
        (reference.folder(root, f"{number}")).mkdir(parents=True)
        return f"{number}"

    own = decisions.champion(root)["bundle"]
    numbers = [reigned(number) for number in range(10, 20)]
    references.prune(root)
    left = {path.name for path in reference.folder(root, own).parent.iterdir()}
    assert left == {own, *numbers[-references.KEPT :]}, "the champion's own, however long ago it was decided about"


def test_a_version_keeps_what_it_takes_to_build_it_again(root):
    client, _ = store.connect(root, "toy")
    kept = registry.kept(client, "toy", "1")
    assert kept["params.yaml"] == (root / "params.yaml").read_text()
    origin = json.loads(kept["origin.json"])
    assert (origin["commit"], origin["changed"], origin["workspace"]) == ("c0ffee", [], None)
    assert origin["data_sha256"] == "d" * 64
    with pytest.raises(GraftError, match="has no version 9"):
        registry.kept(client, "toy", "9")
    client.create_model_version("toy", source=root.as_uri())  # somebody's own
    with pytest.raises(GraftError, match="version 2 of toy holds no bundle: Graft has not registered it"):
        stage.rollback(root, "2", by="ada")


def test_the_commands_show_what_there_is(waiting, monkeypatch, capsys):
    from graft.commands.history import history
    from graft.commands.promote import promote
    from graft.commands.status import show_champion
    from graft.console import console

    monkeypatch.chdir(waiting)
    promote(source=Path(), approve=False, reject=False, force=False, reason="")
    shown = capsys.readouterr().out
    assert "lead" in shown and "waits for approval" in shown and "graft promote --approve --reason TEXT" in shown
    show_champion(console())
    shown = capsys.readouterr().out
    assert "Champion: dan (version 1)." in shown and "Version 2 waits for approval" in shown
    history(as_json=False)
    assert "Version 2, dan, waits for approval" in capsys.readouterr().out
    promote(source=Path(), approve=False, reject=True, force=False, reason="not [yet]")
    shown = capsys.readouterr().out
    assert shown.startswith("dan (version 2): rejected by ") and "[yet]" in shown, "who answers has seen the checks"
    history(as_json=False)
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 100
    assert "promoted" in table and "rejected" in table and "+33.3" in table
    promote(source=Path(), approve=False, reject=False, force=False, reason="")
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("dan (version 2): already decided; rejected by ") and ": not [yet]. The rule: " in shown
    shutil.rmtree(paths.CHAMPION)
    show_champion(console())
    assert "the files of version 1 are gone; `graft rollback 1` puts them back." in capsys.readouterr().out
    history(as_json=True)
    assert [line["decision"] for line in json.loads(capsys.readouterr().out)] == ["promoted", "rejected"]
