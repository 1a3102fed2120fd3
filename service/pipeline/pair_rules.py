"""The operator's rules for a pair, before the network sees it."""

import math
from dataclasses import dataclass, field, replace

from segmif.thermal.camera_profile import UNSTATED, Cameras
from segmif.thermal.gain_control import GainRule

from ..schemas.pair_options import PairOptions, Policy
from ..settings import Settings
from .align import RigAligner
from .objects import ObjectRules, UnknownRules


@dataclass(frozen=True)
class PairRules:
    """The operator's rules for decoding, checking and aligning."""

    max_pixels: int  # of either frame
    rig_aligner: RigAligner | None = None  # None: frames come aligned
    gain: GainRule = field(default_factory=GainRule)
    max_skew_ms: float = math.inf
    skew_stated: bool = True  # False: sources that are paired by stamps have their own limit
    degraded: Policy = "flag"
    max_invalid: float = 1.0  # share of the infrared pixels, beyond which a pair is flagged
    objects: ObjectRules = field(default_factory=ObjectRules)
    view: tuple[int, int] | None = None  # (H, W) of a visible frame that is missing; None: unknown
    cameras: Cameras = field(default_factory=Cameras)
    tint: float | None = None  # of pairs that state none; None: the network's default
    memory: bool = False  # earlier pairs of a stream steady the result
    source_flags: tuple[str, ...] = ()  # of what the sources state of the frames
    find_grey: bool = False  # a source gives grey pictures with three channels, too

    @classmethod
    def of(cls, settings: Settings, rig_aligner: RigAligner | None) -> "PairRules":
        """The rules that an operator's settings and rig file state."""
        cameras = settings.cameras()
        if rig_aligner:
            cameras = cameras.over(rig_aligner.rig.frames)
        return cls(
            settings.max_pixels,
            rig_aligner,
            settings.gain_rule(),
            settings.max_skew_ms,
            "max_skew_ms" in settings.model_fields_set,
            settings.degraded,
            settings.max_invalid,
            ObjectRules(
                settings.object_classes,
                settings.object_min_area,
                UnknownRules() if settings.object_unknown else None,
            ),
            cameras=cameras,
            tint=settings.tint,
            memory=settings.memory,
        )

    @property
    def is_plain(self) -> bool:
        """Whether frames come aligned, and nothing is stated of the cameras."""
        return self.rig_aligner is None and self.cameras == UNSTATED

    def over_recorded(self, recorded: Cameras) -> "PairRules":
        """These rules, with what a recording states of its cameras for what they do not state."""
        if recorded == UNSTATED:
            return self
        return replace(self, cameras=self.cameras.over(recorded))

    def paired_within(self, tolerance_ms: float) -> "PairRules":
        """For pairs that were made by their stamps: that tolerance, unless a limit is stated."""
        return self if self.skew_stated else replace(self, max_skew_ms=tolerance_ms)

    def remembers(self, options: PairOptions) -> bool:
        """Whether earlier pairs of the stream steady the result of a pair."""
        asked = self.memory if options.memory is None else options.memory
        return asked and options.stream is not None

    def cameras_for(self, options: PairOptions) -> Cameras:
        """The profiles of a pair's cameras: what its client states over the operator's."""
        return options.cameras().over(self.cameras)
