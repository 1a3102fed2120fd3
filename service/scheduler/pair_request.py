"""What an entry point hands to the scheduler."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from segmif.thermal.camera_profile import UNSTATED, Cameras
from segmif.wire.raw_frames import Frame

from ..pipeline.comparison import Difference
from ..pipeline.pair_rules import PairRules
from ..pipeline.result import Result
from ..schemas.pair_options import PairOptions

BRIEF_PIXELS = 640 * 512  # of a frame, whose checks take half a millisecond


@dataclass(frozen=True)
class PairRequest:
    """Two frames of one moment, the client that sent them, and when their answer is due."""

    visible: Frame | None  # None: the sensor gives none, which `options.sensors` admits
    infrared: Frame | None
    options: PairOptions
    client: str  # as `memory.budget.client_key` names it
    request_id: str
    due: float = math.inf  # on the clock of `time.monotonic`
    received_s: float = 0.0  # how long the request took to come
    same_stamps: bool = False  # as the pair before, of the same request
    own_stream: bool = False  # its stream is its socket's own: nobody else asks for that name
    rules: PairRules | None = None  # None: those of the service
    recorded: Cameras = UNSTATED  # what a recording states of its frames
    half_size: bool = False  # the network sees half the width and height
    # Told, after the answer, if the shadow phase finds a large difference.
    differs: Callable[[Result, Difference], None] | None = None
    computed: Callable[[], None] = lambda: None  # called once the network is done with the pair
    plain: bool = False  # its answer is what the network gives, as pixels

    @cached_property
    def is_brief(self) -> bool:
        """Whether decoding, checks and answer each take less than a millisecond, if aligned."""
        asked, frames = self.options, (self.visible, self.infrared)
        more = asked.refine or asked.stream or asked.cameras() != UNSTATED
        return self.plain and not more and all(frame and _is_small(frame) for frame in frames)


def _is_small(frame: Frame) -> bool:
    """Whether a frame is raw levels of a few pixels; counts have more checks."""
    layout = frame.layout
    if layout is None or layout.format == "y16":
        return False
    return layout.width * layout.height <= BRIEF_PIXELS
