"""The client's side of shared memory: pixels lie where both see them, only headers are sent."""

import os
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from segmif.wire.binary_pair import HEADER_BYTES, PAIR, parts_bytes

MEMORY = Path("/dev/shm")  # where Linux shows the memory that POSIX names
ANSWER_BYTES = 5  # a pixel: fused, label, confidence


@dataclass(frozen=True)
class Region:
    """Memory that the service made for us."""

    id: str
    file: int  # descriptor; not mapped, as a file cut short would end this process (SIGBUS)
    size: int


class SharedMemory:
    """Regions of a service on this machine, each for one call at a time; there are up to eight."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._free: list[Region] = []

    def post(self, pair: bytes, query: dict[str, Any]) -> httpx.Response:
        """Ask for a raw pair of pixels; the response is as it would have come over the socket."""
        while True:
            known, region = True, self._idle()
            if region is None:
                known, made = False, self._make(pair)
                if isinstance(made, httpx.Response):
                    return made
                region = made
            if region.size < room(pair):
                self._drop(region)
                continue
            try:
                response = self._ask(region, pair, query)
            except BaseException:
                os.close(region.file)  # not used again: the service may write yet
                raise
            if response.status_code != HTTPStatus.NOT_FOUND:
                self._free.append(region)
                return response
            os.close(region.file)
            if not known:
                return response
            # else it was left alone for a minute, and is gone

    def close(self) -> None:
        """Give the regions back."""
        while region := self._idle():
            self._drop(region)

    def _idle(self) -> Region | None:
        """A region that no call uses; in one step, as several threads may ask."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _make(self, pair: bytes) -> Region | httpx.Response:
        """A new region, or the service's refusal."""
        size = room(pair)
        response = self._http.post("/shared-memory", params={"bytes": size})
        if not response.is_success:
            return response
        made = response.json()
        # the last part alone: no service may name a file elsewhere
        path = MEMORY / Path(made["name"]).name
        return Region(made["id"], os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), size)

    def _ask(self, region: Region, pair: bytes, query: dict[str, Any]) -> httpx.Response:
        header, pixels = pair[:HEADER_BYTES], memoryview(pair)[HEADER_BYTES:]
        at = 0
        while at < len(pixels):
            at += os.pwrite(region.file, pixels[at:], at)
        path = f"/shared-memory/{region.id}/fuse-segment"
        response = self._http.post(path, content=header, params=query)
        if not response.is_success:
            return response
        told = response.content
        size = parts_bytes(told)
        parts = os.pread(region.file, size, 0)
        if len(parts) < size:
            raise OSError(f"{size} bytes were expected in the region, {len(parts)} are there")
        whole = b"".join((told[:HEADER_BYTES], parts, told[HEADER_BYTES:]))
        return httpx.Response(response.status_code, content=whole)

    def _drop(self, region: Region) -> None:
        os.close(region.file)
        self._http.delete(f"/shared-memory/{region.id}")


def room(pair: bytes) -> int:
    """Bytes that the pixels of a raw pair take, or those of its answer, which replace them."""
    fields = PAIR.unpack(pair[:HEADER_BYTES])
    width, height = int(fields[7]), int(fields[8])
    return max(len(pair) - HEADER_BYTES, ANSWER_BYTES * width * height)
