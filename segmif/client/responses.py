"""What a client is given: the parts of a raw answer as arrays, or the service's refusal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.wire.binary_pair import RawAnswer
from segmif.wire.media_types import View

DEFAULT: tuple[View, ...] = ("fused", "mask")


@dataclass(frozen=True)
class Answer:
    """What the service made of a pair."""

    pictures: Mapping[str, NDArray[np.uint8]]  # those asked for with `return`, by name
    report: dict[str, Any]  # as the service's OpenAPI document describes it
    sequence: int = 0  # of the pair in its stream, from 0
    dropped: int = 0  # pairs of the stream that newer ones replaced, so far
    visible_ns: int = 0  # when visible was taken, where the pair of a stream said so

    @property
    def fused(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB, in the visible frame's pixels; AttributeError if not asked for."""
        return self._picture("fused")

    @property
    def overlay(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB, the classes tinted on the fused frame; AttributeError if not asked for."""
        return self._picture("overlay")

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(H, W) class ids; AttributeError if `mask` was not asked for."""
        return self._picture("mask")

    @property
    def confidence(self) -> NDArray[np.uint8] | None:
        """(H, W) of the labels, 255: certain; None if not asked for."""
        return self.pictures.get("confidence")

    def _picture(self, view: View) -> NDArray[np.uint8]:
        if view not in self.pictures:
            raise AttributeError(
                f"the answer holds {' and '.join(self.pictures)}, as was asked: ask for {view} by "
                f"return={','.join((*self.pictures, view))}"
            )
        return self.pictures[view]


class ServiceError(Exception):
    """The service refused or failed; `problem` is its answer (RFC 9457)."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after_s: float | None = None):
        super().__init__(f"{status}: {problem.get('detail', problem.get('title', 'no reason'))}")
        self.status, self.problem, self.retry_after_s = status, problem, retry_after_s


def wanted(ask: Mapping[str, Any], *, confidence: bool) -> dict[str, Any]:
    """
    The fields of a query; `confidence` asks for that picture beside the others.

    ValueError for pictures that a WebSocket would encode: an answer of ours is arrays.
    """
    if ask.get("picture", "raw") != "raw":
        raise ValueError(f"picture is {ask['picture']!r}: the client gives arrays, which come raw")
    views = _views(ask.get("return"))
    if confidence and "confidence" not in views:
        views = (*(views or DEFAULT), "confidence")
    return {**ask, "return": ",".join(views)} if views else dict(ask)


def unpack(raw: RawAnswer, query: Mapping[str, Any]) -> Answer | ServiceError:
    """The pictures that `query` asked for, or the problem with the pair."""
    report = json.loads(raw.report)
    if raw.status >= 300:
        return ServiceError(raw.status, report)
    views = _views(query.get("return")) or DEFAULT
    colour: View = "overlay" if "overlay" in views else "fused"  # never both in a raw answer
    size = (raw.height, raw.width)
    parts: tuple[tuple[View, bytes | memoryview, tuple[int, ...]], ...] = (
        (colour, raw.picture, (*size, 3)),
        ("mask", raw.labels, size),
        ("confidence", raw.confidence, size),
    )
    pictures: dict[str, NDArray[np.uint8]] = {
        view: np.frombuffer(pixels, np.uint8).reshape(shape)
        for view, pixels, shape in parts
        if pixels
    }
    return Answer(pictures, report, raw.sequence, raw.dropped, raw.visible_ns)


def _views(stated: Any) -> tuple[Any, ...]:
    """The names in a field `return`: text with commas, or a sequence of names."""
    if stated is None:
        return ()
    names: Sequence[str] = stated.split(",") if isinstance(stated, str) else stated
    return tuple(dict.fromkeys(names))
