"""What a calibration of known truth reaches, from the shell."""

import json
import sys
from itertools import chain, cycle, repeat

import numpy as np
import pytest

from calibration.commands import simulate
from calibration.solver import synthetic
from calibration.solver.synthetic import BOARD, example_rig
from segmif import cli


def test_eighty_views_of_a_fine_board_know_the_rotation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What the README recommends; docs/results-rig.md has it of 100 draws.
    board = ["--corners", "14x10", "--square-mm", "23.1"]
    command = ["calibration", "simulate", "--guided", *board, "--views", "80", "--draws", "1"]
    monkeypatch.setattr(sys, "argv", command)
    assert cli.run("calibration", "", {"simulate": simulate}) == 0
    told = json.loads(capsys.readouterr().out)
    for name, bound in (
        ("visible_focal_percent", 0.3),
        ("infrared_focal_percent", 0.3),
        ("rotation_degrees", 0.05),
        ("baseline_percent", 0.5),
        ("epipolar_px", 0.3),
    ):
        assert told[name]["worst"] < bound, name


def test_a_board_that_no_camera_sees_whole_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("calibration.solver.synthetic.TRIES", 20)
    board = ["--corners", "9x6", "--square-mm", "500"]
    monkeypatch.setattr(sys, "argv", ["calibration", "simulate", *board, "--draws", "1"])
    assert cli.run("calibration", "", {"simulate": simulate}) == 1
    assert "both cameras see no chessboard of 9x6" in capsys.readouterr().err


def test_a_board_that_is_seldom_in_view_is_found_as_often_as_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tries are counted for each pose: many views take more of them than one may."""
    sees = cycle([False] * 9 + [True])
    monkeypatch.setattr(synthetic, "TRIES", 15)
    monkeypatch.setattr(synthetic, "in_view", lambda *_: next(sees))
    found = synthetic.poses(example_rig(), BOARD, 5, np.random.default_rng(0))
    assert len(list(found)) == 5


def test_a_hand_that_never_holds_the_board_in_view_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sees = chain(repeat(False, 20), repeat(True))
    monkeypatch.setattr(simulate, "TRIES", 20)
    monkeypatch.setattr(simulate, "in_view", lambda *_: next(sees))
    with pytest.raises(ValueError, match="no hand holds a chessboard of 9x6"):
        simulate.hand_held(example_rig(), BOARD, np.zeros(6), np.random.default_rng(0))
