"""A prediction as the bytes of an answer, in each form that can be asked for."""

import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from segmif.classes import overlay
from segmif.imaging import codecs
from segmif.imaging.codecs import ImageError, Pixels
from segmif.wire.binary_pair import ENCODED, MISSING, RGB8, Y8, RawAnswer
from segmif.wire.media_types import JPEG, JSON, MIXED, NUMBERS, PNG, RAW, WEBP, View

from ..errors import BadParameter, NotAcceptable
from ..pipeline.decode import RunBoth
from ..pipeline.pair_checks import Condition
from ..pipeline.result import Result, describe
from ..pipeline.stage_times import StageTimes

FLAGS_HEADER = "X-Pair-Flags"


@dataclass(frozen=True)
class ResponseFormat:
    """What the client asks for: a media type, and pictures (none: the usual ones)."""

    media_type: str
    views: tuple[View, ...] = ()

    @property
    def pictures(self) -> tuple[View, ...]:
        """The pictures of the answer; if it holds a single one, the first."""
        return self.views or ("fused", "mask")

    @property
    def plain(self) -> bool:
        """Whether the answer is the fused frame and the labels, as the network gives them."""
        return self.media_type == RAW and set(self.pictures) <= {"fused", "mask"}


@dataclass(frozen=True)
class EncodedResponse:
    """Body, in parts that are not copied into one, and headers of a response."""

    parts: tuple[bytes | memoryview, ...]
    content_type: str
    condition: Condition
    times: StageTimes

    def headers(self) -> dict[str, str]:
        """What a client may want to know without reading the body."""
        return headers(self.times, self.condition.flags)


def headers(times: StageTimes, flags: Iterable[str]) -> dict[str, str]:
    """Stages and faults as headers, which every form of answer over HTTP has."""
    timing = ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in times.ms.items())
    faults = ", ".join(dict.fromkeys(flags))
    return {"Server-Timing": timing} | ({FLAGS_HEADER: faults} if faults else {})


@dataclass(frozen=True)
class Part:
    """One part of a multipart answer."""

    name: str
    filename: str
    content_type: str
    body: bytes


def encode(response_format: ResponseFormat, both: RunBoth, result: Result) -> EncodedResponse:
    """Encode a result; the report comes last, so that it holds all times."""
    content_type = response_format.media_type
    if content_type == RAW:
        parts = raw_answer(response_format, result).pieces
        return EncodedResponse(parts, RAW, result.prepared.condition, result.times)
    if content_type == MIXED:
        body, content_type = mixed(_parts(response_format, both, result))
    elif content_type == JSON:
        body = _json(response_format, result)
    else:
        with result.times.measure("encode"):
            body = _picture(response_format.pictures[0], content_type, result)
    return EncodedResponse((body,), content_type, result.prepared.condition, result.times)


