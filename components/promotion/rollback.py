"""An earlier version is put back into production, by the same transaction as a promotion: from the registry, which
keeps every bundle that was ever decided about."""

from __future__ import annotations

from pathlib import Path

from components.deployment import bundle
from components.params import Params
from components.promotion import decisions, references, transaction, verification, versions


def roll_back(root: Path, params: Params, version: str | None = None, *, by: str, reason: str = "") -> str:
    """Puts an earlier version back into production, by default the champion before this one; returns the version.

    What it answers from there is compared with what MLflow keeps of it. Raises GraftError when there is no such
    version, ParityError when it does not verify, MachineError when MLflow does not answer.
    """
    name = params.promote.registered_model
    from components.tracking import registry, store

    with transaction.exclusive(root):
        version = version or decisions.previous(root)
        client, _ = store.connect(root, name)
        before = decisions.champion(root)
        with store.reached(root, "nothing was changed"), registry.fetched(client, name, version) as folder:
            facts = bundle.read(folder)
            shipped = decisions.shipped(root, version)
            told = f"rolled back to version {version} by {by}" + (f": {reason}" if reason else "")
            line = decisions.entry(
                decisions.ROLLED_BACK, version, decisions.about(facts), reason=told, by=by, shipped=shipped.to_dict(),
                champion_before=before,
            )  # fmt: skip
            change = transaction.Change(name, version, line, versions.tags(line))
            images = verification.samples(root)
            transaction.carry_out(
                root, client, change, folder, shipped, images, lambda staged: references.restore(root, staged, params)
            )
    return version
