"""A model file in use: fast for images of its own size, and right for all others."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from components.errors import DataError
from components.inference.selection import Selection
from components.runtimes.session import Session, open_session

IMAGE = "image"
"""The input that holds the pixels, uint8 [B, H, W, 3]."""


class Model:
    """`native`: side of the images that the session in use is made for; the first batch of another size makes a second
    session, which resizes inside the graph. None: one session for all sizes. `cache`, `brief`: see
    `session.open_session`. Threads may share it."""

    def __init__(self, selection: Selection, native: int | None, *, cache: bool = True, brief: bool = False) -> None:
        self.selection = selection
        self.native = native
        self._cache, self._brief = cache, brief
        self.session = self._open(native)
        self._any_size: Session | None = None
        self._opening = threading.Lock()

    def run(self, feed: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Inputs by name -> the outputs asked for, or all, by name. Raises DataError when the images are no pixels or
        an output is not the model's."""
        pixels = feed[IMAGE]
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise DataError(
                f"a batch must be uint8 [images, height, width, 3], but this is {pixels.dtype} {list(pixels.shape)}"
            )
        fits = self.native is None or pixels.shape[1:3] == (self.native, self.native)
        return (self.session if fits else self._for_any_size()).run(feed, names)

    def _open(self, native: int | None) -> Session:
        file, route, options = self.selection
        return open_session(
            file,
            route.provider,
            options,
            precision=route.precision,
            native=native,
            cache=self._cache,
            brief=self._brief,
        )

    def _for_any_size(self) -> Session:
        with self._opening:
            if self._any_size is None:
                opened = self._open(None)
                if opened.metadata != self.session.metadata:
                    raise DataError(f"{self.selection.file} was replaced by another model since it was loaded")
                self._any_size = opened
            return self._any_size
