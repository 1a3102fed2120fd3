"""
Registration of a stream: infrared kept in place by what both frames of many pairs show.

Every pair adds its evidence to that of the pairs before: for each tile of the picture, how well the
edges of both frames agree by shift. From it come an affine map for the whole picture, which follows
a rig that moves, and a small shift for each tile, which follows depth.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats
from segmif.geometry.stream.affine_map import NO_MAP, bounded, composed, pixel_map
from segmif.geometry.stream.affine_search import (
    STEPS,
    TRACKING_STEPS,
    agreement,
    best_map,
    deviation,
    refined_map,
)
from segmif.geometry.stream.edge_field import Field, Grey, doubled, edge_field, field_size
from segmif.geometry.stream.local_shifts import local_shifts
from segmif.geometry.stream.surfaces import Surfaces, Tiles, moved, pooled, surfaces

OLD = 0.8  # weight of the evidence before, of each pair
FOUND, LOST = 7.0, 5.0  # [deviations] of agreement, from which on a map counts, and until when
PROMISING = 5.5  # the same from which on an unknown map is looked at more closely
BETTER = 1.5  # [deviations] that another map has to agree more
SEARCH_EVERY = 8  # pairs that are looked at, while a map holds
SETTLED_PX = 0.1  # [px of a field] of change, under which every second pair is looked at
REBASE_PX = 1.0  # [px of a field] that a map may be off its base
CONFIDENT, DOUBT = 6.5, 0.6  # [deviations] of confidence 0.5, and its slope
# Mean displacement by the map from which infrared is moved, and until when, in shares of the width.
# Nearer pairs lose more by a map of the background than they win: a person stands before it.
BEGIN, END = 0.008, 0.0055
THUMBNAIL = 16, 12  # width, height
SAME_SCENE, FLAT = 0.4, 2.0  # least correlation of thumbnails; [levels] of one without content

Plane = TypeVar("Plane", bound=NDArray[np.uint8] | NDArray[np.uint16])
Reset = Literal["start", "size", "cut"]
Standing = Literal["found", "kept", "none"]


@dataclass(frozen=True)
class Registered:
    """Where infrared lies off the visible frame, and whether that is corrected."""

    A: Floats  # (2, 3) visible pixel (x, y, 1) -> infrared pixel, without the tiles' shifts
    field: Field  # (h, w, 2) displacement [px of the frame] in a small grid over the frame
    displacement_px: float  # its mean length
    parallax_px: float  # largest shift of a tile beyond `A`
    confidence: float  # 0 to 1, that the frames agree so by more than chance
    standing: Standing  # kept: found by earlier pairs, this one does not show it
    applied: bool  # False: it is too little, or unknown
    reset: Reset | None  # why earlier pairs have no part

    @property
    def middle_px(self) -> tuple[float, float]:
        """Displacement in the middle of the frame, to the right and down."""
        height, width = self.field.shape[:2]
        right, down = self.field[height // 2, width // 2]
        return float(right), float(down)

    def apply(self, infrared: Plane, *, nearest: bool = False) -> Plane:
        """Infrared (H, W) in place: bilinear, or by `nearest` pixels; 0 where it shows nothing."""
        if not self.applied:
            return infrared
        field = cv2.resize(self.field, infrared.shape[1::-1])
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        # The second map is for those in fixed point, which take longer.
        return cast(
            Plane,
            cv2.remap(infrared, field, None, how | cv2.WARP_RELATIVE_MAP),  # type: ignore[call-overload]
        )


@dataclass(frozen=True)
class _State:
    """What a pair leaves behind for the next one."""

    shape: tuple[int, ...]  # (H, W)
    tiles: Tiles
    basis: Floats
    base: Floats  # map by which infrared is moved before it is compared
    rest: Floats  # map that is left then
    evidence: Surfaces | None = None  # about `base`
    local: Floats | None = None  # (tiles, 2) [px of a field]
    deviations: float = 0.0  # by which the map agrees more than chance
    standing: Standing = "none"
    applied: bool = False
    scene: tuple[Floats, Floats] | None = None  # thumbnails of visible and infrared
    count: int = 0  # pairs looked at
    ahead: bool = False  # the evidence holds a pair that the map does not know
    settled: bool = False  # the map changed by next to nothing last


class StreamRegistration:
    """The registration of one stream, whose pairs come in their order."""

    def __init__(self) -> None:
        self._state: _State | None = None
        self._last: Registered | None = None
        self._random = np.random.default_rng(0)

    def renew(self) -> None:
        """Drop the evidence but not the map: the next pair is not comparable, the rig stands."""
        if self._state:
            self._state = replace(_without_evidence(self._state), scene=None)

    def see(self, visible: Grey, infrared: Grey) -> Registered:
        """
        Take the stream's next pair, both (H, W) uint8 of one view.

        Infrared of exactly 0 counts as unseen. The map is bounded to shifts of 9 % of the width and
        turns of 14 degrees. Raises ValueError for frames of different sizes.
        """
        if visible.shape != infrared.shape:
            raise ValueError(
                f"visible is {visible.shape}, infrared {infrared.shape}: align them first"
            )
        state, reset = self._continued(visible, infrared)
        if state.tiles.count < 4:  # too small for tiles: nothing can be said
            self._state = state
            return _registered(state, reset)
        if not state.ahead:
            state = _with_evidence(state, visible, infrared)
            if state.settled and self._last:  # its map comes with the next pair: half of the work
                self._state = replace(state, ahead=True)
                return self._last
        state = self._with_map(replace(state, ahead=False, settled=False))
        self._state = _decided(_rebased(state))
        found = _registered(self._state, reset)
        self._last = replace(found, reset=None)
        return found

    def _continued(self, visible: Grey, infrared: Grey) -> tuple[_State, Reset | None]:
        """The state before a pair, and why earlier ones do not count."""
        scene = _thumbnail(visible), _thumbnail(infrared)
        last, reset = self._state, cast(Reset | None, None)
        if last is None or last.shape != visible.shape:
            reset = "size" if last else "start"
            tiles = Tiles.of(field_size(visible.shape))
            last = _State(visible.shape, tiles, tiles.basis(), NO_MAP, NO_MAP)
        elif last.scene and not all(map(_same_scene, last.scene, scene)):
            reset = "cut"
            last = _without_evidence(last)
        return replace(last, scene=scene), reset

    def _with_map(self, state: _State) -> _State:
        """The state with the map that agrees best, unless none agrees by more than chance."""
        assert state.evidence is not None
        own, basis, tiles = state.evidence, state.basis, state.tiles
        shared, scale = pooled(own, tiles), deviation(own)

        def deviations(rest: Floats) -> float:
            return float(agreement(own, basis, rest)) / scale

        tracked = state.standing == "found"
        rest = refined_map(shared, basis, state.rest, TRACKING_STEPS if tracked else STEPS)
        reached = deviations(rest)
        if reached < FOUND or state.count % SEARCH_EVERY == 0:
            other = best_map(shared, basis, rest, self._random)
            better = deviations(other)
            if better > max(reached + BETTER, PROMISING if state.standing == "none" else FOUND):
                rest, reached = other, better
        possible = bounded(composed(state.base, rest, tiles), tiles)
        if possible and reached < FOUND and state.standing == "none":
            # Moved by a map that is nearly right, infrared shows the next pair whether it is.
            rest = rest if reached > PROMISING else state.rest
            return replace(state, rest=rest, deviations=reached)
        if not possible or reached < LOST:
            standing: Standing = "none" if state.standing == "none" else "kept"
            return replace(state, standing=standing, deviations=deviations(state.rest))
        settled = bool(tracked and np.abs(basis @ (rest - state.rest)).max() < SETTLED_PX)
        local = local_shifts(shared, basis @ rest, tiles)
        found = replace(state, rest=rest, local=local, deviations=reached, standing="found")
        return replace(found, settled=settled)


def _with_evidence(state: _State, visible: Grey, infrared: Grey) -> _State:
    """The state with the evidence of one more pair; a found map needs half of the tiles only."""
    tiles, size = state.tiles, state.tiles.size
    colour, heat = doubled(visible, size), doubled(infrared, size)
    if state.base.any():
        there = pixel_map(state.base, tiles, heat.shape)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        heat = cast(Grey, cv2.warpAffine(heat, there, heat.shape[::-1], flags=flags))
    fields = edge_field(colour, size), edge_field(heat, size, unseen_is_black=True)
    every = np.arange(tiles.count)
    if state.evidence is None:
        return replace(state, evidence=surfaces(*fields, tiles, every), count=state.count + 1)
    turns = 2 if state.standing == "found" else 1
    row, column = np.divmod(every, tiles.columns)
    chosen = every[(row + column + state.count) % turns == 0]
    evidence = state.evidence.copy()
    old = OLD ** (2 * turns if state.settled else turns)  # every second pair is not looked at
    evidence[chosen] = old * evidence[chosen] + surfaces(*fields, tiles, chosen)
    return replace(state, evidence=evidence, count=state.count + 1)


def _without_evidence(state: _State) -> _State:
    """The state with its map and no evidence for it."""
    return replace(state, evidence=None, local=None, ahead=False, settled=False)


def _rebased(state: _State) -> _State:
    """The state about a new base if its map has left the last one."""
    shifts = state.basis @ state.rest
    if state.evidence is None or np.abs(shifts).max() <= REBASE_PX:
        return state
    base = composed(state.base, state.rest, state.tiles)
    return replace(state, base=base, rest=NO_MAP, evidence=moved(state.evidence, shifts))


def _decided(state: _State) -> _State:
    """The state with the decision whether infrared is moved: not for what may be noise."""
    shifts = state.basis @ composed(state.base, state.rest, state.tiles)
    share = float(np.hypot(*shifts.T).mean()) / state.tiles.size[0]
    applied = share > (END if state.applied else BEGIN)
    return replace(state, applied=applied and state.standing != "none")


def _length_px(state: _State) -> float:
    """Mean displacement of the tiles [px of the frame]; 0 while nothing is known."""
    if state.standing == "none":
        return 0.0
    shifts = state.basis @ composed(state.base, state.rest, state.tiles)
    if state.local is not None:
        shifts = shifts + state.local
    return float(np.hypot(*shifts.T).mean()) * state.shape[1] / state.tiles.size[0]


def _registered(state: _State, reset: Reset | None) -> Registered:
    tiles, factor = state.tiles, state.shape[1] / state.tiles.size[0]
    whole = NO_MAP if state.standing == "none" else composed(state.base, state.rest, tiles)
    width, height = tiles.size
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / tiles.half_width
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / tiles.half_width
    field = np.empty((height, width, 2), np.float32)
    for axis in range(2):
        field[..., axis] = np.add.outer(whole[1, axis] * y, whole[0, axis] * x + whole[2, axis])
    parallax = 0.0
    if state.local is not None:
        field += tiles.spread(state.local)
        parallax = float(np.hypot(*state.local.T).max()) * factor
    field *= factor
    confidence = 1 / (1 + np.exp((CONFIDENT - state.deviations) / DOUBT))
    return Registered(
        pixel_map(whole, tiles, state.shape),
        field,
        _length_px(state),
        parallax,
        float(confidence) if state.evidence is not None else 0.0,
        state.standing,
        state.applied,
        reset,
    )


def _thumbnail(frame: Grey) -> Floats:
    step = max(min(frame.shape) // 120, 1)  # so many pixels are enough for a mean
    small = cv2.resize(
        np.ascontiguousarray(frame[::step, ::step]), THUMBNAIL, interpolation=cv2.INTER_AREA
    )
    return cast(Floats, small.astype(np.float64) - small.mean())


def _same_scene(before: Floats, after: Floats) -> bool:
    """Whether two thumbnails are alike, or one of them shows too little to say."""
    if min(before.std(), after.std()) < FLAT:
        return True
    alike = (before * after).mean() / (before.std() * after.std())
    return bool(alike >= SAME_SCENE)
