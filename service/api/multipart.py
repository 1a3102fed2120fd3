"""A request's body as named parts in memory, without files and with every size bounded."""

import logging
from collections.abc import AsyncIterable
from email.message import Message
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks  # exists for type checkers only

from ..errors import BadForm

# It warns of every broken form: a client could fill the disk with that, and gets the same words.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

MAX_PARTS = 4  # visible, infrared, meta and one to spare
MAX_HEADER_BYTES = 1024  # of one line in the head of a part


async def read_form(content_type: str, body: AsyncIterable[bytes]) -> dict[str, bytes]:
    """
    Read multipart/form-data (RFC 7578) into bytes by part name; raises BadForm.

    Ours instead of Starlette's reader because that one writes parts beyond a megabyte to disk.
    """
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        raise BadForm("the Content-Type of the form has no boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks(), max_header_size=MAX_HEADER_BYTES)
        async for chunk in body:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise BadForm(f"the form cannot be read: {error}") from error
    return parts.finished()


def _parameter(header: str, name: str) -> str:
    message = Message()
    message["Content-Type"] = header
    value = message.get_param(name)
    return value if isinstance(value, str) else ""


class _Parts:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self._done: dict[str, bytes] = {}
        self._chunks: list[bytes] = []
        self._name = ""
        self._field = self._value = b""
        self._begun = 0
        self._ended = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._finish,
        }

    def finished(self) -> dict[str, bytes]:
        if not self._ended:
            raise BadForm("the form breaks off before its closing boundary")
        return self._done

    def _begin(self) -> None:
        self._begun += 1
        if self._begun > MAX_PARTS:
            raise BadForm(f"the form has more than {MAX_PARTS} parts")
        self._name, self._chunks = "", []

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _end(self) -> None:
        if self._name in self._done:
            raise BadForm(f"the form has two parts named {self._name!r}")
        self._done[self._name] = b"".join(self._chunks)

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._name = _disposition_name(self._value.decode("utf-8", "replace"))
        self._field = self._value = b""

    def _finish(self) -> None:
        self._ended = True


def _disposition_name(value: str) -> str:
    message = Message()
    message["Content-Disposition"] = value
    name = message.get_param("name", header="content-disposition")
    return name if isinstance(name, str) else ""
