"""What a source gives: the stamped frames of one camera, live or recorded."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from segmif.geometry.cameras import Camera
from segmif.imaging.codecs import Pixels
from segmif.thermal.camera_profile import CameraProfile

Part = Literal["visible", "infrared"]
StampFrom = Literal["source", "arrival"]


class SourceError(ValueError):
    """
    A source cannot be opened, or it broke off.

    The message names the source without its password, says what was expected and what to do.
    """


@dataclass(frozen=True)
class SourceFrame:
    """One frame of a camera, with the time at which it was taken."""

    pixels: Pixels  # visible (H, W, 3) RGB uint8; infrared (H, W), uint8 levels or uint16 counts
    stamp_ns: int  # [ns]; stamps of one source rise
    stamp_from: StampFrom = "source"
    name: str = ""  # of its file; else its number in the source
    # What the recording itself states of its counts, such as bits or kelvin.
    profile: CameraProfile = field(default_factory=CameraProfile)
    shutter: bool = False  # the recording says that the shutter was closed
    frame_id: str = ""  # of ROS: the camera in the robot's tree of frames
    camera: Camera | None = None  # the intrinsics that the source states beside its frames


class Source(Protocol):
    """
    The frames of one camera.

    `frames` may be called once. `close` may be called from another thread: `frames` then ends soon.
    """

    address: str  # what was asked for, without a password
    live: bool  # frames come at their own time and the end is a fault; else a recording
    dropped: int  # frames passed over: a newer one was there, or they came late
    damaged: int  # packets or files that could not be decoded

    def frames(self) -> Iterator[SourceFrame]:
        """Open the source and give its frames, until its end; raises SourceError."""

    def close(self) -> None:
        """Free what is open."""
