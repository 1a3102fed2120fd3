"""Weights to a recording without labels: statistics, learning, check, weights or a refusal."""

import argparse
import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from segmif.files import check_target, shown, write_text
from segmif.frames import MULTIPLE, FramePair, fit
from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import open_network, save_network

from ..data import groups_seen
from ..data.datasets import FrameSet, open_set
from ..evaluation.evaluate import check_outputs
from ..finetune.split import in_order
from ..fit.initial_network import descent
from .guard import Check, check
from .statistics import adapt_statistics
from .teach import teach, tensor

FEWEST = 10  # pairs
TAIL = 5  # one of so many, the last ones, is for the check
MOST_CHECKED = 40
MOST_HELD = 400  # pairs that are learnt from, evenly among all: at 640x480 half a gigabyte


def main(args: argparse.Namespace) -> int:
    """Adapt as the arguments say; 1 if the check refuses the result."""
    data: Path = args.data.resolve()
    frames = open_set("pairs", data)
    old, manifest = open_network(args.start)
    out = args.out or Path(f"{data.name}-{manifest.variant}.safetensors")
    _check_places(args, out, old)
    learnt, checked = parts_of(frames)
    print(
        f"{len(learnt)} pairs of {shown(args.data)} to adapt to, the last {len(checked)} to check"
    )
    # those to check, too: a broken one is known before minutes of learning
    read = list(_read(frames, [*learnt, *checked]))
    pairs, tail = read[: len(learnt)], read[len(learnt) :]
    _check_size(pairs[0])
    adapted = copy.deepcopy(old)
    facts: dict[str, Any] = {
        "from": manifest.sha256,
        "method": args.method,
        "frames": adapt_statistics(adapted, map(tensors, tqdm(pairs, "statistics", unit="pair"))),
        "seed": args.seed,
    }
    if args.method == "teach":
        seconds = 60 * args.minutes
        adapted, taught = teach(adapted, pairs, steps=args.steps, seconds=seconds, seed=args.seed)
        facts |= asdict(taught)
    found = check(old, adapted, tail)
    seen = groups_seen.of_names(learnt)
    origin = descent([data.name], [manifest.training], seen)
    return finish(args, adapted, manifest, facts, found, out, origin)


def _check_places(args: argparse.Namespace, out: Path, network: Network) -> None:
    """Raise ValueError or OSError, before minutes of learning, if they could not be kept."""
    if out.resolve() == args.start.resolve():
        raise ValueError(f"--out {shown(out)} is --from: name another file")
    if args.report and args.report.resolve() in (out.resolve(), args.start.resolve()):
        raise ValueError(f"--report {shown(args.report)} would replace weights: name another file")
    check_outputs(args.report)
    check_target(out)
    out.resolve().parent.mkdir(parents=True, exist_ok=True)
    if args.method == "teach" and not hasattr(network.core, "mask"):
        raise ValueError(
            f"{network.variant} makes its mask from the fused picture, so it cannot learn the one "
            "alone: take --method statistics, or weights of another variant"
        )


def _check_size(pair: FramePair) -> None:
    """Raise ValueError for frames of which the coarsest layer sees one pixel: it has no spread."""
    if max(fit(pair).infrared.shape) <= MULTIPLE:
        height, width = pair.infrared.shape
        raise ValueError(
            f"the frames have {width}x{height} pixels: to adapt to them, width or height must be "
            f"more than {MULTIPLE} pixels"
        )


def finish(
    args: argparse.Namespace,
    adapted: Network,
    manifest: Manifest,
    facts: dict[str, Any],
    found: Check,
    out: Path,
    origin: dict[str, object],
) -> int:
    """Say what the check found, and write the weights with their origin unless it refuses."""
    print(as_text(found))
    faults = found.faults()
    if args.report:
        noted = {"adapted": facts, "check": asdict(found), "faults": faults}
        write_text(args.report, json.dumps(noted, indent=2) + "\n")
    if faults:
        print("REFUSED, nothing is written:\n" + "\n".join(f"  {fault}" for fault in faults))
        return 1
    training = manifest.training | origin
    save_network(adapted, out, training | {"adapted": facts | {"check": asdict(found)}})
    print(
        f"{shown(out)} is written. The check knows no labels: it does not say that it is better. "
        "Compare it on labelled pairs (`segmif evaluate`), or beside the one in service "
        "(`segmif shadow`)"
    )
    return 0


def parts_of(frames: FrameSet) -> tuple[list[str], list[str]]:
    """Names of the pairs to adapt to, and of the last ones to check with."""
    names = in_order(frames.names)
    if len(names) < FEWEST:
        raise ValueError(f"{frames.name} has {len(names)} pairs, at least {FEWEST} are needed")
    tail = max(len(names) // TAIL, 1)
    return _spread(names[:-tail], MOST_HELD), _spread(names[-tail:], MOST_CHECKED)


def _spread(names: Sequence[str], most: int) -> list[str]:
    """At most so many names, evenly among all."""
    count = min(len(names), most)
    return [names[place * len(names) // count] for place in range(count)]


def _read(frames: FrameSet, names: Sequence[str]) -> Iterator[FramePair]:
    places = {name: place for place, name in enumerate(frames.names)}
    size = None
    for name in names:
        frame = frames.read(places[name])
        size = size or frame.infrared.shape
        if frame.infrared.shape != size:
            raise ValueError(
                f"{name} is {frame.infrared.shape}, others {size} (height, width): adapt to the "
                "frames of one rig at a time"
            )
        yield FramePair(frame.visible, frame.infrared)


def tensors(pair: FramePair) -> tuple[Tensor, Tensor]:
    """Visible (1, H, W, 3) and infrared (1, H, W) in [0, 1], of a size that a network takes."""
    fitted = fit(pair)
    return tensor(fitted.visible)[None], tensor(fitted.infrared)[None]


def as_text(found: Check) -> str:
    """What the check found, for people."""
    rows = [
        f"check on {found.pairs} pairs, old -> adapted",
        f"  class kept where the old network was sure  {found.agreement:.2%}",
        f"  mean entropy                               {_arrow(found.entropy)}",
        f"  class kept at another gain                 {_arrow(found.steadiness)}",
        f"  fused picture differs by                   {found.picture:.2f} of 255 levels",
    ]
    for name, before, after in zip(found.names, *found.shares, strict=True):
        if max(before, after) >= 1e-4:
            rows.append(f"  share of {name:33} {before:.2%} -> {after:.2%}")
    return "\n".join(rows)


def _arrow(values: tuple[float, float]) -> str:
    return f"{values[0]:.3f} -> {values[1]:.3f}"
