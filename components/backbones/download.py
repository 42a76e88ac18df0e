"""A file from the net: whole and right, or not at all, and never a wait without end."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from components.errors import MachineError

TIMEOUT_S = 20.0
"""How long the other side may take to answer, and how long it may then be silent."""


def fetch(url: str, path: Path, *, sha256: str, timeout_s: float = TIMEOUT_S) -> None:
    """Writes what `url` has to `path`. `sha256`: the beginning of its digest.

    Raises MachineError when the other side does not answer, stops on the way, or has something else.
    """
    try:
        answer = _opened(url, timeout_s)
    except FileNotFoundError:
        raise MachineError(f"{url} does not exist") from None
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(answer), unfinished.open("wb") as file:
            for block in iter(lambda: answer.read(1 << 20), b""):
                digest.update(block)
                file.write(block)
            if answer.length:
                raise OSError(f"{answer.length} bytes are missing")
        if not digest.hexdigest().startswith(sha256):
            raise OSError(f"its sha256 begins with {digest.hexdigest()[:8]} in place of {sha256}")
        unfinished.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise MachineError(f"{url}: {error}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def reach(url: str, timeout_s: float = TIMEOUT_S) -> None:
    """Raises MachineError when nobody answers, FileNotFoundError when there is no such file."""
    _opened(url, timeout_s).close()


def _opened(url: str, timeout_s: float) -> Any:
    """The answer to a request. Looking a name up has no timeout of its own, and each of a host's addresses has one, so
    the whole is done beside and waited for no longer."""
    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append(urllib.request.urlopen(url, timeout=timeout_s))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise MachineError(f"{url} did not answer within {timeout_s:g} s")
    if isinstance(outcome[0], urllib.error.HTTPError) and outcome[0].code == 404:
        raise FileNotFoundError(url)
    if isinstance(outcome[0], Exception):
        raise MachineError(f"{url}: {getattr(outcome[0], 'reason', outcome[0])}")
    return outcome[0]
