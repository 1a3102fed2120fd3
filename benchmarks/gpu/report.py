"""Runs each part of `benchmarks.gpu.check` in its own process and keeps the rows in files."""

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
from itertools import groupby
from pathlib import Path
from typing import Any

from segmif.files import write_text

Row = dict[str, Any]
PART_S, ENGINE_S = 120, 240  # limit of a part; of one that makes an engine or its ONNX
ROW = "row "  # prefix of a row in a part's output


class Report:
    """Rows of every part, as JSON and as text tables in files named by GPU and time."""

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

    @property
    def measured(self) -> bool:
        """Whether any part has a result."""
        return any("left_out" not in row for rows in self.parts.values() for row in rows)

    @property
    def lacks_tensorrt(self) -> str:
        """Why no engine can be built here; empty if one can, or if the machine was not asked."""
        version = str(self._machine.get("tensorrt", ""))
        return version if version.startswith("none") else ""

    def leave_out(self, name: str, why: str) -> None:
        """Notes a part that this machine cannot run."""
        self.parts[name] = [{"left_out": why}]
        self.write()

    def part(self, name: str, end: float, args: argparse.Namespace) -> None:
        """Runs a part until `end` and keeps its rows; the last has the reason if it failed."""
        print(f"== {name}", flush=True)
        start, rows = time.monotonic(), self.parts.setdefault(name, [])
        most = ENGINE_S if name.startswith(("tensorrt", "onnx_")) else PART_S
        end = min(end, start + (args.most or most))
        ceilings = self._machine.get("ceilings", {})
        given = ["--part", name, "--ceilings", json.dumps(ceilings), "--built", str(args.built)]
        command = [sys.executable, "-m", "benchmarks.gpu.check", *sys.argv[1:], *given]
        with _ending(command, max(end - start, 0)) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                if line.startswith(ROW):
                    rows.append(json.loads(line.removeprefix(ROW)))
                    self.write()
        explained = process.returncode == 1 and rows and "left_out" in rows[-1]
        if process.returncode and not explained:
            late = time.monotonic() >= end
            rows.append({"left_out": "no time" if late else f"ended with {process.returncode}"})
        self.write()
        print(f"   {time.monotonic() - start:.0f} s", flush=True)

    def write(self) -> None:
        """Writes both files; none if nothing was measured, as without a GPU."""
        if not self.measured:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        shown = sorted(self.parts.items(), key=lambda part: part[0] != "profile")
        table = "\n".join(f"{name}\n{text(rows)}" for name, rows in shown)
        words = {".json": json.dumps(self._facts | self.parts, indent=1) + "\n", ".txt": table}
        for suffix, content in words.items():
            write_text(self.path.with_suffix(suffix), content)


@contextmanager
def _ending(command: list[str], seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process, killed after `seconds` with its children, which would keep its pipe open."""

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True, start_new_session=True) as process:
        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            yield process
        except BaseException:  # a signal reaches this process only
            kill()
            raise
        finally:
            timer.cancel()


def text(rows: list[Row]) -> str:
    """Rows as tables, a new one wherever the columns change."""
    return "".join(_table(list(alike)) + "\n" for _, alike in groupby(map(_flat, rows), key=list))


def _table(rows: list[dict[str, str]]) -> str:
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    lines = [dict(zip(widths, widths, strict=True)), *rows]
    return "".join(
        "  " + "  ".join(line[key].rjust(width) for key, width in widths.items()) + "\n"
        for line in lines
    )


def _flat(row: Row, before: str = "") -> dict[str, str]:
    """The row's cells by the names of their columns."""
    cells: dict[str, str] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            cells |= _flat(value, f"{before}{key}.")
        else:
            cells[before + key] = (
                f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
            )
    return cells
