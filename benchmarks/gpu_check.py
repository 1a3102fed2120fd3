"""
`make gpu-check`: everything that needs a GPU, in one command; JSON into benchmarks/results.

Each part does what this machine allows and says what it left out: the attention kernels against
float64 and against the bandwidth of this GPU; the networks in torch, compiled, and on our kernels;
ONNX Runtime; TensorRT with our plugin and without, layer by layer. Needs no network. Every part is
a process of its own, and the file is written after every row: what fails, hangs or crashes takes
nothing else with it. `--rehearse` goes through all of it on the CPU, small and with the host build
of the kernels: its times mean nothing.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ROW = "row "  # how a part's process marks a line that is a row
PARTS = (  # the most wanted first: time may end before they do
    "machine",
    "attention_errors",
    "attention_times",
    "torch_edge",
    "tensorrt_plugin",
    "tensorrt_native",
    "torch_nano",
    "torch_paper",
    "onnxruntime",
    "profile",
    "layers",
)


def main() -> int:
    """Runs all parts; returns the exit code, 1 where there is no GPU or an answer is wrong."""
    args = arguments()
    if args.site:
        sys.path.insert(0, str(args.site))  # before what the machine has of the same name
    if args.part:
        return run_part(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # and so its part ends too
    report, end = Report(args.out, {"command": " ".join(sys.argv)}), time.monotonic() + args.seconds
    for name in args.parts:
        report.part(name, end, args)
        if name == "machine" and "left_out" in report.parts[name][-1]:
            return 1
    print(report.path)
    rows = [row for part in report.parts.values() for row in part]
    errors = report.parts.get("attention_errors", [])
    return 0 if all(row.get("right", row not in errors) for row in rows) else 1


def arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).resolve().parent.parent
    build = root / "build/plugin"
    parser.add_argument("--out", type=Path, default=root / "benchmarks/results")
    parser.add_argument("--weights", type=Path, default=root / "weights")
    parser.add_argument("--kernels", type=Path, default=build / "libsegmif_attention.so")
    parser.add_argument("--plugin", type=Path, default=build / "libsegmif_plugin.so")
    parser.add_argument("--site", type=Path, help="folder of further Python packages")
    parser.add_argument("--seconds", type=float, default=510, help="no part runs on after [510]")
    parser.add_argument("--most", type=float, default=150, help="seconds of one part [150]")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, for its errors only")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--ceilings", type=json.loads, default={}, help=argparse.SUPPRESS)
    return parser.parse_args()


class Report:
    """Rows of every part, in one JSON file named by GPU and time."""

    def __init__(self, folder: Path, facts: Row) -> None:
        self.parts: dict[str, list[Row]] = {}
        self._facts = facts
        self._folder = folder
        self._started = time.strftime("%Y-%m-%dT%H%MZ", time.gmtime())

    @property
    def _machine(self) -> Row:
        return next(iter(self.parts.get("machine", [])), {})

    @property
    def path(self) -> Path:
        gpu = self._machine.get("gpu", "none")
        return self._folder / f"gpu-check-{gpu.lower().replace(' ', '-')}-{self._started}.json"

    def part(self, name: str, end: float, args: argparse.Namespace) -> None:
        """Runs a part until `end` and keeps its rows; the last says why there are no more."""
        print(f"== {name}", flush=True)
        start, rows = time.monotonic(), self.parts.setdefault(name, [])
        end = min(end, start + args.most)
        ceilings = self._machine.get("ceilings", {})
        given = [*sys.argv[1:], "--part", name, "--ceilings", json.dumps(ceilings)]
        command = [sys.executable, str(Path(__file__).resolve()), *given]
        with _ending(command, max(end - start, 0)) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                if line.startswith(ROW):
                    rows.append(json.loads(line.removeprefix(ROW)))
                    self.write()
        if process.returncode and not (rows and "left_out" in rows[-1]):
            late = time.monotonic() >= end
            rows.append({"left_out": "no time" if late else f"ended with {process.returncode}"})
        self.write()
        print(f"   {time.monotonic() - start:.0f} s", flush=True)

    def write(self) -> None:
        """The file as it stands now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".part")
        unfinished.write_text(json.dumps(self._facts | self.parts, indent=1) + "\n")
        unfinished.replace(self.path)


@contextmanager
def _ending(command: list[str], seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process with all that it starts, which would else keep its pipe open: killed when late."""

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True, start_new_session=True) as process:
        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            yield process
        except BaseException:  # what ends this process, Ctrl-C or another signal, reaches it alone
            kill()
            raise
        finally:
            timer.cancel()


def run_part(args: argparse.Namespace) -> int:
    """One part, in this process: prints its rows; the last says why, where it failed."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    try:
        import gpu_parts

        for row in gpu_parts.run(args):
            print(ROW + json.dumps(row, default=str), flush=True)
    except Exception as error:
        print(ROW + json.dumps({"left_out": f"{type(error).__name__}: {error}"}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
