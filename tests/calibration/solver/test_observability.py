"""Views that leave the rig open are refused with the pose that is missing; others are solved."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from calibration.commands import pick, solve
from calibration.commands.simulate import compare
from calibration.commands.solve import calibrate_or_explain, uncovered_regions
from calibration.solver.bundle_adjustment import PairView
from calibration.solver.observability import Undetermined
from calibration.solver.stereo import calibrate
from calibration.solver.synthetic import BOARD, example_rig, in_view, pose_of_middle, simulate_views
from segmif import cli
from segmif.geometry.rig import Floats, Rig, read_rig
from segmif.imaging.codecs import encode_png
from segmif.thermal.camera_profile import Crop

SIZES = ((1280, 960), (640, 480))
Random = np.random.Generator


def at(
    random: Random, tilts: Sequence[float] | Floats, depth_m: float, *, reach: float = 0.4
) -> Floats:
    tilt, turn = tilts
    x, y = random.uniform(-reach, reach, 2) * depth_m
    return np.array([tilt, turn, random.uniform(-0.5, 0.5), x, y, depth_m])


def depth(random: Random) -> float:
    return float(random.uniform(0.22, 0.6))


# How the board is held: tilt about x and about y [rad], and distance [m].
OPEN: dict[str, tuple[Callable[[Random], Floats], list[str]]] = {
    "facing the cameras": (
        lambda r: at(r, (0, 0), depth(r)),
        [
            "faces the visible camera in all views, or is too far",
            "left or right edge",
            "top or bottom edge",
        ],
    ),
    "facing them at one distance": (
        lambda r: at(r, (0, 0), 0.4),
        ["faces the visible camera", "left or right edge", "nearer and farther"],
    ),
    "hardly tilted": (
        lambda r: at(r, r.uniform(-0.06, 0.06, 2), depth(r)),
        ["left or right edge", "top or bottom edge"],
    ),
    "always in one pose": (
        lambda r: np.array([0.4, 0.3, 0, 0.02, 0, 0.4]) + r.uniform(-0.01, 0.01, 6),
        ["do not determine the focal length", "nearer and farther"],
    ),
    "small and far": (
        lambda r: at(r, r.uniform(-0.8, 0.8, 2), r.uniform(1.5, 2.5), reach=0.3),
        ["do not determine the focal length", "larger in the frame"],
    ),
}
SOLVED: dict[str, Callable[[Random], Floats]] = {
    "any pose": lambda r: at(r, r.uniform(-0.8, 0.8, 2), depth(r)),
    "tilted by 20 degrees": lambda r: at(r, r.uniform(-0.35, 0.35, 2), depth(r)),
    "about one axis": lambda r: at(r, (0, r.uniform(-0.8, 0.8)), depth(r)),
    "at one distance": lambda r: at(r, r.uniform(-0.8, 0.8, 2), 0.4),
    "in one corner": lambda r: (
        at(r, r.uniform(-0.8, 0.8, 2), 0.5, reach=0.05) - [0, 0, 0, 0.13, 0.1, 0]
    ),
}


def shown(how: Callable[[Random], Floats], count: int, seed: int = 0) -> list[PairView]:
    return simulate_views(
        example_rig(), BOARD, held(how, count, seed), 0.2, np.random.default_rng(seed)
    )


def held(how: Callable[[Random], Floats], count: int, seed: int) -> list[Floats]:
    random, found = np.random.default_rng(seed), list[Floats]()
    while len(found) < count:
        pose = pose_of_middle(how(random), BOARD)
        if in_view(example_rig(), BOARD, pose):
            found.append(pose)
    return found


@pytest.mark.parametrize("how", list(OPEN))
def test_views_that_leave_the_rig_open_are_refused(how: str) -> None:
    views = shown(OPEN[how][0], 8)
    with pytest.raises(Undetermined) as refusal:
        calibrate(views, BOARD, SIZES)
    assert all(words in str(refusal.value) for words in OPEN[how][1])


@pytest.mark.parametrize("how", list(SOLVED))
def test_views_that_determine_it_are_solved(how: str) -> None:
    found = calibrate(shown(SOLVED[how], 8), BOARD, SIZES)
    errors = compare(found, example_rig())
    assert errors.visible_focal_percent < 1.5
    assert errors.infrared_focal_percent < 1.5
    assert not found.undetermined
    warned = [sentence for sentence in uncovered_regions(found) if "lower right" in sentence]
    assert len(warned) == (2 if how == "in one corner" else 0)


def test_a_rig_left_open_is_not_written_unless_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    views = shown(OPEN["always in one pose"][0], 5)
    for name, shape in (("visible", (960, 1280, 3)), ("infrared", (480, 640))):
        (tmp_path / name).mkdir()
        for index in range(len(views)):
            (tmp_path / name / f"{index}.png").write_bytes(encode_png(np.zeros(shape, np.uint8)))
    corners = [seen for view in views for seen in (view.visible, view.infrared)] * 2
    monkeypatch.setattr(solve, "detect", lambda frame, board: corners.pop(0))
    board = ["--corners", "9x6", "--square-mm", "23.1"]
    folders = ["--visible", f"{tmp_path}/visible", "--infrared", f"{tmp_path}/infrared"]
    words = ["calibration", "solve", *folders, *board, "--out", f"{tmp_path}/rig.yaml"]
    monkeypatch.setattr(sys, "argv", words)
    assert cli.run("calibration", "", {"solve": solve}) == 1
    said = capsys.readouterr().err
    assert "nearer and farther" in said
    assert "--accept-undetermined writes the rig all the same" in said
    assert not (tmp_path / "rig.yaml").exists()
    monkeypatch.setattr(sys, "argv", [*words, "--accept-undetermined"])
    assert cli.run("calibration", "", {"solve": solve}) == 0
    assert "NOT DETERMINED, accepted all the same" in capsys.readouterr().out
    rig = read_rig(tmp_path / "rig.yaml")
    assert isinstance(rig, Rig)
    assert "NOT DETERMINED by its views" in rig.source


def mirrored(view: PairView) -> PairView:
    """What a search reads of a mirrored picture: rows from left to right, as in any other."""
    order = np.arange(54).reshape(6, 9)[:, ::-1].ravel()
    points = (view.infrared.points * (-1, 1) + (639, 0))[order]
    return replace(view, infrared=replace(view.infrared, points=points))


def stretched(view: PairView) -> PairView:
    points = (view.infrared.points + 0.5) * (1, 4 / 3) - 0.5
    return replace(view, infrared=replace(view.infrared, points=points))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("mirrored", "if the infrared picture was mirrored: turn that off"),
        ("stretched", r"was stretched from 640x4(79|80|81) \(its pixels are 0.75 times as high"),
        ("late", "if the infrared picture was one frame earlier: pair the frames anew"),
        ("shuffled", "Nor does one fit if infrared was mirrored, stretched, or paired one frame"),
    ],
)
def test_what_was_done_to_infrared_is_told(what: str, said: str) -> None:
    views, sizes = shown(SOLVED["any pose"], 7, 3), SIZES
    if what == "mirrored":
        views = [mirrored(view) for view in views]
    elif what == "stretched":
        views, sizes = [stretched(view) for view in views], (SIZES[0], (640, 640))
    elif what == "late":
        views = [replace(one, infrared=other.infrared) for one, other in pairwise(views)]
    else:
        order = np.random.default_rng(0).permutation(len(views))
        views = [
            replace(one, infrared=views[at].infrared) for one, at in zip(views, order, strict=True)
        ]
    with pytest.raises(ValueError, match=said):
        calibrate_or_explain(views, BOARD, sizes, ("radtan", "radtan"), "", False)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([(40 * n + 20, 30 * n + 10) for n in range(10)], "no plane explains"),  # on a line
        ([(60 * n + 20, 30 * n + n % 2) for n in range(10)], "do not determine"),  # nearly
        ([(300 + 9 * (n % 4), 9 * (n // 4)) for n in range(12)], "do not determine"),  # near
        ([(180 * (n % 4) + 30, 150 * (n // 4) + 40) for n in range(12)], ""),
    ],
)
def test_picked_points_must_be_spread(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    points: list[tuple[float, float]],
    said: str,
) -> None:
    rows = [f"{x},{y},{x / 2 + 10},{y / 2 + 5}" for x, y in points]
    (tmp_path / "points.csv").write_text("\n".join([",".join(pick.COLUMNS), *rows]))
    sizes = ["--visible-size", "640x480", "--infrared-size", "400x300"]
    files = ["--points", f"{tmp_path}/points.csv", "--out", f"{tmp_path}/rig.yaml"]
    stated = ["--infrared-crop", "0,0,0,2", "--infrared-polarity", "black_hot"]
    monkeypatch.setattr(sys, "argv", ["calibration", "pick", *sizes, *files, *stated])
    assert cli.run("calibration", "", {"pick": pick}) == (1 if said else 0)
    assert said in capsys.readouterr().err
    assert (tmp_path / "rig.yaml").exists() == (not said)
    if not said:
        heat = read_rig(tmp_path / "rig.yaml").frames.infrared
        assert (heat.crop, heat.polarity) == (Crop(bottom=2), "black_hot")
