"""The settings of a run by the number of frames, instead of a TOML file."""

import glob
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from segmif.frames import MULTIPLE
from segmif.model.config import VARIANTS, PairConfig

from ..config import TrainConfig
from ..data.samples import Phase
from ..data.sources import Source
from .split import Split

Learns = Literal["mask", "all"]

NEVER = 1_000_000_000  # steps
LARGEST_CROP = (288, 384)  # [px] height, width: what two CPU cores take in a second or two
VALIDATIONS = 10  # of a run
# Pairs held out, from which on they choose among the steps. Fewer are too noisy a judge: by five,
# one run of three ended at its highest learning rate, before its gain (decision 36).
JUDGES = 10
START_SHARE = 0.25  # of the weights that a run starts from, in those that it saves
# Validations without gain. Fewer would end runs too soon: on five frames held out the mIoU falls at
# the highest learning rate, and rises beyond that of the start as the rate falls.
PATIENCE = 8
HEAD_RATE, WHOLE_RATE = 3e-3, 1e-3  # learning rates: of last layers alone, and with an encoder
# Augmented crops of each pair, if the mask alone learns: the frozen layers process each once.
VIEWS = 12
OWN_SHARE = 0.5  # of the crops, if old frames are replayed
FINISH = 4  # of so many steps of the mask, the fusion decoder alone has one
# Of a network from nothing: steps as in `make ablation`. Its fusion decoder starts at random. In
# half as many steps it sees as many pixels as in the first run of the shipped weights.
FEWEST_ANEW, FINISH_ANEW = 1000, 2
FEWEST, MOST = 100, 3000  # steps of a run, if none are stated
# (pairs, stages): with fewer pairs so many stages of the pretrained encoder are frozen.
FROZEN = ((50, 3), (300, 2))


def plan(
    variant: str,
    folder: Path,
    split: Split,
    size: tuple[int, int],
    learns: Learns,
    steps: int | None,
    replay: Sequence[Source] = (),
    *,
    anew: bool = False,
    new_classes: bool = False,
) -> TrainConfig:
    """
    A run on the pairs of `folder`, whose frames are of `size` (height, width) [px].

    `replay`: old frames, which half of the crops are of, so that less is forgotten. `steps` None:
    by the number of pairs. `new_classes`: the weights do not know all classes of the frames.
    `anew`: from ImageNet's encoder, all else at random; so all layers learn, first those of the
    mask, then the fusion decoder alone.
    Raises ValueError for a variant that makes its mask from the fused picture.
    """
    network = VARIANTS[variant]
    if not isinstance(network, PairConfig):
        raise ValueError(
            f"{variant} makes its mask from the fused picture, so one cannot be trained without "
            "the other: write a config for --config"
        )
    count = len(split.train)
    fewest, finish_divisor = (FEWEST_ANEW, FINISH_ANEW) if anew else (FEWEST, FINISH)
    steps = steps or _steps(count, OWN_SHARE if replay else 1, fewest)
    validate_every = max(steps // VALIDATIONS, 1)
    whole = learns == "all"
    phase = Phase(steps=steps, batch=4, crop=_crop(*size))
    finish = replace(phase, steps=max(steps // finish_divisor, 1))
    return TrainConfig(
        variant=variant,
        data=_mixed(_source(folder, split.train), replay),
        validation=_source(folder, split.held_out or split.train),
        validate_every=validate_every if split.held_out else NEVER,
        patience=PATIENCE if len(split.held_out) >= JUDGES else None,
        start_share=0.0 if anew or new_classes else START_SHARE,
        save_every=validate_every,
        phases=(phase,),
        finish=finish if whole else None,
        focus=0.5,
        views=0 if whole else VIEWS * count + 1,  # odd: batches differ by round
        learning_rate=WHOLE_RATE if whole else HEAD_RATE,
        warmup=min(max(steps // 10, 1), 100),
        average=min(1 - 10 / max(steps, 20), 0.995),
        frozen_stages=_frozen_stages(count) if whole and not anew else 0,
        fuse_every=3 if whole and not anew else NEVER,
    )


def _steps(pairs: int, own_share: float, fewest: int) -> int:
    """
    They grow with the root of the number of pairs: each of 20 is seen 90 times, of 500 18 times.

    `own_share` is their share of the crops: with old frames they are seen as often.
    """
    return min(max(round(100 * math.sqrt(pairs) / own_share), fewest), MOST)


def _frozen_stages(pairs: int) -> int:
    """How many stages of the pretrained encoder stay as they are."""
    for bound, stages in FROZEN:
        if pairs < bound:
            return stages
    return 0


def _crop(height: int, width: int) -> tuple[int, int]:
    """The largest view of frames of a size that a run takes."""
    sides = zip((height, width), LARGEST_CROP, strict=True)
    fitting = [max(min(side, most) // MULTIPLE * MULTIPLE, MULTIPLE) for side, most in sides]
    return fitting[0], fitting[1]


def _mixed(own: Source, replay: Sequence[Source]) -> tuple[Source, ...]:
    return (replace(own, share=OWN_SHARE), *replay) if replay else (own,)


def _source(folder: Path, names: Sequence[str]) -> Source:
    return Source(kind="folder", folder=folder.name, names=tuple(map(glob.escape, names)))
