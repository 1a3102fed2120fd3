"""What `--from` names: weights, or the word for a network from nothing but a pretrained encoder."""

import argparse
from pathlib import Path

from segmif.files import shown
from segmif.model.config import CANDIDATES, VARIANTS, PairConfig

IMAGENET = "imagenet"
# Shipped variants with an encoder that comes pretrained.
FROM_NOTHING = tuple(
    name
    for name, config in VARIANTS.items()
    if isinstance(config, PairConfig) and name not in CANDIDATES
)
DEFAULT_VARIANT = "nano"


def weights_to_start_from(args: argparse.Namespace) -> Path | None:
    """
    The weights; None for a network from nothing.

    Raises FileNotFoundError without them, ValueError for what goes with the other.
    """
    start: Path = args.start
    if str(start) != IMAGENET:
        if args.variant:
            raise ValueError(f"--variant goes with --from {IMAGENET}: weights are of one already")
        if not start.exists():
            raise FileNotFoundError(
                f"--from: {shown(start)} does not exist: name weights such as "
                f"weights/nano.safetensors, or {IMAGENET}"
            )
        return start
    if args.learn == "mask" or args.replay:
        raise ValueError(
            f"--from {IMAGENET} has no fused picture and no classes to keep: leave --learn mask "
            "and --replay out"
        )
    return None
