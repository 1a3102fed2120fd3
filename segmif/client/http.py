"""
A client of the service: frames in, arrays out, over HTTP or, for a live rig, over a WebSocket.

Frames are files (bytes, or a path) or arrays: visible (H, W, 3) uint8 RGB, infrared (h, w) uint8
white hot or uint16 counts; None where the sensor gives none. Arrays travel raw: no encoding on
either side; on the same machine they need not travel at all. Needs `segmif[client]`, no torch.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from segmif.client.responses import Answer as Answer
from segmif.client.responses import ServiceError as ServiceError
from segmif.client.responses import unpack, wanted
from segmif.client.shared_memory import SharedMemory
from segmif.wire.binary_pair import (
    ANSWER_MAGIC,
    ENCODED,
    MISSING,
    RGB8,
    Y8,
    Y16,
    RawAnswer,
    pack_pair,
)
from segmif.wire.media_types import RAW

VisibleInput = NDArray[np.uint8] | bytes | Path | str | None  # str: a path
InfraredInput = NDArray[np.uint8] | NDArray[np.uint16] | bytes | Path | str | None
Pair = tuple[VisibleInput, InfraredInput]
StampedPair = tuple[VisibleInput, InfraredInput, int, int]  # and when each was taken [ns]
RAW_KINDS = {
    ("visible", 3, "uint8"): RGB8,
    ("visible", 2, "uint8"): Y8,
    ("infrared", 2, "uint8"): Y8,
    ("infrared", 2, "uint16"): Y16,
}
BUSY = (429, 503)  # try again later; the answer says when


class Client:
    """Asks and waits; safe to use from several threads. Use it in a `with`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        token: str | None = None,
        timeout_s: float = 30,
        attempts: int = 3,
        transport: httpx.BaseTransport | None = None,
        shared_memory: bool = False,
    ) -> None:
        """
        `attempts` in all where the service is busy, each after the time that it names.

        With `shared_memory`, pairs of arrays lie in memory that a service on this machine (Linux,
        the same user, SEGMIF_SHARED_MEMORY=true) made.
        """
        self._attempts = attempts
        self._http = httpx.Client(
            base_url=url, headers=_headers(token), timeout=timeout_s, transport=transport
        )
        self._memory = SharedMemory(self._http) if shared_memory else None

    def fuse(
        self,
        visible: VisibleInput,
        infrared: InfraredInput,
        *,
        confidence: bool = False,
        **ask: Any,
    ) -> Answer:
        """
        The answer to one pair; `ask` are fields of the query, such as `depth_m` or `stream`.

        `**{"return": "overlay,mask"}` names the pictures that the answer holds.

        Raises ServiceError for a refusal, ValueError for arrays of a wrong kind, and what httpx
        raises where the service cannot be reached.
        """
        body, query = pack(visible, infrared), wanted(ask, confidence=confidence)
        pixels = are_pixels(visible, infrared)
        for left in reversed(range(self._attempts)):
            response = self._post(body, query, pixels=pixels)
            wait = _wait_s(response) if left else None
            if wait is None:
                break
            time.sleep(wait)
        return _answer(response, query)

    def _post(self, body: bytes, query: dict[str, Any], *, pixels: bool) -> httpx.Response:
        if self._memory and pixels:
            return self._memory.post(body, query)
        return self._http.post("/fuse-segment", content=body, params=query)

    def close(self) -> None:
        """Gives memory back and closes the connections."""
        if self._memory:
            self._memory.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio, and streams. Use it in an `async with`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        token: str | None = None,
        timeout_s: float = 30,
        attempts: int = 3,
        shared_memory: bool = False,
    ) -> None:
        """As `Client`; what lies in shared memory is asked for in a thread."""
        self._url, self._token, self._attempts = url, token, attempts
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(token), timeout=timeout_s)
        near = partial(Client, url, token, timeout_s, attempts, shared_memory=True)
        self._near = near() if shared_memory else None

    async def fuse(
        self,
        visible: VisibleInput,
        infrared: InfraredInput,
        *,
        confidence: bool = False,
        **ask: Any,
    ) -> Answer:
        """As `Client.fuse`."""
        if self._near and are_pixels(visible, infrared):
            near = partial(self._near.fuse, visible, infrared, confidence=confidence, **ask)
            return await asyncio.to_thread(near)
        body = await asyncio.to_thread(pack, visible, infrared)
        query = wanted(ask, confidence=confidence)
        for left in reversed(range(self._attempts)):
            response = await self._http.post("/fuse-segment", content=body, params=query)
            wait = _wait_s(response) if left else None
            if wait is None:
                break
            await asyncio.sleep(wait)
        return _answer(response, query)

    async def stream(
        self,
        pairs: AsyncIterable[Pair | StampedPair],
        *,
        confidence: bool = False,
        **ask: Any,
    ) -> AsyncIterator[Answer | ServiceError]:
        """
        Answers to pairs as they come, in order; pairs that newer ones replaced have none.

        A problem with one pair is given, not raised: the stream goes on.
        """
        from websockets.asyncio.client import connect

        query = wanted(ask, confidence=confidence)
        address = self._url.replace("http", "ws", 1) + "/stream?" + urlencode(query)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        async with connect(address, additional_headers=headers, max_size=None) as socket:
            sending = asyncio.create_task(_send_all(socket, pairs))
            try:
                async for answer in _receive(socket, sending, query):
                    yield answer
            finally:
                sending.cancel()

    async def close(self) -> None:
        """Gives memory back and closes the connections."""
        if self._near:
            await asyncio.to_thread(self._near.close)
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def pack(
    visible: VisibleInput, infrared: InfraredInput, visible_ns: int = 0, infrared_ns: int = 0
) -> bytes:
    """
    A pair as the raw form of docs/wire.md, with the times at which it was taken (0: not known).

    ValueError for arrays that are no frames.
    """
    frames = _frame(visible, "visible"), _frame(infrared, "infrared")
    return pack_pair(*frames, visible_ns=visible_ns, infrared_ns=infrared_ns)


