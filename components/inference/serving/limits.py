"""What a server takes from a client, and how it says no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """`image_bytes`: of one image; `images`, `request_bytes`: of one request; `held_bytes`: of all requests together
    that are being received or answered; `read_s`: seconds in which a request must have arrived. How many pixels an
    image may have is the predictor's own limit."""

    image_bytes: int = 20 * MIB
    request_bytes: int = 64 * MIB
    held_bytes: int = 512 * MIB
    images: int = 64
    read_s: float = 30.0


class Refused(Exception):
    """A request, or one image of it, that gets no prediction. `status`: of HTTP; `reason`: told to the client."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})


def busy(reason: str) -> Refused:
    """Too much at the moment: the same request may do in a second."""
    return Refused(503, reason, {"Retry-After": "1"})
