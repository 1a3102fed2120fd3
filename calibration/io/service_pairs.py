"""Live pairs from the latest-pair endpoint of a service (`SEGMIF_HAND_OUT_PAIRS=true`)."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from segmif.imaging.codecs import decode_infrared, decode_visible
from segmif.parsing import brief

from .live_sources import POLL_S, LivePair

RESPONSE_TIMEOUT_S = 10.0  # for one answer
MAX_ANSWER_BYTES = 1 << 29  # two frames of the largest size, not packed, have less

Parts = dict[str, bytes]  # by their names: visible, infrared, meta


class NoPairYet(Exception):
    """The service has no pair yet; try again."""


@dataclass
class StreamEndpoint:
    """The latest-pair endpoint of one stream."""

    url: str  # of the service
    stream: str
    token: str | None = None
    _tag: str = ""  # of the last pair

    def latest(self) -> Parts | None:
        """
        The latest pair; None if it was read before.

        Raises NoPairYet, or ValueError if waiting does not help.
        """
        path = f"/streams/{quote(self.stream, safe='')}/pair"
        request = Request(self.url.rstrip("/") + path, headers={"If-None-Match": self._tag})
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            with urlopen(request, timeout=RESPONSE_TIMEOUT_S) as answer:
                self._tag = answer.headers["ETag"] or ""
                body = answer.read(MAX_ANSWER_BYTES)
                if answer.length:  # of its Content-Length, what did not come
                    raise ValueError(f"{self.url}: the answer breaks off, or is too long")
                return _parts(answer.headers["Content-Type"], body)
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_MODIFIED:
                return None
            raise self._refused(error) from None
        except (OSError, HTTPException) as error:
            said = str(error) or type(error).__name__
            raise ValueError(f"{self.url}: the service cannot be reached: {said}") from error

    def _refused(self, error: HTTPError) -> Exception:
        try:
            problem: dict[str, Any] = json.loads(error.read())
        except ValueError:
            problem = {}
        said = f"{self.url}: {problem.get('detail', error.reason)}"
        later = problem.get("kind") == "no_pair" or error.code == HTTPStatus.SERVICE_UNAVAILABLE
        return NoPairYet(said) if later else ValueError(said)


def pairs_from_service(
    endpoint: StreamEndpoint, tolerance_ns: int, patience_s: float
) -> Iterator[LivePair]:
    """
    The latest pair each time, until no new one came for `patience_s`.

    Raises ValueError if the service refuses, and if it never had a usable pair.
    """
    if urlsplit(endpoint.url).scheme not in ("http", "https"):
        raise ValueError(f"{endpoint.url} is no address such as http://127.0.0.1:8000")
    given, trouble = 0, ""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        try:
            parts = endpoint.latest()
        except NoPairYet as error:
            parts, trouble = None, str(error)
        if parts is None:
            time.sleep(POLL_S)
            continue
        meta = _times(parts["meta"])
        apart_ns = _skew_ns(meta)
        if apart_ns > tolerance_ns:
            trouble = f"the newest two frames were taken {apart_ns / 1e6:.0f} ms apart"
            continue
        stamp_ns = meta["visible_ns"] or meta["received_ns"]
        if stamp_ns is None:
            raise ValueError(f"{endpoint.url} gives a pair without a time")
        yield stamp_ns, decode_visible(parts["visible"]), decode_infrared(parts["infrared"])
        given, until = given + 1, time.monotonic() + patience_s
    if not given:
        raise ValueError(f"no pair came within {patience_s:g} s: {trouble}")


def _times(data: bytes) -> dict[str, int | None]:
    """The part `meta` of a pair; raises ValueError for another one."""
    meta = json.loads(data)
    names = ("visible_ns", "infrared_ns", "received_ns")
    if not isinstance(meta, dict) or not all(
        name in meta and (meta[name] is None or type(meta[name]) is int) for name in names
    ):
        raise ValueError(f"the pair states no times: {brief(meta)}; is it this service?")
    return meta


def _skew_ns(meta: dict[str, int | None]) -> int:
    """Time between the exposures [ns]; 0 if the client did not state both stamps."""
    visible_ns, infrared_ns = meta["visible_ns"], meta["infrared_ns"]
    return abs(visible_ns - infrared_ns) if visible_ns and infrared_ns else 0


def _parts(content_type: str, body: bytes) -> Parts:
    """The parts of a multipart body; raises ValueError for another body."""
    whole = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    if not whole.is_multipart():
        raise ValueError(
            f"the answer is {content_type}, expected multipart/mixed: is it this service?"
        )
    named = {}
    for part in whole.walk():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            named[name] = bytes(part.get_payload(decode=True) or b"")
    if missing := {"visible", "infrared", "meta"} - named.keys():
        raise ValueError(f"the answer has no parts {sorted(missing)}: is it this service?")
    return named