def are_pixels(visible: VisibleInput, infrared: InfraredInput) -> bool:
    """Tell whether a pair is arrays, which may lie in shared memory."""
    return isinstance(visible, np.ndarray) and isinstance(infrared, np.ndarray)


def _frame(
    frame: NDArray[Any] | bytes | Path | str | None, part: str
) -> tuple[int, tuple[int, int, int], bytes]:
    if frame is None:
        return MISSING, (0, 0, 0), b""
    if isinstance(frame, (Path, str)):
        frame = Path(frame).read_bytes()
    if isinstance(frame, bytes):
        return ENCODED, (0, 0, 0), frame
    if not isinstance(frame, np.ndarray):
        raise ValueError(
            f"{part} is a {type(frame).__name__}: expected an array, or bytes or path of a file; "
            "numpy.asarray makes an array of pictures and tensors"
        )
    kind = RAW_KINDS.get((part, frame.ndim, frame.dtype.name))
    if kind is None or (kind == RGB8 and frame.shape[2] != 3):
        raise ValueError(
            f"{part} is {frame.dtype} {frame.shape}: expected visible (H, W, 3) uint8 RGB or "
            "(H, W) uint8 grey, infrared (H, W) uint8 or uint16"
        )
    little = frame.astype(frame.dtype.newbyteorder("<"), copy=False)
    return kind, (frame.shape[1], frame.shape[0], 0), little.tobytes()


def _headers(token: str | None) -> dict[str, str]:
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    return {"Content-Type": RAW, "Accept": RAW} | authorization


def _wait_s(response: httpx.Response) -> float | None:
    """Seconds until the service wants to be asked again; None where it does not say so."""
    stated = response.headers.get("Retry-After", "")
    return float(stated) if response.status_code in BUSY and stated.isdigit() else None


def _answer(response: httpx.Response, query: dict[str, Any]) -> Answer:
    if response.status_code == 200 and response.content.startswith(ANSWER_MAGIC):
        found = unpack(RawAnswer.from_bytes(response.content), query)
        if isinstance(found, Answer):
            return found
        raise found
    raise ServiceError(response.status_code, _problem(response), _wait_s(response))


def _problem(response: httpx.Response) -> dict[str, Any]:
    """What is wrong, in the service's words, or that the answer is none of its own."""
    with suppress(ValueError):
        problem = response.json()
        if isinstance(problem, dict) and "detail" in problem:
            return problem
    kind, begun = response.headers.get("Content-Type"), response.text[:100]
    return {
        "detail": f"the answer is {kind or 'of no type'}, not the service's; perhaps a proxy's: "
        f"{begun!r}"
    }


async def _send_all(socket: Any, pairs: AsyncIterable[Pair | StampedPair]) -> int:
    """Sends all pairs; gives how many."""
    count = 0
    async for pair in pairs:
        await socket.send(await asyncio.to_thread(pack, *pair))
        count += 1
    return count


async def _receive(
    socket: Any, sending: "asyncio.Task[int]", query: dict[str, Any]
) -> AsyncIterator[Answer | ServiceError]:
    """What comes until the last pair that was sent is answered: newer ones never replace that."""
    last, receiving = -1, asyncio.create_task(socket.recv(decode=False))
    try:
        while not (sending.done() and last == sending.result() - 1):
            awaited = {receiving} if sending.done() else {receiving, sending}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                raw = RawAnswer.from_bytes(receiving.result())
                receiving = asyncio.create_task(socket.recv(decode=False))
                last = raw.sequence
                yield unpack(raw, query)
    finally:
        receiving.cancel()
