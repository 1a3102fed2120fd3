"""The map between two cameras from minutes of ordinary motion, and how well it is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from segmif.geometry.rig import Floats

from .moving_targets import Difference, Small, StillCamera
from .plane_model import PlaneFit, PlaneModel, fit_plane
from .target_edges import shifted
from .target_search import Meetings, Pair, Size, meetings, search, tracks

Across = Callable[[Floats], Floats]  # small visible pixels (N, 2) -> small infrared ones

BOXES, EDGES = (0.06, 0.03), (0.03, 0.012)  # of infrared's width: reach of each round
MIN_MOMENTS, MIN_TARGETS, MIN_TRACKS = 40, 60, 8
STILL_SHARE = 0.5  # of the pairs, in which a camera must stand still
CHANCE = 2.0  # times as many targets meet as with infrared moved in time
CELLS = 3  # along a side of the frame, for the parts that nothing crossed
GRID = 16, 12  # points of the frame for its uncertainty
DRAWS = 200
# What the covariance does not know: outlines that differ between the spectra. Rendered ones would
# be covered by half of that; those of real clothes and shadows differ more.
SYSTEMATIC_PX = 0.3  # [px of a small infrared frame]
INFLATION = 1.3
MOST_OFF = 0.04  # of the visible frame's width: stated error of 95 % of it


@dataclass(frozen=True)
class Scenes:
    """Small frames of both cameras at the same moments, and the sizes of the whole frames."""

    visible: Sequence[Small]
    infrared: Sequence[Small]
    sizes: tuple[Size, Size]


@dataclass(frozen=True)
class SceneFit:
    """A fit, and what is known of it."""

    fit: PlaneFit
    targets: int  # measurements
    tracks: int  # persons and vehicles that they are of
    median_px: float  # of the visible frame: half of it is less far off than that, at 95 %
    most_px: float  # of the visible frame: 95 % of it is less far off than that, at 95 %
    residual_px: float  # median, infrared
    empty: tuple[str, ...]  # parts of the visible frame that no target crossed


def fit_scenes(scenes: Scenes, model: PlaneModel, seed: int = 0) -> SceneFit:
    """Fit a model to what moves; raises ValueError that says what is missing."""
    random = np.random.default_rng(seed)
    cameras = StillCamera(scenes.visible), StillCamera(scenes.infrared)
    moments, frames = _moments(cameras, len(scenes.visible)), _Frames(scenes)
    A = search(moments, frames.small, random)
    found = _near(moments, frames, BOXES[0], lambda middles: middles @ A[:, :2].T + A[:, 2])
    fit = _fitted(model, found, frames, len(moments))
    found = _near(moments, frames, BOXES[1], frames.map_of(fit))
    fit = _fitted(model, found, frames, len(moments), fit.numbers)
    _check_chance(moments, frames, fit)
    for reach in EDGES:
        found = _near(moments, frames, BOXES[1], frames.map_of(fit))
        seen = _measured(cameras, found, fit, frames, round(reach * frames.small[0][0]))
        fit = _fitted(model, seen, frames, len(moments), fit.numbers)
    return _stated(fit, seen, frames, random)


def _near(
    moments: Sequence[Pair], frames: "_Frames", reach: float, across: Across, by: int = 0
) -> Meetings:
    """Targets that meet by a map of small frames, within a share of infrared's width."""
    there = [across(visible.middles) for visible, _ in moments]
    return meetings(moments, there, reach * frames.small[1][0], by)


def _fitted(
    model: PlaneModel, found: Meetings, frames: "_Frames", count: int, start: Floats | None = None
) -> PlaneFit:
    of = tracks(found)
    several = int(of.max(initial=-1)) + 1
    if len(found.times) < MIN_TARGETS or several < MIN_TRACKS:
        raise ValueError(
            f"{len(found.times)} targets of {several} persons or vehicles move alike in both "
            f"frames of {count} pairs, at least {MIN_TARGETS} of {MIN_TRACKS} are needed: record "
            "longer"
        )
    visible, infrared = frames.whole(0, found.visible), frames.whole(1, found.infrared)
    return fit_plane(model, visible, infrared, of, start)


class _Frames:
    """Pixels of whole frames and of small ones."""

    def __init__(self, scenes: Scenes) -> None:
        pictures = scenes.visible[0], scenes.infrared[0]
        self.sizes = scenes.sizes
        self.small: tuple[Size, Size] = (
            (pictures[0].shape[1], pictures[0].shape[0]),
            (pictures[1].shape[1], pictures[1].shape[0]),
        )
        self._factors = [
            np.array(whole) / np.array(part)
            for whole, part in zip(self.sizes, self.small, strict=True)
        ]

    def whole(self, camera: int, pixels: Floats) -> Floats:
        """Pixels (N, 2) of the small frame of camera 0, visible, or 1, infrared."""
        return np.asarray((pixels + 0.5) * self._factors[camera] - 0.5, np.float64)

    def part(self, camera: int, pixels: Floats) -> Floats:
        """The opposite of `whole`."""
        return np.asarray((pixels + 0.5) / self._factors[camera] - 0.5, np.float64)

    def across(self, fit: PlaneFit, visible: Floats) -> Floats:
        """Small visible pixels (N, 2) in the small infrared frame."""
        if not len(visible):
            return visible
        return self.part(1, fit.infrared_pixels(self.whole(0, visible)))

    def map_of(self, fit: PlaneFit) -> Across:
        """`across` by one fit."""
        return lambda visible: self.across(fit, visible)

    def local(self, fit: PlaneFit, middle: Floats) -> Floats:
        """The affine map (2, 3) that is as `across` near a pixel (2,)."""
        about = self.across(fit, middle + np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]))
        linear = np.column_stack([(about[1] - about[2]) / 2, (about[3] - about[4]) / 2])
        return np.column_stack([linear, about[0] - linear @ middle])


