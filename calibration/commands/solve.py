"""Calibrates a rig from frames of a board in both cameras: rig.yaml and a report."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
from tqdm import tqdm

from segmif.files import read_frame, write_all
from segmif.geometry.rig import COEFFICIENTS, Model, rig_bytes
from segmif.imaging.codecs import read_counts
from segmif.spared_inputs import check_apart, check_spared

from ..boards.board import Board, add_board_arguments, board_from
from ..boards.detection import Detection, Refusal, detect
from ..io.recordings import (
    add_camera_arguments,
    add_folder_arguments,
    cameras_from_args,
    list_pairs,
    print_notes,
    read_grey,
    swapped_files_hint,
    telemetry_hint,
)
from ..report.rig_report import report_page
from ..solver.bundle_adjustment import PairView
from ..solver.diagnosis import NO_CAUSE, likely_cause
from ..solver.next_view import empty_regions
from ..solver.observability import Undetermined
from ..solver.stereo import MIN_VIEWS, NoRigFits, Size, calibrate
from ..solver.uncertainty import GOOD_PX, Solution, baseline_interval_m

MANY_REGIONS = 4  # of nine parts of a frame: as many without the board are reported


@dataclass(frozen=True)
class DetectedPair:
    """A pair of files and what was detected in them."""

    name: str
    visible_path: Path
    infrared_path: Path
    visible: Detection | Refusal
    infrared: Detection | Refusal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder_arguments(parser)
    add_camera_arguments(parser)
    add_board_arguments(parser)
    for name in ("visible", "infrared"):
        parser.add_argument(
            f"--{name}-model",
            choices=list(COEFFICIENTS),
            default="radtan",
            help="lens (%(default)s)",
        )
    parser.add_argument("--out", type=Path, required=True, help="the rig file to write")
    parser.add_argument("--report", type=Path, help="an HTML page with pictures and numbers")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument(
        "--accept-undetermined",
        action="store_true",
        help="write a rig that its views do not determine, with a mark in the file",
    )


def main(args: argparse.Namespace) -> int:
    board, cameras = board_from(args), cameras_from_args(args)
    paths = list_pairs(args)
    written = [path for path in (args.out, args.report) if path]
    check_spared(written, chain.from_iterable(paths))
    check_apart(written)
    print_notes(swapped_files_hint(*paths[0]))
    shots, sizes = [], set()
    for visible_path, infrared_path in tqdm(paths, desc="boards", unit="pair", disable=None):
        visible = read_grey(visible_path, cameras.visible)
        infrared = read_counts(infrared_path, cameras.infrared)
        sizes.add((visible.shape[1::-1], infrared.shape[1::-1]))
        found = detect(visible, board), detect(infrared, board)
        shots.append(DetectedPair(visible_path.stem, visible_path, infrared_path, *found))
    print_notes(
        {hint for _, heat in sizes for hint in telemetry_hint(heat[::-1], cameras.infrared)}
    )
    if len(sizes) > 1:
        raise ValueError(f"the frames have several sizes (visible, infrared): {sorted(sizes)}")
    refused_frames = refusal_reasons(shots)
    views = usable_views(shots, refused_frames)
    models = (args.visible_model, args.infrared_model)
    used = {view.name for view in views}
    source = f"{board}; {len(used)} views, frames {frames_digest(paths)}"
    solution = calibrate_or_explain(
        views, board, sizes.pop(), models, source, args.accept_undetermined
    )
    solution = replace(solution, rig=replace(solution.rig, frames=cameras))
    numbers = summary(solution, shots, refused_frames)
    contents = {args.out: rig_bytes(solution.rig)}
    if args.report:
        files = {shot.name: (shot.visible_path, shot.infrared_path) for shot in shots}
        refused = cast(dict[str, str], numbers["views_refused"])
        page = report_page(solution, board, files, refused).encode("utf-8", "backslashreplace")
        contents = {args.report: page} | contents
    write_all(contents)  # neither is replaced before both are on the disk
    print(json.dumps(numbers, indent=2) if args.json else summary_text(numbers))
    return 0


def calibrate_or_explain(
    views: Sequence[PairView],
    board: Board,
    sizes: tuple[Size, Size],
    models: tuple[Model, Model],
    source: str,
    accept_undetermined: bool,
) -> Solution:
    """As `calibrate`; the error names what was done to the infrared frames, if it is found."""

    def again(changed: Sequence[PairView], stated: tuple[Size, Size]) -> Solution:
        return calibrate(changed, board, stated, models, accept_undetermined=True)

    try:
        solution = calibrate(
            views, board, sizes, models, source, accept_undetermined=accept_undetermined
        )
    except Undetermined as error:
        raise ValueError(f"{error}; --accept-undetermined writes the rig all the same") from error
    except NoRigFits as error:
        cause = likely_cause(views, board, sizes, again) or NO_CAUSE
        raise ValueError(f"{error} {cause}") from error
    if solution.stereo_rms_px > GOOD_PX and (
        cause := likely_cause(views, board, sizes, again, solution.stereo_rms_px)
    ):
        raise ValueError(f"the corners are {solution.stereo_rms_px:.1f} px off (RMS). {cause}")
    return solution


def refusal_reasons(shots: Sequence[DetectedPair]) -> dict[str, str]:
    """Why pairs cannot be used, by name."""
    refused: dict[str, str] = {}
    for shot in shots:
        said = [
            f"{name}: {found.reason}"
            for name, found in (("visible", shot.visible), ("infrared", shot.infrared))
            if isinstance(found, Refusal)
        ]
        if said:
            refused[shot.name] = "; ".join(said)
    return refused


def usable_views(shots: Sequence[DetectedPair], refused: dict[str, str]) -> list[PairView]:
    """The pairs in which both cameras show the board; raises ValueError for fewer than five."""
    views = [
        PairView(shot.name, shot.visible, shot.infrared)
        for shot in shots
        if isinstance(shot.visible, Detection) and isinstance(shot.infrared, Detection)
    ]
    if len(views) < MIN_VIEWS:
        said = "".join(f"\n  {name}: {reason}" for name, reason in refused.items())
        raise ValueError(
            f"the board is seen by both cameras in {len(views)} of {len(shots)} pairs, at least "
            f"{MIN_VIEWS} are needed{said}"
        )
    return views


def frames_digest(paths: Sequence[tuple[Path, Path]]) -> str:
    """One SHA-256 over all frames in order, its first 12 digits."""
    digest = hashlib.sha256()
    for path in (path for pair in paths for path in pair):
        digest.update(read_frame(path))
    return f"sha256 {digest.hexdigest()[:12]}"


def summary(
    solution: Solution, shots: Sequence[DetectedPair], refused_frames: dict[str, str]
) -> dict[str, object]:
    """What --json prints: px are root mean squares, mm with one standard deviation."""
    low, high = baseline_interval_m(solution)
    return {
        "stereo_rms_px": solution.stereo_rms_px,
        "epipolar_rms_px": float(np.sqrt(np.mean([v.epipolar_px**2 for v in solution.views]))),
        "left_out_rms_px": float(np.sqrt(np.mean([v.left_out_px**2 for v in solution.views]))),
        "baseline_mm": 1e3 * solution.rig.baseline_m,
        "baseline_std_mm": 1e3 * solution.baseline_std_m,
        "baseline_95_percent_mm": [1e3 * low, 1e3 * high],
        "rotation_std_degrees": solution.rotation_std,
        "views_wanted": solution.views_needed,
        "board_motion_mm": 1e3 * solution.bundle.motion_m,
        "visible_found": sum(isinstance(shot.visible, Detection) for shot in shots),
        "infrared_found": sum(isinstance(shot.infrared, Detection) for shot in shots),
        "views_used": [view.name for view in solution.views],
        "views_refused": refused_frames | solution.refused,
        "held_by_experience": list(solution.from_prior),
        "undetermined": solution.undetermined or None,
        "verdict": [*solution.verdict, *uncovered_regions(solution)],
    }


def uncovered_regions(solution: Solution) -> list[str]:
    """A sentence for each camera whose views leave large parts of the frame empty."""
    sentences = []
    for name, camera in zip(("visible", "infrared"), solution.bundle.cameras, strict=True):
        seen = [getattr(view, name).points for view in solution.bundle.views]
        if len(places := empty_regions(seen, (camera.width, camera.height))) >= MANY_REGIONS:
            sentences.append(
                f"No view shows the board at the {', '.join(places)} of the {name} frame: the "
                "lens is extrapolated there. Show the board there too."
            )
    return sentences


def summary_text(numbers: dict[str, object]) -> str:
    refused = cast(dict[str, str], numbers["views_refused"])
    lines = [
        f"baseline {numbers['baseline_mm']:.1f} +/- {numbers['baseline_std_mm']:.1f} mm, "
        f"rotation +/- {numbers['rotation_std_degrees']:.2f} degrees",
        f"stereo RMS {numbers['stereo_rms_px']:.2f} px, "
        f"epipolar {numbers['epipolar_rms_px']:.2f} px",
        f"{len(cast(list[str], numbers['views_used']))} views used, {len(refused)} refused",
        *(f"  {name}: {reason}" for name, reason in refused.items()),
        *cast(list[str], numbers["verdict"]),
    ]
    return "\n".join(lines)
