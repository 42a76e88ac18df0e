"""uvicorn's HTTP protocol with less patience: it has a time-out between requests, but none for a client that connects
and says nothing, or sends a request a byte a minute."""

from __future__ import annotations

import asyncio
import time

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_S = 10.0
"""Seconds in which the head of a request must have arrived, counted from its first byte or from the connection."""
HEAD_BYTES = 65536
TOO_SLOW = b'{"error":"the request did not arrive in time"}'
TIMEOUT = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(TOO_SLOW), TOO_SLOW)
)


class Impatient(AutoHTTPProtocol):  # ty: ignore[unsupported-base]
    """One connection. A timer for each request would take longer than a small network does, so it only notes since when
    it has been waiting for the rest of a request, and the server asks all connections now and then."""

    _since: float | None = None
    _head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._since = time.monotonic()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.close()
            self._wait(head=True)
        elif self.cycle.more_body:
            self._wait(head=False)
        else:
            self._since = None

    def expire(self, body_s: float) -> None:
        """Ends the connection if the request that it waits for is overdue; its body has `body_s` seconds."""
        if self._since is None or time.monotonic() - self._since < (HEAD_S if self._head else body_s):
            return
        if not self._head and not self.cycle.response_started:
            self.transport.write(TIMEOUT)
        self.transport.close()

    def _wait(self, *, head: bool) -> None:
        if self._since is None or self._head != head:
            self._since, self._head = time.monotonic(), head
        if not head:
            self._head_bytes = 0
