"""An experiment goes on where it was stopped and averages what it has."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab import ablation, experiment, worth
from lab.experiment import Arm
from training.config import TrainConfig, read_config

CONFIGS = Path("lab/configs")
ARMS = {"plain": Arm("as it is"), "no fusion": Arm("without", evaluates_fusion=False)}


def asked(tmp_path: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    experiment.add_arguments(parser, ARMS, "test", Path("lab/configs/ablation.toml"))
    folders = [
        "--results",
        str(tmp_path / "results/test.jsonl"),
        "--table",
        str(tmp_path / "table.md"),
    ]
    return parser.parse_args([*folders, *more])


def test_arms_that_are_done_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[tuple[str, int]] = []

    def run_arm(arm: Arm, config: TrainConfig, *_: object) -> dict[str, float | None]:
        runs.append((arm.description, config.seed))
        return {"mIoU all": config.seed / 10, "MI": None if arm is ARMS["no fusion"] else 3.0}

    monkeypatch.setattr(experiment, "run_arm", run_arm)
    for seeds in (["0"], ["0", "2"]):
        args = asked(tmp_path, "--seeds", *seeds)
        assert experiment.run(ARMS, ["mIoU all", "MI"], args, Path("edge"), "# A title") == 0
    assert runs == [("as it is", 0), ("without", 0), ("as it is", 2), ("without", 2)]
    table = (tmp_path / "table.md").read_text()
    assert "| plain | as it is | 2 | 0.100 ± 0.141 | 3.000 ± 0.000 |" in table
    assert "| no fusion | without | 2 | 0.100 ± 0.141 | - |" in table
    assert table.startswith("# A title\n\n| arm |")
    assert table in capsys.readouterr().out
    result = json.loads((tmp_path / "results/test.jsonl").read_text().splitlines()[-1])
    assert (result["arm"], result["seed"]) == ("no fusion", 2)
    assert {"date", "revision", "device", "torch", "processor"} <= result.keys()


def test_a_table_without_a_place_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for table, words in ((tmp_path / "none/t.md", "make the folder"), (tmp_path, "is a folder")):
        args = asked(tmp_path, "--table", str(table))
        with pytest.raises(ValueError, match=f"cannot be written.*{words}"):
            experiment.run(ARMS, ["mIoU all"], args, Path("edge"), "")
    assert not (tmp_path / "results").exists()


def test_results_tell_their_command_without_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "run_arm", lambda *_: {"mIoU all": 0.5})
    here = str(Path.cwd() / "runs")
    words = ["ablation", "--folder", here, f"--data={here}", "--arms", "no fusion"]
    monkeypatch.setattr("sys.argv", [str(Path.cwd() / "training/__main__.py"), *words])
    args = asked(tmp_path, "--seeds", "0")
    experiment.run(ARMS, ["mIoU all"], args, Path("edge"), "")
    command = "python -m lab ablation --folder runs --data=runs --arms 'no fusion'"
    results = experiment.read(args.results, read_config(args.config))
    assert results[0].pop("command") == command  # as those of before it was noted
    assert f"- command: {command}\n" in experiment.table(ARMS, ["mIoU all"], results)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    args = asked(tmp_path)
    args.results.parent.mkdir()
    args.results.write_text('{"arm": "plain", "se')
    with pytest.raises(ValueError, match=r"test\.jsonl, line 1: .*no JSON.*remove the line"):
        experiment.run(ARMS, ["mIoU all"], args, Path("edge"), "")


@pytest.mark.parametrize("name", ["ablation", "worth"])
def test_kept_results_are_of_arms_that_exist(name: str) -> None:
    arms = {
        "ablation": ablation.ARMS,
        "worth": worth.arms(lambda frame, tint: frame.visible, Path()),
    }[name]
    kept = experiment.read(
        experiment.RESULTS / f"{name}.jsonl", read_config(CONFIGS / f"{name}.toml")
    )
    assert {result["arm"] for result in kept} == set(arms)
    runs = [(result["arm"], result["seed"]) for result in kept]
    assert len(set(runs)) == len(runs)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_configs_are_valid(path: Path) -> None:
    assert read_config(path).steps > 0


def test_training_names_the_new_command() -> None:
    old = [sys.executable, "-m", "training", "ablation", "--seeds", "0"]
    ended = subprocess.run(old, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == "python -m training ablation is now python -m lab ablation\n"
