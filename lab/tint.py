"""
What the hue colours and whether it sets persons apart, without training a segmenter.

A pixel is tinted if the hue moves its Cb or its Cr by more than TINTED levels. Frames of a set
without labels are by day if the upper third of the visible frame is bright, as a sky is.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.argument_types import FloatRange
from segmif.classes import MFNET
from segmif.folders import list_frames, pair_files
from segmif.frames import TINTS, FramePair
from segmif.imaging import codecs
from segmif.imaging.luma import luma
from training.evaluation.evaluate import open_weights
from training.evaluation.fusion_quality import Predict

TINTED = 4  # levels of Cb or Cr
MUCH = 0.15  # of a frame's pixels
DAYLIGHT = 165  # levels: least mean luma of the upper third of a frame by day
SMALLEST = 60  # pixels of a person
RING = (9, 41)  # pixels: sides of the windows that reach its surroundings' inner and outer edge

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Separation:
    """How far persons are from their surroundings in chroma, mean of all persons."""

    levels: float  # distance of the mean chroma
    deviations: float  # difference of mean Cr - Cb, in deviations of it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab tint`."""
    parser.add_argument("--weights", type=Path, default=Path("weights/nano.onnx"))
    parser.add_argument(
        "--plain", type=Path, help="weights whose frames without a hue to compare with [--weights]"
    )
    parser.add_argument(
        "--tints",
        type=FloatRange(*TINTS),
        nargs="+",
        default=[None],
        metavar="0..1",
        help="[as the weights say, also if their hue is fixed]",
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--day", default="roadscene", help="set without labels [roadscene]")
    parser.add_argument("--labelled", nargs="+", default=["mfnet/val", "msrs_test"])


def main(args: argparse.Namespace) -> int:
    """Prints a row for each tint."""
    plain, _ = open_weights(args.plain or args.weights, 0.0)
    for tint in args.tints:
        tinted, _ = open_weights(args.weights, tint)
        shares = [
            float((np.abs(chroma(with_hue) - chroma(without)).max(axis=2) > TINTED).mean())
            for with_hue, without in _by_day(args.data / args.day, tinted, plain)
        ]
        row = [
            f"tint {'as it is' if tint is None else tint}: {args.day} by day, {len(shares)} frames,"
            f" {np.mean(shares):.1%} tinted, at most {max(shares):.1%},"
            f" {sum(share > MUCH for share in shares)} above {MUCH:.0%}"
        ]
        for name in args.labelled:
            found = separation(_labelled(args.data / name, tinted))
            row.append(f"{name} {found.levels:.1f} levels, {found.deviations:.3f} deviations")
        print("; ".join(row), flush=True)
    return 0


def chroma(rgb: Bytes) -> Floats:
    """Cb and Cr (H, W, 2) of a picture (H, W, 3), in levels."""
    red_green_blue = rgb.astype(np.float32)
    grey = red_green_blue @ np.array([0.299, 0.587, 0.114], np.float32)
    blue, red = (red_green_blue[..., 2] - grey) / 1.772, (red_green_blue[..., 0] - grey) / 1.402
    return np.stack([blue, red], axis=-1)


def is_by_day(visible: Bytes) -> bool:
    """Whether the upper third of a frame (H, W, 3) is bright."""
    return bool(luma(visible[: len(visible) // 3]).mean() >= DAYLIGHT)


def separation(pictures: Iterator[tuple[Bytes, Bytes]]) -> Separation:
    """Of the persons in pictures (H, W, 3) with labels (H, W)."""
    levels, deviations = [], []
    for picture, labels in pictures:
        colours = chroma(picture)
        for person, around in _persons(labels):
            inside, outside = colours[person], colours[around]
            levels.append(np.linalg.norm(inside.mean(axis=0) - outside.mean(axis=0)))
            hues = [each[:, 1] - each[:, 0] for each in (inside, outside)]
            spread = (hues[0].var() + hues[1].var()) / 2 + TINTED
            deviations.append((hues[0].mean() - hues[1].mean()) / np.sqrt(spread))
    return Separation(float(np.mean(levels)), float(np.mean(deviations)))


def _persons(labels: Bytes) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """The pixels (H, W) of each person, and those around it that are of none."""
    persons = (labels == MFNET.names.index("person")).astype(np.uint8)
    count, places, facts, _ = cv2.connectedComponentsWithStats(persons)
    for number in range(1, count):
        if facts[number, cv2.CC_STAT_AREA] < SMALLEST:
            continue
        person = (places == number).astype(np.uint8)
        near, far = (cv2.dilate(person, np.ones((side, side), np.uint8)) for side in RING)
        around = (far > near) & (persons == 0)
        if around.any():
            yield person > 0, around


def _by_day(folder: Path, tinted: Predict, plain: Predict) -> Iterator[tuple[Bytes, Bytes]]:
    """The fused frames of a folder's pairs by day, with and without a hue."""
    for files in pair_files(folder / "visible", folder / "infrared").pairs:
        pair = FramePair(codecs.read_visible(files.visible), codecs.read_infrared(files.infrared))
        if is_by_day(pair.visible):
            yield tinted(pair).fused, plain(pair).fused


def _labelled(folder: Path, tinted: Predict) -> Iterator[tuple[Bytes, Bytes]]:
    """The fused frame and the labels of each pair that has any."""
    labels = list_frames(folder / "label").files
    for files in pair_files(folder / "visible", folder / "infrared").pairs:
        if path := labels.get(files.name):
            pair = codecs.read_visible(files.visible), codecs.read_infrared(files.infrared)
            yield tinted(FramePair(*pair)).fused, codecs.read_labels(path)
