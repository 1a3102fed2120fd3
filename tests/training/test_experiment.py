"""An experiment goes on where it was stopped and averages what it has."""

import argparse
import json
from pathlib import Path

import pytest

from training import ablation, experiment, worth
from training.config import TrainConfig
from training.experiment import Arm

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
    assert {"date", "revision", "device", "torch"} <= result.keys()


def test_arms_have_files_of_their_own() -> None:
    for arms in (ablation.ARMS, worth.arms(lambda frame: frame.visible, Path())):
        assert len({name.replace(" ", "-") for name in arms}) == len(arms)
