"""A camera hands its frames to the rig, and says when there are no more."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from segmif.sources.base import SourceBase
from segmif.sources.frame import Part, SourceFrame
from service.live.camera_reader import CameraReader

pytestmark = pytest.mark.anyio


class Breaking(SourceBase):
    """Gives one frame, then fails as no source should."""

    def frames(self) -> Iterator[SourceFrame]:
        yield SourceFrame(np.zeros((2, 2), np.uint8), 0)
        raise RuntimeError("rtsp://u:secret@camera fell off")


async def test_an_unforeseen_failure_is_the_end_of_a_camera_and_not_of_the_rig() -> None:
    given: asyncio.Queue[SourceFrame | None] = asyncio.Queue()

    async def put(part: Part, frame: SourceFrame | None) -> None:
        given.put_nowait(frame)

    reader = CameraReader("infrared", lambda: Breaking("camera"), put, "rig", None)
    reader.start()
    assert await asyncio.wait_for(given.get(), 10) is not None
    assert await asyncio.wait_for(given.get(), 10) is None
    assert reader.state == "ended"
    assert reader.error and "fell off" in reader.error and "secret" not in reader.error
