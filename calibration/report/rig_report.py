"""The report of a calibration: one HTML page without other files."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from segmif.geometry.alignment import parallax_px
from segmif.geometry.rig import Floats
from segmif.imaging.codecs import Pixels, encode_jpeg, read_counts
from segmif.thermal.camera_profile import Cameras

from ..boards.board import Board
from ..io.recordings import read_grey
from ..solver.bundle_adjustment import residuals
from ..solver.next_view import coverage, next_pose
from ..solver.stereo import Size
from ..solver.uncertainty import Solution, baseline_interval_m
from . import pictures

ARROWS = 40.0  # drawn length over true length
THUMB = 400  # [px] width of a frame with its corners
MOST_THUMBS = 12  # views; more would make the page slow
NEAR, FAR = 0.5, 2.0  # of the board's depth, for the expected parallax

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1240px;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:right;
border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
.row{display:flex;flex-wrap:wrap;gap:12px}.row figure{margin:0}img,svg{max-width:100%;height:auto}
figcaption{color:#555;font-size:13px}.verdict{background:#f3f6ea;padding:.6rem 1rem;
border-left:4px solid #7a9a2e}svg{background:#fafafa;border:1px solid #ccc}
"""

ERRORS = ("visible", "infrared", "both", "epipolar", "left out")

Files = Mapping[str, tuple[Path, Path]]


