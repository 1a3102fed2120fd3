"""
`python -m lab labeller`: a detector and a street segmenter propose masks by day.

A program for `segmif train export-labels --labeller`. The segmenter (Cityscapes) says which pixels
are a car, a person or a bike. Where the detector (COCO) sees one that the segmenter does not, its
box is left open. Of a dark frame nothing is proposed.
"""

import argparse
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE
from segmif.imaging.codecs import decode_visible, encode_png, resize
from segmif.imaging.luma import luma
from segmif.runtime.onnxruntime_ import onnxruntime
from training.data.sources import data_root

Frame = NDArray[np.uint8]  # (H, W, 3) RGB
Labels = NDArray[np.uint8]  # (H, W) places in CLASSES, or IGNORE
Segment = Callable[[Frame], Labels]

CLASSES = ("background", "car", "person", "bike")
CAR, PERSON, BIKE = 1, 2, 3
# Train ids of Cityscapes: person, rider, car, truck, bus, motorcycle, bicycle.
OF_CITYSCAPES = {11: PERSON, 12: PERSON, 13: CAR, 14: CAR, 15: CAR, 17: BIKE, 18: BIKE}
# Ids of COCO: person, bicycle, car, motorcycle, bus, truck.
OF_COCO = {0: PERSON, 1: BIKE, 2: CAR, 3: BIKE, 5: CAR, 7: CAR}
DARK = 60.0  # mean luma, of 255: the segmenter has learnt streets by day
SCORE = 0.4  # of a box that counts
FOUND = 0.2  # of a box: less of its class in it, and the segmenter has missed what is there
STRIDES, GREY = (8, 16, 32), 114  # of YOLOX: its grids, and what surrounds a frame


@dataclass(frozen=True)
class Box:
    """An object that the detector sees, in pixels of the frame."""

    label: int  # place in CLASSES
    left: int
    top: int
    right: int
    bottom: int


Detect = Callable[[Frame], list[Box]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab labeller`."""
    folder = data_root() / "weights"
    parser.add_argument(
        "--detector", type=Path, default=folder / "yolox_nano_coco.onnx", help="YOLOX of COCO, ONNX"
    )
    parser.add_argument(
        "--segmenter",
        type=Path,
        default=folder / "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite",
        help="of Cityscapes, TFLite that gives train ids; needs ai-edge-litert",
    )


def main(args: argparse.Namespace) -> int:
    """Answers the frames of the standard input; gives the exit code."""
    segment, detect = open_segmenter(args.segmenter), open_detector(args.detector)
    for answer in answers(sys.stdin, segment, detect):
        print(answer, flush=True)
    return 0


def answers(lines: Iterable[str], segment: Segment, detect: Detect) -> Iterator[str]:
    """An answer for each request, as `training.labels.labeller` has them."""
    for line in lines:
        labels = proposed(decode_visible(b64decode(json.loads(line)["visible"])), segment, detect)
        found = {} if labels is None else {"mask": b64encode(encode_png(labels)).decode()}
        yield json.dumps({"classes": CLASSES, **found})


def proposed(visible: Frame, segment: Segment, detect: Detect) -> Labels | None:
    """The mask of a frame; None if it is dark."""
    if luma(visible).mean() < DARK:
        return None
    labels = segment(visible)
    opened = labels.copy()
    for box in detect(visible):
        inside = slice(box.top, box.bottom), slice(box.left, box.right)
        if labels[inside].size and (labels[inside] == box.label).mean() < FOUND:
            within = opened[inside]
            within[within == 0] = IGNORE
    return opened


def open_segmenter(path: Path) -> Segment:
    """The segmenter of a file; raises ModuleNotFoundError, or ValueError for another network."""
    from ai_edge_litert.interpreter import Interpreter

    if not path.is_file():
        raise FileNotFoundError(f"no segmenter at {path}: name it by --segmenter")
    network = Interpreter(str(path))
    network.allocate_tensors()
    (given,), (made,) = network.get_input_details(), network.get_output_details()
    height, width = (int(side) for side in given["shape"][1:3])
    table = np.zeros(256, np.uint8)
    for theirs, ours in OF_CITYSCAPES.items():
        table[theirs] = ours

    def segment(visible: Frame) -> Labels:
        network.set_tensor(given["index"], resize(visible, height, width)[None])
        network.invoke()
        ids = network.get_tensor(made["index"])[0].astype(np.uint8)
        labels: Labels = table[resize(ids, *visible.shape[:2], nearest=True)]
        return labels

    return segment


def open_detector(path: Path) -> Detect:
    """The detector of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"no detector at {path}: name it by --detector")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    side = int(given.shape[2])

    def detect(visible: Frame) -> list[Box]:
        height, width = visible.shape[:2]
        scale = side / max(height, width)
        small = resize(visible, round(height * scale), round(width * scale))
        square = np.full((side, side, 3), GREY, np.uint8)
        square[: small.shape[0], : small.shape[1]] = small
        planes = cv2.cvtColor(square, cv2.COLOR_RGB2BGR).transpose(2, 0, 1)[None]
        (found,) = session.run(None, {given.name: planes.astype(np.float32)})
        return list(boxes(found[0], side, scale))

    return detect


def boxes(found: NDArray[Any], side: int, scale: float) -> Iterator[Box]:
    """Of what YOLOX gives (N, 85): offset and logarithm of size, objectness, 80 classes."""
    grids = [np.mgrid[: side // step, : side // step][::-1].reshape(2, -1).T for step in STRIDES]
    steps = np.concatenate([np.full((len(g), 1), s) for g, s in zip(grids, STRIDES, strict=True)])
    centres = (found[:, :2] + np.concatenate(grids)) * steps / scale
    halves = np.exp(found[:, 2:4]) * steps / scale / 2
    scores = found[:, 4:5] * found[:, 5:]
    corners = np.concatenate((centres - halves, centres + halves), 1).round().clip(0).astype(int)
    for row in np.flatnonzero(scores.max(1) >= SCORE):
        label = OF_COCO.get(int(scores[row].argmax()))
        if label is not None:
            yield Box(label, *corners[row].tolist())
