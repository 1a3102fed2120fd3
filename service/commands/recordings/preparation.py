"""From the pairs of two recordings to pairs that are ready for the network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from segmif.thermal.camera_profile import Cameras

from ...errors import ServiceError
from ...live.camera_match import CameraMatch
from ...live.raw_pair import raw_frame, stated_of
from ...pipeline.decode import decode
from ...pipeline.pair_checks import StreamHistory
from ...pipeline.pair_rules import PairRules
from ...pipeline.prepare import PreparedPair, align_pair
from ...pipeline.stage_times import StageTimes
from ...schemas.pair_options import PairOptions
from .kept_lines import KeptLine
from .recorded_pairs import RecordedPair


@dataclass
class Preparation:
    """Prepares the pairs of a recording in their order."""

    rules: PairRules
    options: PairOptions
    offset_ns: int

    def __post_init__(self) -> None:
        self._memory = StreamHistory()
        aligner = self.rules.rig_aligner
        self._match = CameraMatch(aligner.rig if aligner else None)

    def prepare(self, pair: RecordedPair, times: StageTimes) -> PreparedPair:
        """Align a pair and check it against those before it; raises as `align_pair`."""
        return self._prepared(pair, times, self.options)

    def replay(self, pairs: Iterator[RecordedPair], kept: Sequence[KeptLine]) -> None:
        """
        Remember the pairs that an earlier run has processed, as it did.

        Raises ValueError if they are not those of its lines.
        """
        options = self.options.model_copy(update={"refine": False})  # leaves nothing behind
        count = 0
        for pair, line in zip(pairs, kept, strict=False):
            count += (pair.visible.stamp_ns, pair.infrared.stamp_ns) == line.stamps_ns
            try:
                self._prepared(pair, StageTimes(), options)
            except ServiceError:
                continue  # as in the earlier run
        if count < len(kept):
            raise ValueError(
                f"the recordings give other pairs than before: {count} of {len(kept)} are the "
                "same; start anew with --overwrite"
            )

    def _prepared(
        self, pair: RecordedPair, times: StageTimes, options: PairOptions
    ) -> PreparedPair:
        frames = pair.visible, pair.infrared
        recorded = Cameras(*(frame.profile for frame in frames))
        rules = replace(self.rules.over_recorded(recorded), find_grey=True)
        options = options.model_copy(update=stated_of(*frames, self.offset_ns))
        cameras = rules.cameras_for(options)
        rules = replace(rules, source_flags=self._match.flags(*frames, cameras))
        visible, infrared = map(raw_frame, frames)
        decoded = decode(visible, infrared, rules.max_pixels, times, cameras=cameras)
        return align_pair(decoded, rules, times, options, self._memory)
