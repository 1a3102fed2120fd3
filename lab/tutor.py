"""
`python -m lab tutor`: from a network that knows Cityscapes, one that knows the rig's frames.

An ESPNetv2 encoder for each sensor, both as published, and a decoder that learns from nothing: a
few hundred steps on the labelled pairs. `join` makes it the second encoder of `edge`; as a teacher
(`train --teacher`) it makes masks only: [distill] wants image = 0.0.
"""

import argparse
from functools import partial
from pathlib import Path

from training.config import read_config
from training.data.sources import data_root
from training.fit.espnet_teacher import published_weights, with_segmenter
from training.train import train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab tutor`."""
    config = Path("lab/configs/tutor.toml")
    parser.add_argument("--config", type=Path, default=config, help="settings of the run, TOML")
    parser.add_argument("--data", type=Path, default=data_root(), help="real frames")
    parser.add_argument(
        "--published", type=Path, default=published_weights(), help="ESPNetv2, Cityscapes"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/tutor"), help="of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")


def main(args: argparse.Namespace) -> int:
    """Trains it, writes `tutor.safetensors` into the run's folder."""
    train(
        read_config(args.config),
        args.data,
        args.folder,
        args.folder / "tutor.safetensors",
        resume=args.resume,
        change=partial(with_segmenter, weights=args.published, both=True),
    )
    return 0
