"""
`make gpu-check`: everything that needs a GPU, in one command; JSON and text into results.

Parts measure the attention kernels against float64 and against the bandwidth of this GPU, beside
builds with other launches, and under compute-sanitizer. Others
measure the networks in torch, compiled, on our kernels, in ONNX Runtime, and in TensorRT with and
without our plugin, layer by layer. A part names what it left out. No part needs a network.
Each part is a process of its own, and the file is written after every row. So a part that fails,
hangs or crashes stops no other. `--rehearse` runs all on the CPU with small sizes and with kernels
built by g++ (or `--kernels`): its times mean nothing.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.report import ROW, Report
from segmif.argument_types import FloatRange
from segmif.machine import command

ROOT = Path(__file__).resolve().parents[2]
PARTS = (  # the most important first, as time may run out; those that compile last
    "machine",
    "attention_errors",
    "profile",
    "sanitizers",
    "attention_times",
    "pixels",
    "tensorrt_plugin",
    "layers",
    "torch_edge",
    "torch_nano",
    "tensorrt_nano",
    "tensorrt_native",
    "onnxruntime",
    "torch_paper",
    "tensorrt_paper",
    "compiled",
)
ENGINE_PARTS = ("tensorrt", "onnx_", "layers")  # prefixes of those that need TensorRT
QUARTER_S = 780  # of an hour, less what `make plugin` takes


def main() -> int:
    """Runs all parts; returns the exit code, 1 if there is no GPU or an answer is wrong."""
    args = arguments()
    if args.site:
        sys.path.insert(0, str(args.site))  # before what the machine has of the same name
    if args.part:
        return run_part(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # which ends its part too
    with TemporaryDirectory() as built:
        args.built = Path(built)
        return run_parts(args)


def run_parts(args: argparse.Namespace) -> int:
    """All parts, each in its own process; returns the exit code."""
    report = Report(args.out, {"command": command()})
    end = time.monotonic() + args.seconds
    for name in with_exports(args.parts):
        if name.startswith(ENGINE_PARTS) and (lacking := report.lacks_tensorrt):
            report.leave_out(name, lacking)
            continue
        report.part(name, end, args)
        if name == "machine" and "left_out" in report.parts[name][-1]:
            break
    rows = [row for part in report.parts.values() for row in part]
    if not report.measured:
        print(f"nothing was measured ({rows[-1]['left_out']}): without a GPU, try --rehearse")
        return 1
    print(report.path)
    needed = report.parts.get("machine", []) + report.parts.get("attention_errors", [])
    right = all(row.get("right", True) for row in rows)
    return 0 if right and not any("left_out" in row for row in needed) else 1


def arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    build = ROOT / "build/plugin"
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights")
    parser.add_argument("--kernels", type=Path, help="library [of `make plugin`]")
    parser.add_argument(
        "--candidates", type=Path, default=build / "candidates", help="builds to time as well"
    )
    parser.add_argument("--plugin", type=Path, default=build / "libsegmif_plugin.so")
    parser.add_argument("--site", type=Path, help="folder of further Python packages")
    parser.add_argument(
        "--seconds",
        type=FloatRange(0),
        default=QUARTER_S,
        help=f"no part runs on after [{QUARTER_S}]",
    )
    parser.add_argument(
        "--most", type=FloatRange(0), help="seconds of a part [120; of an engine's 240]"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, to find errors only")
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    parser.add_argument("--built", type=Path, help=argparse.SUPPRESS)  # folder of a rehearsal
    parser.add_argument("--ceilings", type=json.loads, default={}, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.rehearse:
        args.kernels = args.kernels or build / "libsegmif_attention.so"
    return args


def with_exports(parts: Sequence[str]) -> list[str]:
    """The parts, with those that write an ONNX before those that build engines of it."""
    wanted: list[str] = []
    for name in parts:
        if name.startswith("tensorrt"):
            variant = name.rpartition("_")[2]
            wanted.append(f"onnx_{variant if variant in ('nano', 'paper') else 'edge'}")
        wanted.append(name)
    return list(dict.fromkeys(wanted))


def run_part(args: argparse.Namespace) -> int:
    """One part in this process: prints its rows; the last has the reason if it failed."""
    try:
        from benchmarks.gpu.parts import run

        for row in run(args):
            print(ROW + json.dumps(row, default=str), flush=True)
    except Exception as error:
        print(ROW + json.dumps({"left_out": f"{type(error).__name__}: {error}"}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
