"""What the live pipeline hands to its sinks."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif import classes
from segmif.classes import Taxonomy
from segmif.sources.frame import SourceFrame

from ..pipeline.comparison import Difference
from ..pipeline.result import Result, describe
from ..schemas.events import Event
from .load_ladder import FULL


@dataclass(frozen=True)
class LiveResult:
    """
    The result of one pair of a rig, with the frames as they came from their sources.

    `result.prediction` has the fused picture and the labels, `result.prepared.pair` the visible
    frame and the infrared levels in its view. What several sinks need is made once, when the first
    of them asks.
    """

    rig: str
    sequence: int  # of the pairs of this rig, from 0
    visible: SourceFrame | None  # None: its camera is lost, and the other one goes on alone
    infrared: SourceFrame | None
    result: Result
    level: str = FULL.name  # what the rig gave up to keep pace, as `load_ladder` names it
    events: tuple[Event, ...] = ()  # that start or end with it
    in_event: bool = False  # an event goes on, or ends with it
    offset_ns: int = 0  # that is added to infrared stamps
    difference: Difference | None = None  # that the shadow phase found; None: not for that

    @property
    def stamp_ns(self) -> int:
        """When the pair was taken, on the visible camera's clock; stamps of one rig rise."""
        if self.visible:
            return self.visible.stamp_ns
        return self.frame.stamp_ns + self.offset_ns

    @property
    def frame(self) -> SourceFrame:
        """The visible frame; that of infrared if it is alone."""
        frame = self.visible or self.infrared
        assert frame  # a pair has one at least
        return frame

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes of the mask."""
        return self.result.runtime.manifest.classes

    @property
    def nbytes(self) -> int:
        """Bytes of the pictures that it holds; pictures that share their memory count once."""
        prepared, prediction = self.result.prepared, self.result.prediction
        held = [frame.pixels for frame in (self.visible, self.infrared) if frame]
        held += [prepared.pair.visible]
        held += [prepared.pair.infrared, prediction.fused, prediction.labels]
        optional = (prediction.confidence, prepared.counts)
        there = [each for each in (*held, *optional) if each is not None]
        places = {each.__array_interface__["data"][0]: each.nbytes for each in there}
        return sum(places.values())

    @cached_property
    def report(self) -> dict[str, Any]:
        """How the result came about, as JSON has it."""
        return describe(self.result).model_dump(mode="json")

    @cached_property
    def overlay(self) -> NDArray[np.uint8]:
        """The mask over the fused picture, (H, W, 3) RGB."""
        prediction = self.result.prediction
        return classes.overlay(prediction.fused, prediction.labels, self.taxonomy)
