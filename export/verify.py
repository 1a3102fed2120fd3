"""
`segmif export verify`: torch, ONNX and engine on the same frames, compared with float64.

`export.tolerance` defines how far each may deviate: an ONNX by rounding, an engine by what a user
may notice.
"""

import argparse
import copy
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from segmif import folders
from segmif.argument_types import IntegerRange
from segmif.files import write_text
from segmif.folders import BY_NAME, FilePair, Pairing, list_frames, pair_files
from segmif.frames import CONFIDENCE, FramePair
from segmif.imaging import codecs
from segmif.model.network import Network
from segmif.model.precision import to_half
from segmif.model.predict import predict_by
from segmif.model.weights import load_network
from segmif.runtime import open_runtime, predict

from .tolerance import Deviation, Frame, Reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif export verify`."""
    parser.add_argument("--weights", type=Path, required=True, help="the network, safetensors")
    parser.add_argument("artefacts", type=Path, nargs="+", help=".onnx and .engine made from it")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with visible, infrared and maybe label"
    )
    parser.add_argument(
        "--frames", type=IntegerRange(1), default=10, help="pairs, evenly spread [10]"
    )
    folders.add_arguments(parser)
    parser.add_argument("--plugin", type=Path, help="library of the attention's plugin")
    parser.add_argument("--json", type=Path, help="also write the numbers")


def main(args: argparse.Namespace) -> int:
    """Compares as the arguments say; returns the exit code, 1 if a deviation is too large."""
    if args.json and not args.json.parent.is_dir():
        raise FileNotFoundError(f"--json {args.json}: make the folder {args.json.parent} first")
    network = load_network(args.weights)
    frames = read_frames(args.data, args.frames, folders.pairing_of(args))
    for path in args.artefacts:  # an artefact that does not run fails before float64 takes its time
        open_runtime(path, plugin=args.plugin).close()
    reference = exact_reference(network, frames)
    plain = {
        "fp32": reference.deviation("torch fp32", predict_by(network)),
        "fp16": reference.deviation("torch fp16", predict_by(to_half(network))),
    }
    found, judged = list(plain.values()), []
    for path in args.artefacts:
        runtime = open_runtime(path, plugin=args.plugin)
        name = f"{path.name} ({runtime.name})"
        predictor = partial(predict, runtime, confidence=CONFIDENCE in runtime.outputs)
        found.append(reference.deviation(name, predictor))
        rounding = plain.get(runtime.manifest.precision)
        judged.append(_judge(found[-1], rounding, engine=bool(runtime.manifest.engine)))
        runtime.close()
    print(table(found))
    faults = [fault for verdict in judged for fault in verdict.faults]
    for sentence in (*faults, *(note for verdict in judged for note in verdict.notes)):
        print(sentence)
    checked = sum(verdict.checked for verdict in judged)
    if checked and not faults:
        print(f"{checked} checked, all within their bounds, {len(frames)} pairs")
    if args.json:
        write_text(args.json, json.dumps([asdict(each) for each in found], indent=2) + "\n")
    return 1 if faults else 0


@dataclass(frozen=True)
class _Verdict:
    checked: bool = True
    faults: Sequence[str] = ()
    notes: Sequence[str] = ()


def _judge(found: Deviation, rounding: Deviation | None, *, engine: bool) -> _Verdict:
    """The verdict on an artefact; `rounding`: torch in its precision, None for eight bits."""
    if rounding is None:
        note = f"{found.name}: eight bits, not checked here; `segmif evaluate` measures it"
        return _Verdict(checked=False, notes=[note])
    beyond = found.exceeds(rounding)
    if not engine:
        return _Verdict(faults=beyond)
    notes = [f"note: {each}; TensorRT may add up in FP16" for each in beyond]
    return _Verdict(faults=found.noticeable(), notes=notes)


def read_frames(folder: Path, count: int, how: Pairing = BY_NAME) -> list[Frame]:
    """
    Up to `count` pairs of a folder, evenly spread; what has no pair is named on stderr.

    Raises ValueError if there is none, or as `pair_files`.
    """
    if count < 1:
        raise ValueError(f"--frames is {count}: at least 1 pair is needed")
    both = folder / "visible", folder / "infrared"
    paired = pair_files(*both, how) if all(each.is_dir() for each in both) else None
    if not (paired and paired.pairs):
        raise ValueError(
            f"{folder} has no pair: expected visible/NAME and infrared/NAME of the same name"
        )
    for sentence in (*paired.notes, *paired.complaints):
        print(sentence, file=sys.stderr)
    total = len(paired.pairs)
    count = min(count, total)
    chosen = [paired.pairs[i * total // count] for i in range(count)]
    labels = list_frames(folder / "label").files if (folder / "label").is_dir() else {}
    return [_read(pair, labels.get(pair.name)) for pair in chosen]


def _read(files: FilePair, labels: Path | None) -> Frame:
    pair = FramePair(codecs.read_visible(files.visible), codecs.read_infrared(files.infrared))
    return Frame(pair, codecs.read_labels(labels) if labels else None)


def exact_reference(network: Network, frames: Sequence[Frame]) -> Reference:
    """Frames with the network's predictions in float64."""
    exact = predict_by(copy.deepcopy(network).double())
    classes = len(network.config.taxonomy.names)
    return Reference(frames, [exact(frame.pair) for frame in frames], classes)


def table(found: Sequence[Deviation]) -> str:
    """The deviations from float64 as a text table."""
    width = max(len(each.name) for each in found)
    rows = [
        f"{'':<{width}}  differ   mean  most   PSNR  labels  conf.   metrics      mIoU",
    ]
    for each in found:
        metric, difference = max(each.metrics.items(), key=lambda item: abs(item[1]))
        sure = "-" if each.confidence_mean is None else f"{each.confidence_mean:.4f}"
        iou = "-" if each.mean_iou is None else f"{each.mean_iou:+.4f}"
        rows.append(
            f"{each.name:<{width}} {each.fused_differs:7.3%} {each.fused_mean:6.4f} "
            f"{each.fused_most:5d} {each.psnr_db:6.1f} {each.labels_differ:7.3%} {sure:>6} "
            f"{metric} {difference:+.4f} {iou:>8}"
        )
    return "\n".join(rows)
