"""Guides an operator: takes views of a board from live cameras and names the next pose."""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmif.argument_types import IntegerRange
from segmif.files import write_bytes
from segmif.geometry.rig import Floats
from segmif.imaging.codecs import Pixels, encode_png
from segmif.imaging.luma import luma
from segmif.imaging.sensor_format import cropped, infrared_picture
from segmif.sources.open_source import local_path
from segmif.spared_inputs import check_spared
from segmif.thermal.camera_profile import Cameras

from ..boards.board import Board, add_board_arguments, board_from
from ..boards.detection import Detection, Refusal, detect
from ..io.live_sources import LivePair, add_pairing_arguments, opened_both, pairs_of
from ..io.recordings import (
    add_camera_arguments,
    camera_flags,
    cameras_from_args,
    check_no_frames,
)
from ..io.service_pairs import StreamEndpoint, pairs_from_service
from ..report.live_page import Page
from ..report.pictures import Colour, found_corners
from ..solver.bundle_adjustment import PairView
from ..solver.next_view import coverage, next_pose
from ..solver.stereo import MIN_VIEWS, calibrate
from ..solver.uncertainty import WELL, Solution

REST_NS = 500_000_000  # stills so near in time must show the board at one place
REST_SHARE = 0.002  # of the frame's width that a resting board may move
NEW_SHARE = 0.04  # of the frame's width that a new view differs from every old one, mean of corners
WIDTH = 480  # [px] of a frame on the page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("visible", "infrared"):
        parser.add_argument(
            f"--{name}",
            help="a camera's number, a stream's address, a recording, or a folder that fills",
        )
    parser.add_argument("--service", metavar="URL", help="instead, a service that offers its pairs")
    parser.add_argument("--stream", help="name under which the service is sent the pairs")
    parser.add_argument(
        "--token", default=os.environ.get("SEGMIF_TOKEN"), help="of the service; else SEGMIF_TOKEN"
    )
    add_camera_arguments(parser, "as `segmif calibrate solve` takes them")
    add_board_arguments(parser)
    parser.add_argument("--keep", type=Path, required=True, help="new folder for the views")
    parser.add_argument(
        "--views", type=IntegerRange(MIN_VIEWS), default=30, help="to take (%(default)s)"
    )
    add_pairing_arguments(parser, 10.0, "folders or the service")
    parser.add_argument(
        "--port",
        type=IntegerRange(0, 65_535),
        default=8010,
        help="of the page on this machine, 0 none (%(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    stream, live = source(args)
    check_no_frames(args.keep)
    session = Session(board_from(args), args.keep, cameras_from_args(args), live=live)
    with Page(args.port) as page:
        if args.port:
            print(f"pictures on http://127.0.0.1:{args.port}")
        print(f"show the board {session.wanted}", flush=True)
        try:
            for stamp_ns, visible, infrared in stream:
                said = session.take(stamp_ns, visible, infrared)
                wanted = f"Show the board {session.wanted}."
                page.show(session.picture, [said, wanted, session.covered])
                print(said, flush=True)
                if len(session.views) == args.views:
                    break
        except KeyboardInterrupt:
            print("stopped")
    if session.solution is None:
        print(f"{len(session.views)} views in {args.keep} make no rig yet: {session.lacking}")
        return 1
    told = " ".join(["", "with", *camera_flags(args)]) if camera_flags(args) else ""
    print(
        f"{len(session.views)} views in {args.keep}; "
        f"now run `segmif calibrate solve` on its two folders{told}"
    )
    return 0


def source(args: argparse.Namespace) -> tuple[Iterator[LivePair], bool]:
    """
    Pairs from the source that the flags name, and whether it is live.

    Raises ValueError if they name none or two.
    """
    tolerance_ns = round(args.tolerance_ms * 1e6)
    if args.service and (stated := camera_flags(args)):
        raise ValueError(
            f"{stated[0]}: the service applies its own settings to its pairs; state it there"
        )
    if args.service and args.stream and not (args.visible or args.infrared):
        endpoint = StreamEndpoint(args.service, args.stream, args.token)
        return pairs_from_service(endpoint, tolerance_ns, args.patience_s), True
    if not (args.visible and args.infrared) or args.service or args.stream:
        raise ValueError("give --visible with --infrared, or --service with --stream")
    kept = [args.keep / name for name in ("visible", "infrared")]
    check_spared(kept, filter(None, map(local_path, (args.visible, args.infrared))))
    sources = opened_both(args.visible, args.infrared, args.patience_s)
    return pairs_of(*sources, tolerance_ns), sources[0].live


@dataclass
class Session:
    """The views taken so far, and their solution."""

    board: Board
    keep: Path
    cameras: Cameras = field(default_factory=Cameras)  # what is stated of the frames
    live: bool = False  # a view needs a pair before it that shows the board at its place
    views: list[PairView] = field(default_factory=list)
    solution: Solution | None = None
    lacking: str = f"at least {MIN_VIEWS} are needed"  # why there is no solution
    picture: Colour = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))
    covered: str = ""  # shares of the frames that boards have covered, in words
    wanted: str = field(init=False)  # the pose to show next, in words; its search takes long
    _before: tuple[int, Floats] | None = None  # stamp and corners of the pair before

    def __post_init__(self) -> None:
        self.wanted = next_pose(0, None, self.board)

    def take(self, stamp_ns: int, visible: NDArray[np.uint8], infrared: Pixels) -> str:
        """
        Detect the board in a pair, visible (H, W, 3) RGB and infrared (H, W); returns the result.

        Raises ImageError if a crop leaves nothing, and for counts whose bytes seem swapped.
        """
        grey = cropped(luma(visible), self.cameras.visible.crop)
        heat = infrared_picture(infrared, self.cameras.infrared)
        found = detect(grey, self.board, quick=True), detect(heat, self.board, quick=True)
        first, second = found
        self._show((grey, heat), found)
        if isinstance(first, Refusal):
            return f"not taken: visible: {first.reason}"
        if isinstance(second, Refusal):
            return f"not taken: infrared: {second.reason}"
        if refusal := self._not_new(stamp_ns, first, grey.shape[1]):
            return f"not taken: {refusal}"
        self._keep(stamp_ns, visible, infrared)
        self.views.append(PairView(f"{stamp_ns:019d}", first, second))
        sizes = (grey.shape[1], grey.shape[0]), (heat.shape[1], heat.shape[0])
        learnt = self._learn(sizes)
        self.wanted = next_pose(len(self.views), self.solution, self.board)
        return f"view {len(self.views)} taken; {learnt}; next {self.wanted}"

    def _not_new(self, stamp_ns: int, seen: Detection, width: int) -> str:
        before, self._before = self._before, (stamp_ns, seen.points)
        if refusal := self._not_at_rest(before, stamp_ns, seen.points, width):
            return refusal
        nearest = min(
            (_mean_distance(v.visible.points, seen.points) for v in self.views), default=np.inf
        )
        if nearest < NEW_SHARE * width:
            return "a view like an earlier one"
        return ""

    def _not_at_rest(
        self, before: tuple[int, Floats] | None, stamp_ns: int, points: Floats, width: int
    ) -> str:
        """Why the board may move; of stills a pair without one just before is taken."""
        if before is None:
            return "the board was not seen before: hold it still" if self.live else ""
        moved, since_ns = _mean_distance(before[1], points), stamp_ns - before[0]
        if moved <= REST_SHARE * width:
            return ""
        if since_ns < REST_NS:
            return f"the board moves ({moved:.1f} px since the last pair): hold it still"
        if self.live:  # a slow camera, too, shows a board that rests at one place twice
            return f"the board was elsewhere {since_ns / 1e9:.1f} s before: hold it still"
        return ""

    def _learn(self, sizes: tuple[tuple[int, int], tuple[int, int]]) -> str:
        if len(self.views) < MIN_VIEWS:
            return f"{MIN_VIEWS - len(self.views)} more before a first solution"
        try:
            self.solution = calibrate(self.views, self.board, sizes)
        except ValueError as error:
            self.solution, self.lacking = None, str(error)
            return f"no solution yet: {error}"
        rig, std_m = self.solution.rig, self.solution.baseline_std_m
        word = ", well determined" if std_m < WELL * rig.baseline_m else ""
        return (
            f"baseline {1e3 * rig.baseline_m:.1f} +/- {1e3 * std_m:.1f} mm{word}, rotation "
            f"+/- {self.solution.rotation_std:.2f} degrees; about {self.solution.views_needed} "
            "views are needed"
        )

    def _show(
        self, frames: tuple[Pixels, Pixels], found: tuple[Detection | Refusal, Detection | Refusal]
    ) -> None:
        """Both frames side by side, with the corners of this pair and of all views so far."""
        before = (
            [view.visible.points for view in self.views],
            [view.infrared.points for view in self.views],
        )
        together = zip(frames, found, before, strict=True)
        pictures = [found_corners(frame, seen, WIDTH, old) for frame, seen, old in together]
        height = max(one.shape[0] for one in pictures)
        self.picture = np.hstack(
            [np.pad(one, ((0, height - one.shape[0]), (0, 0), (0, 0))) for one in pictures]
        )
        shares = [
            coverage(old, frame.shape[1::-1]) for frame, old in zip(frames, before, strict=True)
        ]
        self.covered = (
            "Blue dots: corners so far, near {:.0f} % of visible and {:.0f} % of infrared.".format(
                *shares
            )
        )

    def _keep(self, stamp_ns: int, visible: NDArray[np.uint8], infrared: Pixels) -> None:
        for name, frame in (("visible", visible), ("infrared", infrared)):
            folder = self.keep / name
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / f"{stamp_ns:019d}.png", encode_png(frame))


def _mean_distance(first: Floats, second: Floats) -> float:
    """Mean distance of the same corners [px]; infinite for other parts of a board."""
    if first.shape != second.shape:
        return float("inf")
    return float(np.linalg.norm(first - second, axis=1).mean())
