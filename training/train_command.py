"""
`segmif train`: pairs in, `runs/CONFIG/VARIANT.safetensors` out.

With `--from` it needs no config: it fine-tunes weights to the labelled pairs of `--data`, or trains
from nothing but ImageNet's encoder.

Its flags can be read in the base install. Training itself, in `train`, needs torch.
"""

import argparse
from pathlib import Path

from segmif.argument_types import IntegerRange
from segmif.interrupts import end_at_once, end_in_order

from .data.sources import data_root
from .evaluation.evaluate import SetName
from .finetune.beginning import DEFAULT_VARIANT, FROM_NOTHING, IMAGENET


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif train`."""
    parser.epilog = (
        "Labels: `segmif train export-labels` writes pairs for a labelling tool, `segmif train "
        "import` brings its labels back."
    )
    of_run = parser.add_mutually_exclusive_group(required=True)
    of_run.add_argument("--config", type=Path, help="settings of the run, TOML")
    of_run.add_argument(
        "--from",
        type=Path,
        dest="start",
        metavar="WEIGHTS",
        help="train on the labelled pairs of --data without a config: fine-tune these weights, or "
        f"begin from nothing but a pretrained encoder by the word {IMAGENET}",
    )
    parser.add_argument(
        "--variant",
        choices=FROM_NOTHING,
        help=f"of --from {IMAGENET}: what to train [{DEFAULT_VARIANT}]",
    )
    parser.add_argument(
        "--data",
        type=Path,
        help=f"real frames [{data_root()}; else rendered scenes]; of --from your folder of pairs",
    )
    parser.add_argument(
        "--classes", metavar="NAMES", help="of --from: only these, with commas [all of the data's]"
    )
    parser.add_argument(
        "--learn",
        choices=("mask", "all"),
        help="of --from: the layers of the mask, which keeps the fused picture as it is, or all "
        f"layers [mask; of {IMAGENET} all]",
    )
    parser.add_argument(
        "--replay",
        type=SetName.parse,
        nargs="+",
        default=[],
        metavar="KIND:FOLDER[:SPLIT]",
        help="of --from: labelled pairs that the weights know, half of what is seen, so that less "
        f"is forgotten; FOLDER is under {data_root()}",
    )
    parser.add_argument(
        "--train-on-all",
        action="store_true",
        help="of --from: hold no pairs out, once a run with some was better: nothing is compared "
        "on them, and confidence is not calibrated",
    )
    parser.add_argument("--out", type=Path, help="weights to write [FOLDER/VARIANT.safetensors]")
    parser.add_argument("--folder", type=Path, help="settings, checkpoint, curves [runs/CONFIG]")
    parser.add_argument("--weights", type=Path, help="of this variant, to start from")
    parser.add_argument(
        "--teacher",
        type=Path,
        nargs="+",
        default=[],
        help="weights to learn from: a larger variant's, or several for their mean mask",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    again.add_argument(
        "--restart",
        action="store_true",
        help="begin anew in the folder of an earlier run; its checkpoint is kept as earlier-NAME",
    )
    parser.add_argument(
        "--accept-changed-inputs",
        action="store_true",
        help="resume with other frames, weights or teachers than the run was begun with",
    )
    parser.add_argument(
        "--steps",
        type=IntegerRange(1),
        help="stop here before the config's last step; of --from: steps of the run [by the "
        "number of pairs]",
    )
    parser.add_argument(
        "--leave-out",
        type=IntegerRange(1, 4),
        metavar="GROUP",
        help="train without this group of training/data/folds.toml, to evaluate on it",
    )
    parser.add_argument(
        "--precision",
        choices=["32-true", "bf16-mixed", "16-mixed"],
        help="of the arithmetic [bf16-mixed on a GPU or CPU that computes in bfloat16, else "
        "32-true; on a GPU with --kernels 16-mixed]",
    )
    parser.add_argument(
        "--kernels",
        type=Path,
        help="library of our attention kernels (`make plugin`) to train on; less memory [torch]",
    )


def main(args: argparse.Namespace) -> int:
    """Train as the arguments say; gives the exit code."""
    if args.start and (args.weights or args.teacher or args.leave_out):
        raise ValueError(
            "--from names the weights to start from: leave --weights, --teacher and --leave-out out"
        )
    of_own_frames = (args.classes, args.learn, args.replay, args.variant, args.train_on_all)
    if args.config and any(of_own_frames):
        raise ValueError(
            "--classes, --learn, --replay, --variant and --train-on-all go with --from: a config "
            "has its own settings"
        )
    end_at_once()  # the import of torch takes seconds
    if args.start:
        from .finetune import run

        end_in_order()
        return run.main(args)
    from . import train

    end_in_order()
    return train.main(args)
