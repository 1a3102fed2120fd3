"""The stages of a pair before the network, in order: decode, check, align; each timed."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmif.frames import FramePair
from segmif.geometry.cameras import Homography, Rig
from segmif.geometry.registration import Refinement, refine
from segmif.imaging import codecs
from segmif.imaging.codecs import Pixels
from segmif.imaging.luma import luma
from segmif.thermal.camera_profile import Cameras
from segmif.thermal.gain_control import Levels
from segmif.wire.raw_frames import Frame

from ..errors import BadPair, Degraded
from ..schemas.pair_options import PairOptions, Policy
from .align import RigAlignment
from .decode import Decoded, DecodeOptions, decode
from .pair_checks import SENSORS, CheckLimits, Condition, StreamHistory, check_pair, is_grey
from .pair_rules import PairRules
from .register import Registration
from .stage_times import StageTimes

ASPECT_TOLERANCE = 0.05  # two sensors' crops differ a little; beyond this, pixels cannot correspond


@dataclass(frozen=True)
class PreparedPair:
    """A pair ready for the network, and how it was prepared."""

    pair: FramePair
    visible_shape: tuple[int, int] | None  # (H, W) as it came; None: it did not
    infrared_shape: tuple[int, int] | None
    alignment: Literal["none", "resized", "rig"]
    levels: Levels | None  # None: infrared is missing
    rig_alignment: RigAlignment | None  # None: no rig
    condition: Condition
    refinement: Refinement | None = None  # None: nobody asked for one
    registration: Registration | None = None  # None: likewise, or a sensor shows nothing
    cameras: Cameras = field(default_factory=Cameras)
    visible_grey: bool = False  # the visible frame came with one channel
    tint: float | None = None  # of the fused frame; None: the network's default
    counts: Pixels | None = None  # infrared as it came in the visible view (H, W), if asked for
    halved_from: tuple[int, int] | None = None  # (H, W) of the view; None: the pair has its size
    rig: Rig | Homography | None = None  # by which infrared is aligned

    @property
    def parallax_rig(self) -> Rig | None:
        """The calibrated rig by which infrared lies as it lies, if both frames show something."""
        refined = self.refinement is not None and self.refinement.sure
        moved = refined or (self.registration is not None and self.registration.found.applied)
        whole = len(self.condition.sensors) == len(SENSORS) and self.halved_from is None
        return self.rig if whole and not moved and isinstance(self.rig, Rig) else None

    @property
    def full_size(self) -> tuple[int, int]:
        """(H, W) of the view, in whose pixels objects, zones and events are."""
        height, width = self.halved_from or self.pair.infrared.shape
        return height, width


def prepare(
    visible: Frame | None,
    infrared: Frame | None,
    rules: PairRules,
    times: StageTimes,
    options: PairOptions = PairOptions(),  # noqa: B008  frozen
    decode_options: DecodeOptions = DecodeOptions(),  # noqa: B008  frozen
) -> PreparedPair:
    """Decode the frames of one moment into an aligned pair; raises as `decode`, `align_pair`."""
    cameras = rules.cameras_for(options)
    decoded = decode(visible, infrared, rules.max_pixels, times, decode_options, cameras)
    return align_pair(decoded, rules, times, options)


def align_pair(
    decoded: Decoded,
    rules: PairRules,
    times: StageTimes,
    options: PairOptions = PairOptions(),  # noqa: B008  frozen
    memory: StreamHistory | None = None,
    same_stamps: bool = False,
) -> PreparedPair:
    """
    Check decoded frames and bring them into one view and 8 bit; raises BadPair or Degraded.

    A frame that shows nothing becomes black, for which the networks are trained.
    `same_stamps`: they were checked with the pair before, of the same request.
    """
    with times.measure("align"):
        cameras, infrared = rules.cameras_for(options), decoded.infrared
        profile = cameras.infrared
        validity = None if infrared is None else codecs.validity_of(infrared, profile)
        condition = check_pair(
            {"visible": decoded.visible, "infrared": infrared},
            (options.visible_ns, options.infrared_ns),
            CheckLimits(
                rules.max_skew_ms, rules.max_invalid, profile.bits, options.shutter, same_stamps
            ),
            memory,
            validity,
        )
        flags = (*condition.flags, *decoded.flags, *rules.source_flags)
        condition = replace(condition, flags=flags)
        enforce_policy(condition, options.degraded or rules.degraded)
        last = memory.gain if memory else None
        levels = None
        if infrared is not None:
            levels = codecs.infrared_levels(infrared, rules.gain, last, profile, validity)
        prepared = to_one_view(decoded, levels, rules, options.depth_m, condition)
        prepared = replace(
            prepared,
            cameras=cameras,
            rig=rules.rig_aligner.rig if prepared.rig_alignment and rules.rig_aligner else None,
            visible_grey=decoded.visible_grey or (rules.find_grey and is_grey(decoded.visible)),
            tint=rules.tint if options.tint is None else options.tint,
        )
        if memory and levels and levels.state and "infrared" in condition.sensors:
            memory.gain = levels.state
        if len(condition.sensors) < len(SENSORS):
            prepared = replace(prepared, pair=without_blind_frames(prepared.pair, condition))
            if memory:
                shut = "infrared_shutter" in condition.flags
                memory.registrar.renew("shutter" if shut else "sensors")
        elif memory and options.registration:
            prepared = registered(prepared, memory)
        elif options.refine:
            prepared = refined(prepared)
        if infrared is None or "counts" not in options.views:
            return prepared
        return replace(prepared, counts=_counts(infrared, prepared, rules, options.depth_m))


def enforce_policy(condition: Condition, policy: Policy) -> None:
    """Raise Degraded for a pair that the policy refuses."""
    flags = ", ".join(condition.flags)
    if not condition.sensors:
        raise Degraded(f"neither frame shows anything: {flags}")
    if flags and policy == "refuse":
        skew = f"; skew {condition.skew_ms:.1f} ms" if condition.skew_ms is not None else ""
        raise Degraded(f"the pair is not whole: {flags}{skew}; degraded=flag takes it, marked")


def to_one_view(
    decoded: Decoded,
    levels: Levels | None,
    rules: PairRules,
    depth_m: float | None,
    condition: Condition,
) -> PreparedPair:
    """Bring infrared of 8 bit into the visible view; a missing frame is black."""
    visible, shapes = decoded.visible, (_shape(decoded.visible), _shape(decoded.infrared))
    if levels is None:
        assert visible is not None  # `enforce_policy` has seen to it
        pair = FramePair(visible, np.zeros(visible.shape[:2], np.uint8))
        return PreparedPair(pair, *shapes, "none", None, None, condition)
    heat = levels.pixels
    if visible is None:
        size = rules.rig_aligner.visible_shape if rules.rig_aligner else rules.view or heat.shape
        visible = np.zeros((*size, 3), np.uint8)
    if rules.rig_aligner:
        aligned, rig_alignment = rules.rig_aligner.align(visible, heat, depth_m)
        return PreparedPair(
            FramePair(visible, aligned), *shapes, "rig", levels, rig_alignment, condition
        )
    check_proportions(visible, heat)
    height, width = visible.shape[:2]
    alignment: Literal["none", "resized"] = "none" if heat.shape == (height, width) else "resized"
    pair = FramePair(visible, codecs.resize(heat, height, width))
    return PreparedPair(pair, *shapes, alignment, levels, None, condition)


def refined(prepared: PreparedPair) -> PreparedPair:
    """Correct the misalignment that the pair itself shows, if that is sure."""
    visible, infrared = prepared.pair.visible, prepared.pair.infrared
    found = refine(luma(visible), infrared)
    corrected = found.apply(infrared) if found.sure else infrared
    return replace(prepared, pair=FramePair(visible, corrected), refinement=found)


def registered(prepared: PreparedPair, memory: StreamHistory) -> PreparedPair:
    """Correct the misalignment that the pairs of a stream show."""
    rig = prepared.rig_alignment
    aligned_by = (rig.sha256, rig.depth_m) if rig else None
    pair, registration = memory.registrar.register(prepared.pair, aligned_by)
    return replace(prepared, pair=pair, registration=registration)


def _counts(
    infrared: Pixels, prepared: PreparedPair, rules: PairRules, depth_m: float | None
) -> Pixels:
    """Infrared (h, w) as it came, by nearest pixels where `prepared` has it."""
    if rules.rig_aligner:
        counts = rules.rig_aligner.nearest(infrared, depth_m)
    else:
        counts = codecs.resize(infrared, *prepared.pair.infrared.shape, nearest=True)
    if prepared.registration:
        return prepared.registration.found.apply(counts, nearest=True)
    found = prepared.refinement
    return found.apply(counts, nearest=True) if found and found.sure else counts


def check_proportions(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> None:
    """Raise BadPair for frames (H, W, 3) and (h, w) of too different proportions."""
    (height, width), (infrared_height, infrared_width) = visible.shape[:2], infrared.shape
    aspects = (width / height) / (infrared_width / infrared_height)
    if max(aspects, 1 / aspects) > 1 + ASPECT_TOLERANCE:
        raise BadPair(
            f"visible is {width}x{height}, infrared {infrared_width}x{infrared_height}: with sides "
            "in so different proportions they cannot be one pair; crop both to the same view"
        )


def without_blind_frames(pair: FramePair, condition: Condition) -> FramePair:
    """Black out a frame that shows nothing: white, or a shutter, would only veil the other."""
    return FramePair(
        pair.visible if "visible" in condition.sensors else np.zeros_like(pair.visible),
        pair.infrared if "infrared" in condition.sensors else np.zeros_like(pair.infrared),
    )


def _shape(pixels: Pixels | None) -> tuple[int, int] | None:
    return None if pixels is None else (pixels.shape[0], pixels.shape[1])
