"""
What a drive that training never saw costs: the same budget on seen and on unseen drives.

The drives of mfnet/train have their own numbers. Frames of one drive are near in time, so frames
between those trained on (as mfnet/val's are) say less than a drive that was left out. Every frame
is trained on in one half and evaluated in the other.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from training.data.sources import Source
from training.fit.espnet_teacher import published_weights, with_segmenter

from . import experiment
from .ablation import MASK_ALONE
from .experiment import Arm

COLUMNS = (
    *("mIoU all", "mIoU day", "mIoU night"),
    *("person all", "person day", "person night", "car all", "car day", "car night", "bike all"),
)
HALVES = {  # patterns of the moments; each half has a drive or frames by day and by night
    "drives 1 and 7": ("001*", "007*"),
    "drives 5 and 11": ("005*", "011*"),
    "even frames": ("*[02468][DN]",),
    "odd frames": ("*[13579][DN]",),
}


def _arm(trained: str, evaluated: str) -> Arm:
    source = {
        name: Source(kind="mfnet", folder="mfnet", split="train", names=HALVES[name])
        for name in (trained, evaluated)
    }
    settings = {"data": (source[trained],), "validation": source[evaluated], **MASK_ALONE}
    return Arm(
        f"trained on {trained}, judged on {evaluated}", settings=settings, evaluates_fusion=False
    )


ARMS = {
    "unseen drives 5 and 11": _arm("drives 1 and 7", "drives 5 and 11"),
    "unseen drives 1 and 7": _arm("drives 5 and 11", "drives 1 and 7"),
    "seen drives odd frames": _arm("even frames", "odd frames"),
    "seen drives even frames": _arm("odd frames", "even frames"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab drives`."""
    experiment.add_arguments(parser, ARMS, "drives", Path("lab/configs/drives.toml"))
    parser.set_defaults(seeds=[0])
    parser.add_argument(
        "--tutor",
        action="store_true",
        help="train what `edge` has as second encoder, from Cityscapes, not a network from nothing",
    )
    parser.add_argument(
        "--published", type=Path, default=published_weights(), help="ESPNetv2, Cityscapes"
    )


def main(args: argparse.Namespace) -> int:
    """Runs what is missing, prints the table, writes it to `--table`."""
    change = partial(with_segmenter, weights=args.published, both=True) if args.tutor else None
    arms = {name: replace(arm, change=change) for name, arm in ARMS.items()}
    return experiment.run(arms, COLUMNS, args, teacher=Path())