def report_page(solution: Solution, board: Board, files: Files, refused: Mapping[str, str]) -> str:
    """The page as HTML; `files` are the visible and infrared frame by name."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Rig calibration</title>",
        f"<style>{STYLE}</style><h1>Calibration of a visible and an infrared camera</h1>",
        f"<p>{escape(str(board))}</p>",
        f"<div class=verdict>{escape(' '.join(solution.verdict))}</div>",
        _numbers(solution),
        _views(solution, refused),
        _alignment(solution, files),
        _maps(solution, board),
        _detections(solution, files),
        "</html>",
    ]
    return "\n".join(parts)


def _numbers(solution: Solution) -> str:
    rig, low_high = solution.rig, baseline_interval_m(solution)
    spread = np.sqrt(np.diag(solution.pair_covariance))
    middle = 4 + rig.visible.distortion.size
    depth = float(np.median([view.depth_m for view in solution.views]))
    near, far = (parallax_px(rig, depth, share * depth) for share in (NEAR, FAR))
    turn = np.degrees(cv2.Rodrigues(rig.R)[0].ravel())
    rows = [
        ("stereo RMS", f"{solution.stereo_rms_px:.3f} px"),
        (
            "baseline",
            f"{1e3 * rig.baseline_m:.2f} &plusmn; {1e3 * solution.baseline_std_m:.2f} mm "
            f"(95 %: {1e3 * low_high[0]:.1f} to {1e3 * low_high[1]:.1f} mm), "
            "if the board measures what was stated: 1 % in it is 1 % here",
        ),
        ("board's motion between exposures", f"{1e3 * solution.bundle.motion_m:.2f} mm"),
        (
            "baseline without one view",
            f"{1e3 * solution.baseline_left_out_m.min():.2f} to "
            f"{1e3 * solution.baseline_left_out_m.max():.2f} mm",
        ),
        (
            "infrared camera in the visible camera's frame",
            _vector(1e3 * rig.infrared_position_m, "mm"),
        ),
        (
            "rotation visible to infrared",
            f"{_vector(turn, '&deg;')} &plusmn; {_vector(np.degrees(spread[-6:-3]), '&deg;')}, "
            f"&plusmn; {solution.rotation_std:.3f}&deg; in all",
        ),
        *_camera_rows("visible", rig.visible.K, rig.visible.distortion, spread[:middle]),
        *_camera_rows("infrared", rig.infrared.K, rig.infrared.distortion, spread[middle:-6]),
        (
            f"parallax when {depth:.2f} m is aligned",
            f"{near:.1f} px at {NEAR * depth:.2f} m, {far:.1f} px at {FAR * depth:.2f} m",
        ),
    ]
    table = "".join(f"<tr><td>{name}<td>{value}" for name, value in rows)
    return f"<h2>Numbers</h2><table>{table}</table>{_from_prior(solution)}"


def _from_prior(solution: Solution) -> str:
    if not solution.from_prior:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in solution.from_prior)
    return f"<p>From experience rather than from the frames:</p><ul>{items}</ul>"


def _camera_rows(name: str, K: Floats, distortion: Floats, spread: Floats) -> list[tuple[str, str]]:
    values = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    pairs = zip(("fx", "fy", "cx", "cy"), values, spread[:4], strict=True)
    numbers = ", ".join(f"{label} {value:.1f} &plusmn; {std:.1f}" for label, value, std in pairs)
    lens = ", ".join(
        f"{value:.4f} &plusmn; {std:.4f}" for value, std in zip(distortion, spread[4:], strict=True)
    )
    return [(f"{name} [px]", numbers), (f"{name} distortion", lens)]


def _views(solution: Solution, refused: Mapping[str, str]) -> str:
    head = ["view", *(f"{what} px" for what in ERRORS), "depth m"]
    rows = [
        (v.name, v.visible_px, v.infrared_px, v.stereo_px, v.epipolar_px, v.left_out_px, v.depth_m)
        for v in solution.views
    ]
    body = "".join(
        f"<tr><td>{escape(name)}" + "".join(f"<td>{value:.2f}" for value in values)
        for name, *values in rows
    )
    refusals = "".join(f"<li>{escape(n)}: {escape(why)}</li>" for n, why in refused.items())
    return (
        "<h2>Views</h2><table><tr>"
        + "".join(f"<th>{name}" for name in head)
        + f"{body}</table><p>Root mean squares. <i>Left out</i>: how far the view is from the rig "
        f"that the others make.</p><h2>Refused</h2><ul>{refusals or '<li>none</li>'}</ul>"
    )


def _alignment(solution: Solution, files: Files) -> str:
    best = min(solution.views, key=lambda view: view.left_out_px)
    visible, infrared = _frames(files[best.name], solution.rig.frames)
    before, after = pictures.blends(solution.rig, visible, infrared, best.depth_m)
    shown = [
        ("before: infrared stretched to the visible frame", before),
        (f"after: aligned to a plane at {best.depth_m:.2f} m", after),
        (
            "infrared red over visible cyan: one board",
            pictures.overlay(solution.rig, visible, infrared, best.depth_m),
        ),
    ]
    figures = "".join(_figure(_shrink(picture, 600), text) for text, picture in shown)
    lines = _figure(
        pictures.rectified_pair(solution.rig, visible, infrared),
        "rectified: the same point lies on the same line in both",
    )
    return (
        f"<h2>Alignment, view {escape(best.name)}</h2><div class=row>{figures}</div>"
        f"<h2>Epipolar lines</h2><div class=row>{lines}</div>"
    )


def _maps(solution: Solution, board: Board) -> str:
    bundle = solution.bundle
    figures = []
    for which, (name, camera) in enumerate(
        zip(("visible", "infrared"), bundle.cameras, strict=True)
    ):
        points = [(view.visible, view.infrared)[which].points for view in bundle.views]
        errors = [residuals(bundle, at)[which] for at in range(len(bundle.views))]
        size = (camera.width, camera.height)
        figures.append(_map(np.vstack(points), np.vstack(errors), size, name))
    pose = next_pose(len(bundle.views), solution, board)
    return (
        "<h2>Coverage and residuals</h2><p>Each corner at its place in the frame; the arrow goes "
        f"from projected to seen, {ARROWS:g} times too long. The lens is extrapolated "
        f"in places without dots. The most informative next view: the board {escape(pose)}.</p>"
        f"<div class=row>{''.join(figures)}</div>"
    )


def _map(points: Floats, errors: Floats, size: Size, name: str) -> str:
    unit = size[0] / 640
    marks = "".join(
        f'<path d="M{x:.1f} {y:.1f}l{dx:.1f} {dy:.1f}" stroke="#c40"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2 * unit:.1f}" fill="#369"/>'
        for (x, y), (dx, dy) in zip(points, ARROWS * unit * errors, strict=True)
    )
    return (
        f'<figure><svg width="580" viewBox="0 0 {size[0]} {size[1]}" stroke-width="{unit:.1f}">'
        f"{marks}</svg><figcaption>{name}, {coverage([points], size):.0f} % of the frame has been "
        "near a corner</figcaption></figure>"
    )


def _detections(solution: Solution, files: Files) -> str:
    figures = []
    for view in solution.bundle.views[:MOST_THUMBS]:
        frames = _frames(files[view.name], solution.rig.frames)
        for frame, seen in zip(frames, (view.visible, view.infrared), strict=True):
            text = f"{view.name}: {seen.how}, {len(seen.ids)} corners, {seen.sigma_px:.2f} px"
            figures.append(_figure(pictures.found_corners(frame, seen, THUMB), text))
    left = len(solution.bundle.views) - MOST_THUMBS
    more = f"<p>and {left} more views</p>" if left > 0 else ""
    return f"<h2>Corners</h2><div class=row>{''.join(figures)}</div>{more}"


def _frames(paths: Sequence[Path], cameras: Cameras) -> tuple[Pixels, Pixels]:
    visible, infrared = paths
    return read_grey(visible, cameras.visible), read_counts(infrared, cameras.infrared)


def _figure(picture: pictures.Colour, caption: str) -> str:
    data = b64encode(encode_jpeg(picture, 88)).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _shrink(picture: pictures.Colour, width: int) -> pictures.Colour:
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _vector(values: Floats, unit: str) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in values) + f") {unit}"
