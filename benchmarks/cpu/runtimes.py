"""
ONNX Runtime and OpenVINO on one CPU: the same pairs in turns, answers and times compared.

`python -m benchmarks.cpu.runtimes --data FOLDER` takes pairs, and judges those with labels.
Each pair goes through all runtimes before the next, so that what else the machine does slows each
of them alike.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmif.argument_types import IntegerRange
from segmif.classes import IGNORE
from segmif.folders import pair_files
from segmif.frames import FramePair, Prediction
from segmif.imaging import codecs
from segmif.metrics import ConfusionMatrix
from segmif.runtime import Device, Runtime, open_runtime, predict

from ..results_file import save

WEIGHTS = Path(__file__).parents[2] / "weights"
DEVICES: tuple[Device, ...] = ("cpu", "openvino", "openvino-bf16")  # the first is compared with


class Watched:
    """One runtime, what it took for each pair, and how far its answers lie from another's."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.cpu_ms: list[float] = []
        self.wall_ms: list[float] = []
        self.labels_differ: list[float] = []  # share of the pixels
        self.fused_mean: list[float] = []  # levels
        self.matrix = ConfusionMatrix.empty(len(runtime.manifest.classes.names))

    def predict(self, pair: FramePair) -> Prediction:
        """Timed."""
        wall, cpu = time.perf_counter(), time.process_time()
        prediction = predict(self.runtime, pair)
        self.cpu_ms.append(1e3 * (time.process_time() - cpu))
        self.wall_ms.append(1e3 * (time.perf_counter() - wall))
        return prediction

    def compare(self, ours: Prediction, theirs: Prediction) -> None:
        """Notes what differs in a pair."""
        self.labels_differ.append(float((ours.labels != theirs.labels).mean()))
        fused = np.abs(ours.fused.astype(np.int16) - theirs.fused)
        self.fused_mean.append(float(fused.mean()))

    def summary(self) -> dict[str, object]:
        """Medians of the times after the first pair, means of the differences, and mIoU."""
        return {
            "runtime": self.runtime.name,
            "cpu_ms": statistics.median(self.cpu_ms[1:]),
            "wall_ms": statistics.median(self.wall_ms[1:]),
            "labels_differ": statistics.fmean(self.labels_differ),
            "fused_mean_levels": statistics.fmean(self.fused_mean),
            "mean_iou": self.matrix.mean_iou if self.matrix.counts.any() else None,
        }


def main() -> None:
    """Measure, print, and write the numbers to the file of --out."""
    args = parser().parse_args()
    watched = {
        device: Watched(open_runtime(WEIGHTS / f"{args.network}.onnx", args.threads, device))
        for device in DEVICES
    }
    pairs = list(read(args.data))[: args.pairs]
    for pair, labels in pairs:
        answers = {device: each.predict(pair) for device, each in watched.items()}
        for device, each in watched.items():
            each.compare(answers[device], answers[DEVICES[0]])
            each.matrix = each.matrix.add(answers[device].labels, labels)
    rows = [each.summary() for each in watched.values()]
    found = {"network": args.network, "pairs": len(pairs), "threads": args.threads}
    save(found | {"runtimes": rows} | {"ratio_cpu": ratios(list(watched.values()))}, args.out)


def ratios(watched: Sequence[Watched]) -> dict[str, list[float]]:
    """CPU time over the first one's of the same pair: least, median and largest."""
    found = {}
    for each in watched[1:]:
        pairs = zip(each.cpu_ms[1:], watched[0].cpu_ms[1:], strict=True)
        quotients = sorted(ours / theirs for ours, theirs in pairs)
        found[each.runtime.name] = [quotients[0], statistics.median(quotients), quotients[-1]]
    return found


def read(folder: Path) -> Iterator[tuple[FramePair, NDArray[np.uint8]]]:
    """The pairs of a folder with their labels (H, W), IGNORE if there are none."""
    for files in pair_files(folder / "visible", folder / "infrared").pairs:
        visible, infrared = (
            codecs.read_visible(files.visible),
            codecs.read_infrared(files.infrared),
        )
        labels = np.full(infrared.shape, IGNORE, np.uint8)
        for label in (folder / "label").glob(f"{files.name}.*"):
            labels = codecs.read_labels(label)
        yield FramePair(visible, infrared), labels


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("nano", "edge"), default="nano")
    parser.add_argument(
        "--data", type=Path, required=True, help="visible, infrared; label if there is one"
    )
    parser.add_argument("--pairs", type=IntegerRange(2), help="at most so many [all]")
    parser.add_argument("--threads", type=IntegerRange(1, 256), default=1, help="of the network")
    parser.add_argument("--out", type=Path, help="file for the numbers")
    return parser


if __name__ == "__main__":
    main()
