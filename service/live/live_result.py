"""What the live pipeline hands to its sinks."""

from dataclasses import dataclass

from segmif.sources.frame import SourceFrame

from ..pipeline.result import Result


@dataclass(frozen=True)
class LiveResult:
    """
    The result of one pair of a rig, with the frames as they came from their sources.

    `result.prediction` has the fused picture and the labels, `result.prepared.pair` the visible
    frame and the infrared levels in its view.
    """

    rig: str
    sequence: int  # of the pairs of this rig, from 0
    visible: SourceFrame
    infrared: SourceFrame
    result: Result

    @property
    def stamp_ns(self) -> int:
        """When the visible frame was taken; stamps of one rig rise."""
        return self.visible.stamp_ns
