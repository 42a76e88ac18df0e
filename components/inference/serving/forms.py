"""multipart/form-data (RFC 7578), taken apart while it arrives."""

from __future__ import annotations

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from components.inference.serving.limits import Limits, Refused


class Form:
    """The files of a form in the order sent, whatever the names of the fields. `boundary`: from the Content-Type."""

    def __init__(self, boundary: bytes, limits: Limits) -> None:
        if not boundary:
            raise Refused(400, "multipart/form-data needs a boundary in its Content-Type")
        self.limits = limits
        self._images: list[bytes | Refused] = []
        self._part = bytearray()
        self._refused: Refused | None = None
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._complete = self._has_files = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_content,
                    "on_part_data": self._content,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise Refused(400, f"the form cannot be read: {error}") from None

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body. Raises Refused for what is no form, and for a form with too many files."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Refused(400, f"the form cannot be read: {error}") from None

    def images(self) -> list[bytes | Refused]:
        """What every file held, once all has been fed; in the place of one that is too large, why it was refused."""
        if not self._complete:
            raise Refused(400, "the form ends before its last boundary")
        if not self._has_files:
            first = next(iter(self._images), None)
            raise first if isinstance(first, Refused) else Refused(400, "the form holds no files")
        return self._images

    def _begin_part(self) -> None:
        if len(self._images) == self.limits.images:
            raise Refused(413, f"the request has more than {self.limits.images} images, the limit")
        self._part, self._refused, self._disposition = bytearray(), None, b""

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_content(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"filename" in options:
            self._has_files = True
        else:
            name = options.get(b"name", b"").decode("utf-8", "replace")
            self._refused = Refused(400, f"the field {name!r} is not a file (with curl: -F {name or 'image'}=@FILE)")

    def _content(self, data: bytes, start: int, end: int) -> None:
        if self._refused:
            return
        if len(self._part) + end - start > self.limits.image_bytes:
            self._refused = Refused(413, f"the image has more than {self.limits.image_bytes:,} bytes, the limit")
            self._part = bytearray()
            return
        self._part += data[start:end]

    def _end_part(self) -> None:
        self._images.append(self._refused or bytes(self._part))

    def _end(self) -> None:
        self._complete = True
