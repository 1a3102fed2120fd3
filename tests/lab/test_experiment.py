"""An experiment goes on where it was stopped and averages what it has."""

import argparse
import json
from pathlib import Path

import pytest

from lab import ablation, experiment, worth
from lab.experiment import Arm
from training.config import TrainConfig

ARMS = {"plain": Arm("as it is"), "no fusion": Arm("without", judges_fusion=False)}


def asked(tmp_path: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    experiment.add_arguments(parser, ARMS, "test", Path("training/configs/ablation.toml"))
    folders = ["--results", str(tmp_path / "results"), "--table", str(tmp_path / "table.md")]
    return parser.parse_args([*folders, *more])


def test_arms_that_are_done_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[tuple[str, int]] = []

    def run_arm(arm: Arm, config: TrainConfig, *_: object) -> dict[str, float | None]:
        runs.append((arm.says, config.seed))
        return {"mIoU all": config.seed / 10, "MI": None if arm is ARMS["no fusion"] else 3.0}

    monkeypatch.setattr(experiment, "run_arm", run_arm)
    for seeds in (["0"], ["0", "2"]):
        args = asked(tmp_path, "--seeds", *seeds)
        assert experiment.run(ARMS, ["mIoU all", "MI"], args, Path("edge")) == 0
    assert runs == [("as it is", 0), ("without", 0), ("as it is", 2), ("without", 2)]
    table = (tmp_path / "table.md").read_text()
    assert "| plain | as it is | 2 | 0.100 ± 0.141 | 3.000 ± 0.000 |" in table
    assert "| no fusion | without | 2 | 0.100 ± 0.141 | - |" in table
    assert table in capsys.readouterr().out
    result = json.loads(next(tmp_path.glob("results/nano-*/no-fusion-2.json")).read_text())
    assert {"date", "revision", "device", "torch", "processor"} <= result.keys()


def test_a_table_without_a_place_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for table, words in ((tmp_path / "none/t.md", "make the folder"), (tmp_path, "is a folder")):
        args = asked(tmp_path, "--table", str(table))
        with pytest.raises(ValueError, match=f"cannot be written.*{words}"):
            experiment.run(ARMS, ["mIoU all"], args, Path("edge"))
    assert not (tmp_path / "results").exists()


def test_results_tell_their_command_without_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "run_arm", lambda *_: {"mIoU all": 0.5})
    here = str(Path.cwd() / "runs")
    words = ["ablation", "--folder", here, f"--data={here}", "--arms", "no fusion"]
    monkeypatch.setattr("sys.argv", [str(Path.cwd() / "training/__main__.py"), *words])
    args = asked(tmp_path, "--seeds", "0")
    experiment.run(ARMS, ["mIoU all"], args, Path("edge"))
    command = "python -m lab ablation --folder runs --data=runs --arms 'no fusion'"
    path = next(tmp_path.glob("results/nano-*/plain-0.json"))
    older = json.loads(path.read_text())
    assert older.pop("command") == command
    path.write_text(json.dumps(older))  # as those of before it was noted
    assert f"- command: {command}\n" in experiment.table(ARMS, ["mIoU all"], path.parent)


def test_arms_have_files_of_their_own() -> None:
    for arms in (ablation.ARMS, worth.arms(lambda frame: frame.visible, Path())):
        assert len({name.replace(" ", "-") for name in arms}) == len(arms)
