"""What a recording of topics and a topic itself share: messages to frames."""

import time
from typing import Any

from segmif.imaging.image_header import ImageError
from segmif.sources.base import SourceBase
from segmif.sources.camera_info import StatedCamera
from segmif.sources.frame import Part, SourceFrame, StampFrom
from segmif.sources.options import SourceOptions
from segmif.sources.ros_images import header_of, pixels_of
from segmif.sources.stamps import LATE_NS, RisingStamps


class MessageSource(SourceBase):
    """The images of one topic, with the CameraInfo below or beside it."""

    def __init__(self, address: str, part: Part, options: SourceOptions) -> None:
        super().__init__(address)
        self._part = part
        timer = time.monotonic_ns if self.live else None
        self._stamps = RisingStamps(options.period_ns, LATE_NS, timer)
        self._stated = StatedCamera(address)

    def _frame(
        self, message: Any, kind: str, otherwise_ns: int, otherwise: StampFrom
    ) -> SourceFrame | None:
        """
        The frame of a message of type `kind`; None for one that is damaged or late.

        `otherwise_ns` is its stamp, of the kind `otherwise`, if the header states none.
        """
        try:
            pixels = pixels_of(message, kind, self._part)
        except ImageError as error:
            if error.kind == "damaged":
                self.damaged += 1
                return None
            raise
        header = header_of(message)
        stamp_ns = self._stamps.next(header.stamp_ns or otherwise_ns)
        if stamp_ns is None:
            self.dropped += 1
            return None
        return SourceFrame(
            pixels,
            stamp_ns,
            "source" if header.stamp_ns else otherwise,
            str(stamp_ns),
            frame_id=header.frame_id,
            camera=self._stated.camera,
        )
