"""
What a fused frame is worth: one segmenter, trained alike on each kind of picture.

The segmenter is not ours: ESPNetv2, which has learnt Cityscapes and goes on from there, as people
who buy a fused picture would do it. Every arm has several seeds and is evaluated on mfnet/val. An
arm that is done is not run again.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from segmif.frames import FramePair
from segmif.imaging.luma import luma
from segmif.model import color
from segmif.model.config import VARIANTS
from training.data.datasets import FrameSet, LabelledPair, changed
from training.evaluation.baselines import BASELINES
from training.evaluation.evaluate import open_weights

from . import experiment
from .ablation import MASK_ALONE
from .espnet import published_weights, with_segmenter
from .experiment import Arm

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
HEADING = """\
# What a fused picture is worth to another segmenter

`make worth` trains ESPNetv2, a published segmenter, alike on each kind of picture, and evaluates it
on mfnet/val. Columns are mean IoU and IoU of classes, over all frames, by day and by night.
[Results](results.md#what-a-fused-picture-is-worth) says what follows."""
COLUMNS = (
    *("mIoU all", "mIoU day", "mIoU night"),
    *("person all", "person day", "person night", "car all", "car night"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab worth`."""
    weights = Path("weights/edge.onnx")
    parser.add_argument(
        "--weights", type=Path, default=weights, help="whose fused frames to evaluate"
    )
    segmenter = published_weights()
    parser.add_argument("--segmenter", type=Path, default=segmenter, help="ESPNetv2, Cityscapes")
    known = arms(lambda frame, tint: frame.visible, segmenter)
    experiment.add_arguments(parser, known, "worth", Path("lab/configs/worth.toml"))


def main(args: argparse.Namespace) -> int:
    """Runs what is missing, prints the table, writes it to `--table`."""
    by_tint = {tint: open_weights(args.weights, tint)[0] for tint in (0.0, None)}

    def fused(frame: LabelledPair, tint: float | None) -> Picture:
        return by_tint[tint](FramePair(frame.visible, frame.infrared)).fused

    return experiment.run(
        arms(fused, args.segmenter), COLUMNS, args, teacher=args.weights, heading=HEADING
    )


def arms(fused: Callable[[LabelledPair, float | None], Picture], segmenter: Path) -> dict[str, Arm]:
    """
    One arm a kind of picture.

    `fused` gives ours with a tint, None being the default; `segmenter` are the weights to start
    from.
    """

    def by_rule(name: str) -> Callable[[LabelledPair], Picture]:
        def picture(frame: LabelledPair) -> Picture:
            return coloured(frame, BASELINES[name](luma(frame.visible), frame.infrared))

        return picture

    def ours(tint: float | None) -> Callable[[LabelledPair], Picture]:
        return lambda frame: fused(frame, tint)

    def tinted_average(frame: LabelledPair) -> Picture:
        return tint(frame, BASELINES["average"](luma(frame.visible), frame.infrared))

    pictures: dict[str, tuple[str, Callable[[LabelledPair], Picture]]] = {
        "visible": ("the visible frame, in colour", lambda frame: frame.visible),
        "infrared": ("the infrared frame", lambda frame: grey(frame.infrared)),
        "average": ("mean of both lumas, colour of the visible frame", by_rule("average")),
        "maximum": ("maximum of both lumas, colour of the visible frame", by_rule("maximum")),
        "tinted average": ("mean of both lumas, hue by temperature as ours", tinted_average),
        "untinted": ("our fused luma, colour of the visible frame", ours(0.0)),
        "fused": ("our fused frame, hue by temperature", ours(None)),
    }
    return {
        name: Arm(
            says,
            change=partial(with_segmenter, weights=segmenter),
            view=showing(picture),
            settings=MASK_ALONE,
            evaluates_fusion=False,
        )
        for name, (says, picture) in pictures.items()
    }


def showing(picture: Callable[[LabelledPair], Picture]) -> Callable[[FrameSet], FrameSet]:
    """A set whose visible frames are those pictures, and whose infrared ones are black."""

    def change(frame: LabelledPair) -> LabelledPair:
        dark = np.zeros_like(frame.infrared)
        return replace(frame, visible=picture(frame), infrared=dark)

    return lambda frames: changed(frames, change)


def coloured(frame: LabelledPair, fused: NDArray[np.uint8]) -> Picture:
    """A fused luma (H, W) with the colour of the visible frame."""
    lifted = fused.astype(np.int16) - luma(frame.visible)
    return np.clip(frame.visible + lifted[..., None], 0, 255).astype(np.uint8)


def tint(frame: LabelledPair, fused: NDArray[np.uint8]) -> Picture:
    """A fused luma (H, W) with the colour of the visible frame and the hue of `edge`."""
    levels = torch.from_numpy(coloured(frame, fused))[None].float()
    warmer = color.warmth(torch.from_numpy(frame.infrared)[None] / 255)
    strength = VARIANTS["edge"].tint * color.STRONGEST
    turned = color.tinted(levels, strength * color.luma(levels) * warmer)
    return turned[0].to(torch.uint8).numpy()


def grey(image: NDArray[np.uint8]) -> Picture:
    """(H, W) as a picture without colour."""
    return np.repeat(image[..., None], 3, axis=2)
