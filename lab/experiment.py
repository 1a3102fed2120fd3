"""Arms of an experiment: the same short training with one thing changed, several seeds each."""

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
from segmif.files import write_text
from segmif.machine import processor
from segmif.model.network import Network
from segmif.parsing import parse_json
from training.config import TrainConfig, read_config
from training.data.datasets import FrameSet
from training.data.sources import data_root, open_source
from training.evaluation.evaluate import check_places, predict_by
from training.evaluation.frame_metrics import Wanted, judge
from training.evaluation.results import BOTH
from training.fit.run_folder import git_revision
from training.train import train


@dataclass(frozen=True)
class Arm:
    """One row of the table: what is done otherwise."""

    says: str
    change: Callable[[Network], None] | None = None  # of the network, before it learns
    view: Callable[[FrameSet], FrameSet] | None = None  # of the frames, in training and judging
    settings: Mapping[str, Any] = field(default_factory=dict)  # other values of the config
    with_teacher: bool = False
    judges_fusion: bool = True


def add_arguments(
    parser: argparse.ArgumentParser, arms: Mapping[str, Arm], name: str, config: Path
) -> None:
    """The flags of an experiment over `arms`; its results lie in a folder of its name."""
    parser.add_argument("--config", type=Path, default=config, help="what every arm gets")
    parser.add_argument("--data", type=Path, default=data_root(), help="real frames")
    parser.add_argument("--arms", nargs="+", choices=list(arms), default=list(arms))
    parser.add_argument("--seeds", type=IntegerRange(0, 2**32 - 1), nargs="+", default=[0, 1, 2])
    results = Path("benchmarks/results") / name
    parser.add_argument(
        "--results", type=Path, default=results, help="one JSON file an arm and seed, by budget"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs") / name, help="of the run")
    parser.add_argument("--table", type=Path, help="Markdown file to write the table into")


def run(
    arms: Mapping[str, Arm], columns: Sequence[str], args: argparse.Namespace, teacher: Path
) -> int:
    """
    Runs what has no result yet, prints the table, writes it where asked.

    All arms of one seed come first, so that the table is fair whenever the command is stopped.
    """
    config = read_config(args.config)
    check_places(args.table)
    results = args.results / f"{config.variant}-{config.steps}"  # budgets never share a table
    for seed in args.seeds:
        for name in args.arms:
            result = _result_path(results, name, str(seed))
            if not result.is_file():
                arm, settings = arms[name], replace(config, seed=seed, **arms[name].settings)
                numbers = run_arm(arm, settings, args, teacher if arm.with_teacher else None)
                result.parent.mkdir(parents=True, exist_ok=True)
                told = json.dumps({"numbers": numbers, **circumstances(settings)}, indent=2)
                write_text(result, told + "\n")
    text = table(arms, columns, results)
    print(text)
    if args.table:
        write_text(args.table, text)
    return 0


def run_arm(
    arm: Arm, config: TrainConfig, args: argparse.Namespace, teacher: Path | None
) -> dict[str, float | None]:
    """
    Trains an arm with one seed and judges it on the validation frames.

    Gives numbers by name; None for a class that no frame of that light shows.
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
    result = judge(
        predict_by(network.eval()),
        arm.view(frames) if arm.view else frames,
        Wanted(fusion=arm.judges_fusion, sensor_drop=arm.view is None),
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
    """What else a reader of the numbers must know."""
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
    """What this program was called by, with its paths as seen from here."""

    def from_here(word: str) -> str:
        flag, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        return flag + equals + (os.path.relpath(value) if Path(value).is_absolute() else value)

    return shlex.join(["python", "-m", "training", *map(from_here, sys.argv[1:])])


def table(arms: Mapping[str, Arm], columns: Sequence[str], folder: Path) -> str:
    """A Markdown table of all results so far: mean of the seeds ± standard deviation."""
    told: list[dict[str, Any]] = []
    lines = [
        f"| arm | what differs | seeds | {' | '.join(columns)} |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for name, arm in arms.items():
        files = sorted(folder.glob(_result_path(Path(), name, "[0-9]*").name))
        results = [parse_json(file) for file in files]
        if results:
            told += results
            cells = [_cell([one["numbers"].get(column) for one in results]) for column in columns]
            lines.append(f"| {name} | {arm.says} | {len(results)} | {' | '.join(cells)} |")
    lines += ["", "Mean of the seeds ± standard deviation."]
    for fact in (
        *("variant", "steps", "date", "device", "machine", "processor", "torch", "revision"),
        "command",
    ):
        known = sorted({str(one[fact]) for one in told if fact in one})  # older ones lack some
        if known:
            lines.append(f"- {fact}: {', '.join(known)}")
    return "\n".join(lines) + "\n"


def _result_path(folder: Path, arm: str, seed: str) -> Path:
    return folder / f"{arm.replace(' ', '-')}-{seed}.json"


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {stdev(known):.3f}" if len(known) > 1 else ""
    return f"{mean(known):.3f}{spread}"