class PartsResponse(Response):
    """A response whose body is sent part by part, as a copy of a megabyte takes 0.1 ms."""

    def __init__(self, answer: EncodedResponse) -> None:
        self.parts = answer.parts
        length = {"Content-Length": str(sum(map(len, answer.parts)))}
        super().__init__(headers=answer.headers() | length, media_type=answer.content_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for part in self.parts:
            if part:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def raw_answer(response_format: ResponseFormat, result: Result) -> RawAnswer:
    """All parts behind a fixed header; pixels unless a picture type was asked for."""
    pixels = response_format.media_type == RAW
    height, width = result.prediction.labels.shape
    with result.times.measure("encode"):
        parts = {
            view: _bytes(_pixels(view, result))
            if pixels
            else _picture(view, response_format.media_type, result)
            for view in response_format.pictures
        }
    picture = parts.get("fused", parts.get("overlay", b""))  # both would not be offered
    labels, confidence = parts.get("mask", b""), parts.get("confidence", b"")
    return RawAnswer(
        flagged=bool(result.prepared.condition.flags),
        width=width,
        height=height,
        picture_format=(RGB8 if pixels else ENCODED) if picture else MISSING,
        picture=picture,
        labels_format=(Y8 if pixels else ENCODED) if labels else MISSING,
        labels=labels,
        confidence_format=(Y8 if pixels else ENCODED) if confidence else MISSING,
        confidence=confidence,
        report=describe(result).model_dump_json().encode(),
    )


def mixed(parts: list[Part]) -> tuple[bytes, str]:
    """Put parts into one multipart/mixed body (RFC 2046, section 5.1); also gives its type."""
    boundary = uuid4().hex
    chunks = []
    for part in parts:
        head = (
            f"--{boundary}\r\n"
            f"Content-Type: {part.content_type}\r\n"
            f'Content-Disposition: attachment; name="{part.name}"; filename="{part.filename}"\r\n'
            f"Content-Length: {len(part.body)}\r\n\r\n"
        )
        chunks += [head.encode(), part.body, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    return b"".join(chunks), f"{MIXED}; boundary={boundary}"


def _parts(response_format: ResponseFormat, both: RunBoth, result: Result) -> list[Part]:
    with result.times.measure("encode"):
        first, *others = response_format.pictures
        one, more = both(
            lambda: _picture(first, PNG, result),
            lambda: [_picture(view, PNG, result) for view in others],
        )
        encoded = zip(response_format.pictures, (one, *more), strict=True)
        parts = [Part(view, f"{view}.png", PNG, body) for view, body in encoded]
    report = describe(result).model_dump_json().encode()
    return [*parts, Part("report", "report.json", "application/json", report)]


def _json(response_format: ResponseFormat, result: Result) -> bytes:
    answer: dict[str, Any] = {}
    with result.times.measure("encode"):
        for view in response_format.pictures:
            answer[view] = (
                run_lengths(result.prediction.labels)
                if view == "mask"
                else b64encode(_picture(view, PNG, result)).decode()
            )
    answer["report"] = describe(result).model_dump(mode="json")
    return json.dumps(answer).encode()


def run_lengths(labels: NDArray[np.uint8]) -> dict[str, list[int]]:
    """A mask (H, W) row by row as id, length, id, length, ...; much shorter than base64."""
    flat = labels.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=np.int16(-1)))
    lengths = np.diff(starts, append=flat.size)
    return {"size": [*labels.shape], "runs": np.stack([flat[starts], lengths], 1).ravel().tolist()}


def _pixels(view: View, result: Result) -> Pixels:
    """A picture (H, W, 3) RGB, or numbers (H, W); raises BadParameter if there are none."""
    prediction = result.prediction
    match view:
        case "fused":
            return prediction.fused
        case "mask":
            return prediction.labels
        case "overlay":
            return overlay(prediction.fused, prediction.labels, result.runtime.manifest.classes)
        case "visible":
            return result.prepared.pair.visible
        case "infrared":
            return result.prepared.pair.infrared
        case "counts":
            return _counts(result)
    if prediction.confidence is None:
        raise BadParameter(
            "return=confidence: the network in service gives none; its weights exported anew "
            "(segmif export onnx) do"
        )
    return prediction.confidence


def _counts(result: Result) -> Pixels:
    if result.prepared.counts is None:
        raise BadParameter("return=counts: the pair has no infrared frame; ask for other pictures")
    return result.prepared.counts


def _bytes(array: Pixels) -> memoryview:
    """The pixels row by row; copied only if the network's frame was larger."""
    return np.ascontiguousarray(array).reshape(-1).data


def _picture(view: View, media_type: str, result: Result) -> bytes:
    """A picture in its type, what holds numbers always as PNG; raises NotAcceptable."""
    if view == "mask":
        labels, taxonomy = result.prediction.labels, result.runtime.manifest.classes
        return codecs.encode_indexed_png(labels, taxonomy.palette)
    pixels = _pixels(view, result)
    encoder = {JPEG: codecs.encode_jpeg, WEBP: codecs.encode_webp}.get(media_type)
    if not encoder or view in NUMBERS:
        return codecs.encode_png(pixels)
    try:
        return encoder(cast(NDArray[np.uint8], pixels))
    except ImageError as error:
        raise NotAcceptable(f"{error}; accept {PNG}") from error
