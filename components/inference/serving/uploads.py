"""The images in a request: the body itself, or the files of a form. Every limit holds while bytes arrive, so that
nothing larger is ever in memory."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from components.data import images
from components.inference.serving.forms import Form
from components.inference.serving.limits import Limits, Refused, busy

HOW = "send an image as the body with Content-Type: image/jpeg or the like, or several as the files of a form"
DISCARD_S = 2.0
"""How long the rest of a refused request is still taken."""


class Upload(NamedTuple):
    """The images of a request in the order sent, some of them refused; `single`: the body was the image itself;
    `size`: bytes that the request holds until it is released."""

    images: list[bytes | Refused]
    single: bool
    size: int


class Receiver:
    """Reads requests, and knows how many bytes of all of them are in memory."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0

    def release(self, upload: Upload) -> None:
        self.held -= upload.size

    async def read(self, request: Request) -> Upload:
        """Counts as held until it is released. Raises Refused for a request that cannot be answered at all, and
        starlette's ClientDisconnect when the client goes away."""
        kind, options = parse_options_header(request.headers.get("content-type"))
        media = kind.decode("latin-1")
        form = Form(options.get(b"boundary", b""), self.limits) if media == "multipart/form-data" else None
        if not (form or media in ("", "application/octet-stream") or media.startswith("image/")):
            raise Refused(415, f"a body of type {media} holds no image: {HOW}")
        limit = self.limits.request_bytes if form else min(self.limits.image_bytes, self.limits.request_bytes)
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise Refused(413, f"the request has {int(announced):,} bytes, but the limit is {limit:,}")
        body = bytearray()
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                self.held += len(chunk)
                if size > limit:
                    raise Refused(413, f"the request has more than {limit:,} bytes, the limit")
                if self.held > self.limits.held_bytes:
                    raise busy("the images of other requests take all the memory that there is for them")
                if form:
                    form.feed(chunk)
                else:
                    body += chunk
            if form:
                return Upload(form.images(), single=False, size=size)
            if not body:
                raise Refused(400, f"the request holds no image: {HOW}")
            return Upload([bytes(body)], single=True, size=size)
        except BaseException:
            self.held -= size
            raise


async def discard(request: Request, limit: int) -> bool:
    """Takes the rest of a refused body, within limits, because a client that is still sending would not see the answer.
    Whether that was all of it."""
    try:
        async with asyncio.timeout(DISCARD_S):
            async for chunk in request.stream():
                limit -= len(chunk)
                if limit < 0:
                    return False
    except (TimeoutError, ClientDisconnect):
        return False
    except RuntimeError:  # starlette's way to say that it had been read before
        pass
    return True


def require_known_format(content: bytes) -> None:
    """Raises Refused for what is no image, or of a format that the server does not take."""
    if images.kind(content) is None:
        raise Refused(415, f"this is no image of a format that is taken here: {images.FORMATS}")