def _moments(cameras: tuple[StillCamera, StillCamera], count: int) -> list[Pair]:
    moments, moving = [], 0
    for at in range(count):
        differences: list[Difference] = [camera.difference(at) for camera in cameras]
        moving += any(one.everywhere() for one in differences)
        moments.append((differences[0].targets(), differences[1].targets()))
    if moving > (1 - STILL_SHARE) * count:
        raise ValueError(
            f"most of the picture changes in {moving} of {count} pairs: the cameras move; "
            "let them stand still while people or vehicles pass"
        )
    both = sum(bool(len(one.middles) and len(two.middles)) for one, two in moments)
    if both < MIN_MOMENTS:
        raise ValueError(
            f"something moves before both cameras in {both} of {count} pairs, at least "
            f"{MIN_MOMENTS} are needed: record minutes in which people or vehicles pass"
        )
    return moments


def _measured(
    cameras: tuple[StillCamera, StillCamera],
    found: Meetings,
    fit: PlaneFit,
    frames: _Frames,
    reach: int,
) -> Meetings:
    """The same targets, each with its infrared position by edges; without those that have none."""
    kept, places = [], []
    for time in np.unique(found.times):
        differences = [camera.difference(int(time)) for camera in cameras]
        for at in np.flatnonzero(found.times == time):
            middle, half = found.visible[at], (found.sizes[at] - 1) / 2
            A = frames.local(fit, middle)
            box = np.concatenate([middle - half, middle + half])
            place = shifted(differences[0], differences[1], A, box, reach)
            if place is not None:
                kept.append(at)
                places.append(place)
    rows = np.array(kept, np.intp)
    return Meetings(
        found.times[rows],
        found.visible[rows],
        np.array(places).reshape(-1, 2),
        found.sizes[rows],
    )


def _check_chance(moments: Sequence[Pair], frames: _Frames, fit: PlaneFit) -> None:
    """Raise ValueError if as much meets with infrared moved in time."""
    step = len(moments) // 7
    count, *others = (
        len(_near(moments, frames, BOXES[1], frames.map_of(fit), by * step).times)
        for by in (0, 2, 3, 4, 5)
    )
    if count < CHANCE * max(others):
        raise ValueError(
            f"{count} targets agree, and {max(others)} if infrared is moved in time: what moves "
            "is not the same in both recordings, or too much moves at once: check the pairing in "
            "time (segmif calibrate pair)"
        )


def _stated(
    fit: PlaneFit, seen: Meetings, frames: _Frames, random: np.random.Generator
) -> SceneFit:
    grid = visible_grid(frames.sizes[0])
    there = fit.infrared_pixels(grid)
    inside = ((there >= 0) & (there <= np.array(frames.sizes[1]) - 1)).all(1)
    scale = np.sqrt(np.abs([np.linalg.det(_jacobian(fit, one)) for one in grid[inside]]))
    systematic = SYSTEMATIC_PX * frames.sizes[1][0] / frames.small[1][0]
    off = INFLATION * fit.drawn(grid[inside], DRAWS, random)
    off += random.normal(0, systematic, (DRAWS, 1, 2))
    lengths = np.linalg.norm(off, axis=2) / scale
    median, most = (float(np.quantile(np.quantile(lengths, q, axis=1), 0.95)) for q in (0.5, 0.95))
    empty = _empty(frames.whole(0, seen.visible), frames.sizes[0])
    if not most < MOST_OFF * frames.sizes[0][0]:
        missing = ", ".join(empty) or "its rim"
        raise ValueError(
            f"the scenes do not determine the whole frame (uncertain by {most:.0f} px of visible): "
            f"nothing moved through {missing}; record people or vehicles there too"
        )
    residual = float(np.median(fit.residuals))
    several = int(tracks(seen).max()) + 1
    return SceneFit(fit, len(seen.times), several, median, most, residual, empty)


def visible_grid(size: Size) -> Floats:
    """Pixels (N, 2) spread over a frame."""
    x, y = (np.linspace(0, side - 1, count) for side, count in zip(size, GRID, strict=True))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _jacobian(fit: PlaneFit, pixel: Floats) -> Floats:
    about = fit.infrared_pixels(pixel + np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]))
    return np.column_stack([(about[0] - about[1]) / 2, (about[2] - about[3]) / 2])


def _empty(visible: Floats, size: Size) -> tuple[str, ...]:
    cells = np.minimum((visible / size * CELLS).astype(int), CELLS - 1)
    crossed = {(int(row), int(column)) for column, row in cells}
    return tuple(
        f"the {down} {across}"
        for row, down in enumerate(("top", "middle", "bottom"))
        for column, across in enumerate(("left", "middle", "right"))
        if (row, column) not in crossed
    )
