"""The bundle that commands take where none is named."""

from __future__ import annotations

from pathlib import Path

from components import paths
from components.errors import GraftError


def require(bundle: Path) -> None:
    """Raises GraftError when `bundle` is the champion's place and nothing has been put there yet."""
    if bundle == paths.CHAMPION and not bundle.exists():
        from components.deployment import installation

        installation.recover(bundle)
    if bundle == paths.CHAMPION and not bundle.exists():
        raise GraftError(f"there is no champion at {bundle}: make one with `graft run`, or name a bundle")
