"""The registration of a stream: its pairs keep infrared in place, whatever the rig file says."""

from dataclasses import dataclass, replace
from typing import Literal

from segmif.frames import FramePair
from segmif.geometry.stream.registration import Registered, StreamRegistration
from segmif.imaging.luma import luma

Reset = Literal["start", "size", "cut", "jump", "shutter", "sensors", "rig"]
RigState = tuple[str, float | None] | None  # SHA-256 of the rig file, depth that it aligns


@dataclass(frozen=True)
class Registration:
    """Where a pair's infrared lay, and how much earlier pairs have to do with that."""

    found: Registered
    reset: Reset | None  # why earlier pairs have no part


class StreamRegistrar:
    """Registers the pairs of one stream, in their order."""

    def __init__(self) -> None:
        self._registration = StreamRegistration()
        self._rig: RigState = None
        self._why: Reset | None = None

    def renew(self, why: Reset) -> None:
        """Note why the next pair cannot be compared with the last one; the rig still stands."""
        self._registration.renew()
        self._why = why

    def register(self, pair: FramePair, rig: RigState) -> tuple[FramePair, Registration]:
        """The pair with its infrared in place, and how that was found; `rig` has aligned it."""
        if self._rig != rig:
            self._registration, self._rig, self._why = StreamRegistration(), rig, "rig"
        found = self._registration.see(luma(pair.visible), pair.infrared)
        why, self._why = self._why, None
        reset: Reset | None = found.reset if found.reset in ("start", "size") else None
        moved = replace(pair, infrared=found.apply(pair.infrared))
        return moved, Registration(found, reset or why or found.reset)
