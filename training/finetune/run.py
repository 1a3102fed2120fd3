"""
Training on frames of one's own: classes, split, settings, training, and what it was worth.

It begins with weights, or from nothing but ImageNet's encoder.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from segmif.classes import IGNORE, Taxonomy
from segmif.files import shown, write_text
from segmif.manifest import Manifest
from segmif.model.network import Network

from ..config import TrainConfig
from ..data.class_views import chosen_classes, ids_by_name, with_classes
from ..data.datasets import FrameSet, open_set
from ..data.datasets.pairs import PairSet
from ..data.sources import Source, data_root, open_source
from ..evaluation.evaluate import SetName, open_with_manifest
from ..fit.attention_kernels import use_kernels
from ..fit.imagenet import published_weights
from ..fit.run_folder import has_checkpoint, refuse_earlier_run
from ..train import train
from . import plan as planned
from .beginning import DEFAULT_VARIANT, IMAGENET, weights_to_start_from
from .calibration import calibrate
from .comparison import Comparison, Contender, compare
from .split import Split, in_order, split

REPORT = "report.json"
CLEAR = 0.01  # of mean IoU: less is no difference on a few frames
NEVER_SEEN = "on frames that it never saw"
CHOSEN_BY = "on held-out frames, which also chose the step"
MASK_PARTS = ("mask",)  # parts of a network that the fused picture does not depend on
# Kind, folder and split of frames that the shipped weights do well on, if this machine has them.
OLD_FRAMES = ("mfnet", Path("mfnet"), "val")


def main(args: argparse.Namespace) -> int:
    """Fine-tune as the arguments say; gives the exit code."""
    if args.data is None:
        raise ValueError("--from goes with --data: the folder of your labelled pairs")
    data: Path = args.data.resolve()
    start = weights_to_start_from(args)
    if not start:
        published_weights()  # missing ones are said before all frames are read
    learns: planned.Learns = args.learn or ("mask" if start else "all")
    if args.kernels:
        args.precision = use_kernels(args.kernels, args.precision)
    known = Manifest.read(start) if start else None
    variant = known.variant if known else args.variant or DEFAULT_VARIANT
    run = f"{data.name}-{variant}" if known else f"{data.name}-{variant}-from-{IMAGENET}"
    folder = args.folder or Path("runs") / run
    frames = open_set("folder", data)
    classes = _classes(frames, args.classes)
    resume = _goes_on(args, folder)
    names, pixels = _labelled(frames, classes)
    parts = Split(tuple(names), ()) if args.train_on_all else split(names, pixels > 0)
    replay = _replayed(args.replay, classes, data.parent)
    height, width = frames.infrared_of(names[0])[0].shape
    config = planned.plan(
        *(variant, data, parts, (height, width), learns, args.steps, replay),
        anew=not known,
        new_classes=known is not None and bool(_new(classes, known.classes)),
    )
    out = args.out or folder / f"{variant}.safetensors"
    _announce(known.classes if known else None, classes, frames, parts, pixels.sum(0), config)
    train(
        config,
        data.parent,
        folder,
        out,
        start=start,
        resume=resume,
        precision=args.precision,
        accept_changes=args.accept_changed_inputs,
        change=freeze_all_but_mask if learns == "mask" else None,
        view=lambda each: with_classes(each, classes),
    )
    held_out = None
    if parts.held_out:
        held_out = with_classes(open_source(config.validation, data.parent), classes)
        print(f"\n{calibrate(out, held_out)}")
    chosen = config.patience is not None  # early stopping
    _report(start, out, held_out, folder, CHOSEN_BY if chosen else NEVER_SEEN)
    _print_next(out, args.data)
    return 0


def _goes_on(args: argparse.Namespace, folder: Path) -> bool:
    """
    Whether a run goes on from a checkpoint; one that was killed before its first begins anew.

    Raises FileExistsError or FileNotFoundError if the folder is not as the arguments say.
    """
    if not args.resume:
        if not args.restart:
            refuse_earlier_run(folder)
        return False
    if has_checkpoint(folder):
        return True
    print(f"note: the run in {shown(folder)} ended before its first checkpoint: it begins anew")
    return False


def _classes(frames: PairSet, chosen: str | None) -> Taxonomy:
    """The classes to learn; ValueError if nothing is labelled."""
    if frames.taxonomy is None:
        raise ValueError(f"{frames.name} has no labels: `segmif train import` brings them in")
    if not chosen:
        return frames.taxonomy
    return chosen_classes(frames.taxonomy, [name.strip() for name in chosen.split(",")])


def _replayed(named: Sequence[SetName], classes: Taxonomy, root: Path) -> list[Source]:
    """
    The old frames that training sees again, as sources under `root`.

    Raises ValueError if one of `classes` is none of theirs: its objects would be background there.
    """
    objects = [each for id_, each in enumerate(classes.names) if id_ != classes.background]
    sources = []
    for name in named:
        old = name.open(data_root()).taxonomy
        if unknown := [each for each in objects if old is None or each not in old.names]:
            raise ValueError(
                f"--replay {name.kind}:{name.folder}: its labels know no {', '.join(unknown)}, so "
                "training would take such objects for background: leave these pairs out, or name "
                "classes that both know by --classes"
            )
        folder = os.path.relpath(data_root() / name.folder, root)
        sources.append(Source(kind=name.kind, folder=folder, split=name.split))
    return sources


def freeze_all_but_mask(network: Network) -> None:
    """Keeps all layers as they are that the fused picture is made by, their statistics too."""
    for name, part in network.core.named_children():
        if name not in MASK_PARTS:
            part.requires_grad_(False).eval()


def _labelled(frames: PairSet, classes: Taxonomy) -> tuple[list[str], NDArray[np.int64]]:
    """
    The names of the N pairs that have labels, in their order, and the pixels (N, K) of K classes.

    Raises ValueError if no pixel has a class.
    """
    assert frames.taxonomy is not None
    ids = ids_by_name(frames.taxonomy, classes)
    names, pixels = [], []
    for name in tqdm(in_order(frames.names), desc="reading labels", unit="pair"):
        labels, _ = frames.read_labels(name)  # unknown codes are said when all is read
        counts = np.bincount(ids[labels].ravel(), minlength=256) if labels is not None else ()
        if np.any(counts[:IGNORE]):
            names.append(name)
            pixels.append(counts[: len(classes.names)])
    if not names:
        raise ValueError(f"{frames.name}: no pixel of any label has a class, nothing can be learnt")
    return names, np.array(pixels, np.int64)


def _announce(
    known: Taxonomy | None,
    classes: Taxonomy,
    frames: PairSet,
    parts: Split,
    pixels: NDArray[np.int64],
    config: TrainConfig,
) -> None:
    """Says what is trained on what, and what there is to mind."""
    absent = [name for name, count in zip(classes.names, pixels, strict=True) if not count]
    used = len(parts.train) + len(parts.held_out)
    print(f"{len(classes.names)} classes: {', '.join(classes.names)}")
    if known:
        new = _new(classes, known)
        kept = [name for name in classes.names if name not in new]
        print(f"known to the weights: {', '.join(kept) or 'none'}; new: {', '.join(new) or 'none'}")
    else:
        print(f"{config.variant} from nothing but ImageNet's encoder: all classes are new")
    if absent:
        print(f"note: no label shows {', '.join(absent)}: it cannot be learnt")
    if len(frames.names) > used:
        print(
            f"note: {len(frames.names) - used} pairs are used for nothing: they have no labels, or "
            "lie between those that train and those that are held out"
        )
    if parts.held_out:
        print(
            f"{len(parts.train)} pairs train; {len(parts.held_out)} successive ones are held out, "
            f"{parts.held_out[0]} to {parts.held_out[-1]}"
        )
    else:
        print(f"{len(parts.train)} pairs train; none is held out: nothing will say how well")
    phase = config.phases[0]
    print(
        f"{config.steps} steps at most, batches of {phase.batch} views of "
        f"{phase.crop[1]}x{phase.crop[0]}, learning rate {config.learning_rate:g}"
    )


def _new(classes: Taxonomy, known: Taxonomy) -> list[str]:
    """The classes that weights do not know; their background may have another name."""
    shared = classes.shared_with(known)
    return [name for id_, name in enumerate(classes.names) if id_ not in shared]


def _report(
    start: Path | None, out: Path, held_out: FrameSet | None, folder: Path, where: str
) -> None:
    """
    Compares weights before and after; prints it, and writes it into the folder of the run.

    `where`: on which frames, in words.
    """
    before, after = _contender(start) if start else None, _contender(out)
    gained = compare(before, after, held_out, "held out of the training") if held_out else None
    forgotten = _compare_on_old_frames(before, after) if before else None
    comparisons = [each for each in (gained, forgotten) if each]
    for comparison in comparisons:
        print(f"\n{comparison.as_text()}")
    if gained:
        print(f"\n{_verdict(gained, where)}")
    if before and comparisons:
        difference = max(each.fused_difference or 0.0 for each in comparisons)
        print(f"the fused picture differs by {difference:.2f} of 255 levels in the mean")
    entries = [comparison.as_json() for comparison in comparisons]
    write_text(folder / REPORT, json.dumps(entries, indent=2) + "\n")


def _verdict(found: Comparison, where: str) -> str:
    after = found.mean(found.after)
    if not found.before:
        return f"{after:.3f} {where}"
    before = found.mean(found.before)
    if abs(after - before) < CLEAR:
        return f"no clear change: {before:.3f} -> {after:.3f} {where}"
    if after > before:
        return f"better: {before:.3f} -> {after:.3f} {where}"
    return (
        f"NOT better: {before:.3f} -> {after:.3f} {where}: label more frames, of other times, "
        "before you serve it"
    )


def _contender(weights: Path) -> Contender:
    predict, _, manifest = open_with_manifest(weights)
    return Contender(predict, manifest.classes)


def _compare_on_old_frames(before: Contender, after: Contender) -> Comparison | None:
    """What was forgotten: classes that both know, on `OLD_FRAMES`; None without such frames."""
    kind, place, part = OLD_FRAMES
    root = data_root() / place
    if not root.is_dir():
        return None
    try:
        frames = open_set(kind, root, part)
    except (OSError, ValueError) as error:
        print(f"note: what was forgotten is not measured: {error}")
        return None
    assert frames.taxonomy is not None
    known = [set(network.classes.names) for network in (before, after)]
    background = frames.taxonomy.names[frames.taxonomy.background]
    both = [
        name for name in frames.taxonomy.names if name != background and name in known[0] & known[1]
    ]
    if not both:
        return None
    return compare(before, after, frames, "kept or forgotten, classes that both know", both)


def _print_next(out: Path, data: Path) -> None:
    weights, network = shown(out), shown(out.with_suffix(".onnx"))
    print(
        f"\nnext:\n  segmif export onnx --weights {weights} --out {network}\n"
        f"  segmif export verify --weights {weights} {network} --data {shown(data)}\n"
        f"  segmif serve --weights {network}\n"
        "a running service takes it at SIGHUP, once `weights` in its settings file names it"
    )
