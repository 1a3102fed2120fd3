"""
Which moving target of one camera is which of the other: by where both cameras see things move.

At one moment nothing says which of two targets belong together. Over minutes one affine map makes
far more of them meet than any other does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats

from .moving_targets import Targets

Pair = tuple[Targets, Targets]  # visible, infrared, of one moment
Size = tuple[int, int]  # width, height [px]
Ints = NDArray[np.intp]

TRIES, MOMENTS = 1500, 150
REACH = 0.06  # of the infrared frame's width: how far targets may lie off by the affine map
# Of two cameras that look at one scene: scale beside that of the frames' widths, its inequality
# across and down, and the turn about the axis [degrees].
SCALES, STRETCH, TURN = (0.4, 2.5), 1.5, 30.0
LEAST_AREA = 0.01  # of the frame, of the triangle of three targets


@dataclass(frozen=True)
class Meetings:
    """Targets that meet by a map [px of the small frames]."""

    times: Ints  # (N,) index of the pair of frames
    visible: Floats  # (N, 2) middles
    infrared: Floats  # (N, 2) middles
    sizes: Floats  # (N, 2) of the visible boxes


def search(
    moments: Sequence[Pair], sizes: tuple[Size, Size], random: np.random.Generator
) -> Floats:
    """The affine map (2, 3) visible -> infrared by which most targets meet; three are tried."""
    chosen = _clearest(moments, random)
    padded = (
        _padded([one.middles for one, _ in chosen]),
        _padded([two.middles for _, two in chosen]),
    )
    best, found = -1.0, np.eye(2, 3)
    for _ in range(TRIES):
        picks = random.choice(len(chosen), 3, replace=len(chosen) < 3)
        corners = [
            np.array([side[random.integers(len(side))] for side in sides])
            for sides in zip(*[[t.middles for t in chosen[k]] for k in picks], strict=True)
        ]
        A = _affine(corners[0], corners[1], sizes)
        if A is None:
            continue
        score = _score(A, padded[0], padded[1], REACH * sizes[1][0])
        if score > best:
            best, found = score, A
    return found


def meetings(
    moments: Sequence[Pair], there: Sequence[Floats], reach: float, by: int = 0
) -> Meetings:
    """
    Targets that are each other's nearest within `reach`.

    `there` are the visible middles in the infrared frame. With `by`, infrared is that many moments
    later: what meets then does so by chance.
    """
    rows, times = [], []
    for at, (visible, _) in enumerate(moments):
        infrared = moments[(at + by) % len(moments)][1].middles
        if not len(there[at]) or not len(infrared):
            continue
        gaps = np.linalg.norm(there[at][:, None] - infrared[None], axis=2)
        for one, other in enumerate(gaps.argmin(1)):
            if gaps[one, other] < reach and gaps[:, other].argmin() == one:
                rows.append([*visible.middles[one], *infrared[other], *visible.sizes[one]])
                times.append(at)
    found = np.array(rows, np.float64).reshape(-1, 6)
    return Meetings(np.array(times, np.intp), found[:, :2], found[:, 2:4], found[:, 4:])


def tracks(found: Meetings) -> Ints:
    """(N,) which of the meetings are of one person or vehicle: their errors are of one mind."""
    track = np.full(len(found.times), -1, np.intp)
    count = 0
    for at in range(len(found.times)):
        before = np.flatnonzero(
            (found.times < found.times[at]) & (found.times >= found.times[at] - 3)
        )
        gaps = np.linalg.norm(found.visible[before] - found.visible[at], axis=1)
        near = gaps < 0.7 * found.sizes[at].max()
        if near.any():
            track[at] = track[before[np.where(near, gaps, np.inf).argmin()]]
        else:
            track[at], count = count, count + 1
    return track


def _clearest(moments: Sequence[Pair], random: np.random.Generator) -> list[Pair]:
    """The moments with few targets, which leave less to chance, drawn from all times."""
    both = [pair for pair in moments if len(pair[0].middles) and len(pair[1].middles)]
    drawn = [both[k] for k in random.permutation(len(both))]
    return sorted(drawn, key=lambda pair: len(pair[0].middles) * len(pair[1].middles))[:MOMENTS]


def _padded(middles: Sequence[Floats]) -> Floats:
    """(T, N, 2) of middles (n, 2) each; what is not there is NaN."""
    full = np.full((len(middles), max(len(one) for one in middles), 2), np.nan)
    for at, one in enumerate(middles):
        full[at, : len(one)] = one
    return full


def _score(A: Floats, visible: Floats, infrared: Floats, reach: float) -> float:
    """How many targets meet, the nearer the more (a truncated square)."""
    there = visible @ A[:, :2].T + A[:, 2]
    gaps = ((there[:, :, None] - infrared[:, None]) ** 2).sum(-1)
    return float(np.fmax(0, 1 - gaps / reach**2).max(2).sum())


def _affine(first: Floats, second: Floats, sizes: tuple[Size, Size]) -> Floats | None:
    """The affine map of three points; None for one that two cameras of one view cannot have."""
    (width, height), (infrared_width, _) = sizes
    corners = np.column_stack([first, np.ones(3)])
    if abs(np.linalg.det(corners)) / 2 < LEAST_AREA * width * height:
        return None
    A = np.linalg.solve(corners, second).T
    stretch = np.linalg.svd(A[:, :2], compute_uv=False)
    if np.linalg.det(A[:, :2]) <= 0 or stretch[0] > STRETCH * stretch[1]:
        return None
    scale = float(np.sqrt(stretch.prod())) * width / infrared_width
    turn = np.degrees(np.arctan2(A[1, 0] - A[0, 1], A[0, 0] + A[1, 1]))
    fits = SCALES[0] < scale < SCALES[1] and abs(turn) < TURN
    return np.asarray(A, np.float64) if fits else None
