"""
Arms of an experiment: the same short training with one thing changed, several seeds each.

Results are one JSON-lines file per experiment under `lab/results`, one line a run.
"""

import argparse
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from segmif.argument_types import IntegerRange
from segmif.files import TABLE_BYTES, read_text, write_text
from segmif.machine import processor
from segmif.model.network import Network
from segmif.model.predict import predict_by
from segmif.parsing import json_value
from training.config import TrainConfig, read_config
from training.data.datasets import FrameSet
from training.data.sources import data_root, open_source
from training.evaluation.evaluate import check_outputs
from training.evaluation.frame_metrics import Measures, evaluate_set
from training.evaluation.results import BOTH
from training.fit.run_folder import git_revision
from training.train import train

Results = list[dict[str, Any]]  # a run each: arm, seed, `numbers` and what `circumstances` gives

RESULTS = Path("lab/results")
CIRCUMSTANCES = ("variant", "steps", "date", "device", "machine", "processor", "torch", "revision")


@dataclass(frozen=True)
class Arm:
    """One row of the table: what differs from the other arms."""

    description: str
    change: Callable[[Network], Mapping[str, object] | None] | None = None  # as `train` takes it
    view: Callable[[FrameSet], FrameSet] | None = None  # of the frames, training and validation
    settings: Mapping[str, Any] = field(default_factory=dict)  # other values of the config
    with_teacher: bool = False
    evaluates_fusion: bool = True


def add_arguments(
    parser: argparse.ArgumentParser, arms: Mapping[str, Arm], name: str, config: Path
) -> None:
    """The flags of an experiment over `arms`; its results are `lab/results/NAME.jsonl`."""
    parser.add_argument("--config", type=Path, default=config, help="settings of every arm, TOML")
    parser.add_argument("--data", type=Path, default=data_root(), help="real frames")
    parser.add_argument("--arms", nargs="+", choices=list(arms), default=list(arms))
    parser.add_argument("--seeds", type=IntegerRange(0, 2**32 - 1), nargs="+", default=[0, 1, 2])
    results = RESULTS / f"{name}.jsonl"
    parser.add_argument(
        "--results", type=Path, default=results, help="JSON lines, one a run [%(default)s]"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs") / name, help="of the run")
    parser.add_argument("--table", type=Path, help="Markdown file to write the table into")


def run(
    arms: Mapping[str, Arm],
    columns: Sequence[str],
    args: argparse.Namespace,
    teacher: Path,
    heading: str,
) -> int:
    """
    Runs what has no result yet, prints the table, writes it to `args.table` if that is given.

    `heading` (Markdown) stands above the table. All arms of one seed come first, so that the table
    is fair whenever the command is stopped.
    """
    config = read_config(args.config)
    check_outputs(args.table)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for name in args.arms:
            done = [(result["arm"], result["seed"]) for result in read(args.results, config)]
            if (name, seed) not in done:
                arm, settings = arms[name], replace(config, seed=seed, **arms[name].settings)
                numbers = run_arm(arm, settings, args, teacher if arm.with_teacher else None)
                append(
                    args.results,
                    {"arm": name, "seed": seed, **circumstances(config), "numbers": numbers},
                )
    text = f"{heading}\n\n{table(arms, columns, read(args.results, config))}"
    print(text)
    if args.table:
        write_text(args.table, text)
    return 0


def read(path: Path, config: TrainConfig) -> Results:
    """
    The results of a file that have the variant and the steps of `config`; none without a file.

    Other budgets never share a table. Raises ValueError with the line that is no JSON.
    """
    if not path.is_file():
        return []
    results: Results = []
    for number, line in enumerate(read_text(path, TABLE_BYTES).splitlines(), start=1):
        try:
            results.append(json_value(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}; remove the line") from None
    budget = (config.variant, config.steps)
    return [each for each in results if (each["variant"], each["steps"]) == budget]


def append(path: Path, result: Mapping[str, Any]) -> None:
    """Adds a line; runs of several processes may share a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def run_arm(
    arm: Arm, config: TrainConfig, args: argparse.Namespace, teacher: Path | None
) -> dict[str, float | None]:
    """
    Trains an arm with one seed and evaluates it on the validation frames.

    Returns numbers by name; None for a class that no frame of that light shows.
    """
    network = train(
        config,
        args.data,
        args.folder,
        args.folder / "weights.safetensors",
        teachers=[teacher] if teacher else [],
        change=arm.change,
        view=arm.view,
    )
    frames = open_source(config.validation, args.data)
    result = evaluate_set(
        predict_by(network.eval()),
        arm.view(frames) if arm.view else frames,
        Measures(fusion=arm.evaluates_fusion, sensor_drop=arm.view is None),
    )
    numbers: dict[str, float | None] = {
        "parameters": float(sum(p.numel() for p in network.parameters()))
    }
    for sensors in result.sensors():
        shown = "" if sensors == BOTH else f", {sensors}"
        for light, confusion in result.masks(sensors).items():
            numbers[f"mIoU {light}{shown}"] = confusion.mean_iou
            classes = zip(network.config.taxonomy.names, confusion.iou, strict=True)
            numbers |= {
                f"{name} {light}{shown}": None if math.isnan(share) else float(share)
                for name, share in classes
            }
    for metrics in result.fusion().values():
        numbers |= asdict(metrics)
    return numbers


def circumstances(config: TrainConfig) -> dict[str, Any]:
    """The budget, the date, the code and the machine of a run."""
    return {
        "variant": config.variant,
        "steps": config.steps,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "revision": git_revision(),
        "command": command(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
    }


def command() -> str:
    """The command line of this program, with paths relative to the current folder."""

    def from_here(word: str) -> str:
        flag, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        return flag + equals + (os.path.relpath(value) if Path(value).is_absolute() else value)

    return shlex.join(["python", "-m", "lab", *map(from_here, sys.argv[1:])])


def table(arms: Mapping[str, Arm], columns: Sequence[str], results: Results) -> str:
    """A Markdown table of all results of `arms`: mean of the seeds ± standard deviation."""
    results = [result for result in results if result["arm"] in arms]
    lines = [
        f"| arm | what differs | seeds | {' | '.join(columns)} |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for name, arm in arms.items():
        if runs := [result for result in results if result["arm"] == name]:
            cells = [_cell([each["numbers"].get(column) for each in runs]) for column in columns]
            lines.append(f"| {name} | {arm.description} | {len(runs)} | {' | '.join(cells)} |")
    lines += ["", "Mean of the seeds ± standard deviation."]
    for fact in (*CIRCUMSTANCES, "command"):
        known = sorted(
            {str(each[fact]) for each in results if fact in each}
        )  # older ones lack some
        if known:
            lines.append(f"- {fact}: {', '.join(known)}")
    return "\n".join(lines) + "\n"


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {stdev(known):.3f}" if len(known) > 1 else ""
    return f"{mean(known):.3f}{spread}"
