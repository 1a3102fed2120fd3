"""Live pairs of a stream that a running service hands out (`SEGMIF_HAND_OUT_PAIRS=true`)."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from segmif.imaging.codecs import decode_infrared, decode_visible

from .live_sources import LOOK_AGAIN_S, Moment

ANSWER_S = 10.0  # for one answer

Parts = dict[str, bytes]  # by their names: visible, infrared, meta


class NotYet(Exception):
    """Why the service has no pair, which may change."""


@dataclass
class Door:
    """Where a service hands out the newest pair of one stream."""

    url: str  # of the service
    stream: str
    token: str | None = None
    _tag: str = ""  # of the last pair

    def newest(self) -> Parts | None:
        """
        The newest pair, None where it was given before.

        Raises NotYet, or ValueError where waiting does not help.
        """
        path = f"/streams/{quote(self.stream, safe='')}/pair"
        request = Request(self.url.rstrip("/") + path, headers={"If-None-Match": self._tag})
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            with urlopen(request, timeout=ANSWER_S) as answer:
                self._tag = answer.headers["ETag"] or ""
                return _parts(answer.headers["Content-Type"], answer.read())
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_MODIFIED:
                return None
            raise self._refused(error) from None
        except OSError as error:
            raise ValueError(f"{self.url}: the service cannot be reached: {error}") from error

    def _refused(self, error: HTTPError) -> Exception:
        try:
            told: dict[str, Any] = json.loads(error.read())
        except ValueError:
            told = {}
        said = f"{self.url}: {told.get('detail', error.reason)}"
        later = told.get("kind") == "no_pair" or error.code == HTTPStatus.SERVICE_UNAVAILABLE
        return NotYet(said) if later else ValueError(said)


def from_service(door: Door, tolerance_ns: int, patience_s: float) -> Iterator[Moment]:
    """
    The newest pair each time, until none came for `patience_s`.

    Raises ValueError in words where the service refuses, and where it never had a pair to use.
    """
    if urlsplit(door.url).scheme not in ("http", "https"):
        raise ValueError(f"{door.url} is no address such as http://127.0.0.1:8000")
    given, trouble = 0, ""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        try:
            parts = door.newest()
        except NotYet as error:
            parts, trouble = None, str(error)
        if parts is None:
            time.sleep(LOOK_AGAIN_S)
            continue
        meta = json.loads(parts["meta"])
        apart_ns = _apart_ns(meta)
        if apart_ns > tolerance_ns:
            trouble = f"the newest two frames were taken {apart_ns / 1e6:.0f} ms apart"
            continue
        stamp_ns = meta["visible_ns"] or meta["received_ns"]
        yield stamp_ns, decode_visible(parts["visible"]), decode_infrared(parts["infrared"])
        given, until = given + 1, time.monotonic() + patience_s
    if not given:
        raise ValueError(f"no pair came within {patience_s:g} s: {trouble}")


def _apart_ns(meta: dict[str, int | None]) -> int:
    """Between the exposures, as far as the client stated them; else they count as one moment."""
    visible_ns, infrared_ns = meta["visible_ns"], meta["infrared_ns"]
    return abs(visible_ns - infrared_ns) if visible_ns and infrared_ns else 0


def _parts(content_type: str, body: bytes) -> Parts:
    """The parts of a multipart body; raises ValueError where it is none."""
    whole = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    if not whole.is_multipart():
        raise ValueError(
            f"the answer is {content_type}, expected multipart/mixed: is it our service?"
        )
    named = {}
    for part in whole.walk():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            named[name] = bytes(part.get_payload(decode=True) or b"")
    if missing := {"visible", "infrared", "meta"} - named.keys():
        raise ValueError(f"the answer has no parts {sorted(missing)}: is it our service?")
    return named
