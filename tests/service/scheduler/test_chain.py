"""What `calibration pair` writes is read by all that comes after it, for frames of other names."""

import sys
from pathlib import Path

import numpy as np
import pytest

from calibration.__main__ import COMMANDS
from segmif import cli
from segmif.geometry.rig import Homography, write_rig
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from service.__main__ import main as service
from service.settings import Settings
from tests.service.conftest import Serve

STAMPS_MS = (1_700_000_000_000, 1_700_000_000_100, 1_700_000_000_200)
LATE_MS = 3  # infrared
SIZE = (96, 64)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three moments as two cameras name them, each infrared frame marked by its level."""
    random = np.random.default_rng(0)
    for name in ("visible", "infrared"):
        (tmp_path / name).mkdir()
    for place, stamp in enumerate(STAMPS_MS):
        colour = random.integers(0, 256, (*SIZE[::-1], 3), np.uint8)
        codecs.write_png(tmp_path / f"visible/rgb_{stamp}.png", colour)
        grey = np.full(SIZE[::-1], 210 + place, np.uint8)
        codecs.write_png(tmp_path / f"infrared/ir_{stamp + LATE_MS}.png", grey)
    write_rig(tmp_path / "rig.yaml", Homography(SIZE, SIZE, np.eye(3)))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, command: str, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["calibration", command, *map(str, words)])
    return cli.run("calibration", "", {command: COMMANDS[command]})


def test_from_stamps_to_pairs_to_aligned_and_fused_frames(
    recording: Path,
    stand_in_weights: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [f"--{name}={recording / name}" for name in ("visible", "infrared")]
    pairs, rig = f"--pairs={recording / 'pairs.csv'}", f"--rig={recording / 'rig.yaml'}"
    assert run(monkeypatch, "pair", *folders, "--out", recording / "pairs.csv") == 0
    names = [f"rgb_{stamp}" for stamp in STAMPS_MS]

    assert run(monkeypatch, "align", *folders, rig, "--out", recording / "flat") == 1
    assert "no frame of the other; give the files of a moment one name" in capsys.readouterr().err
    assert run(monkeypatch, "align", *folders, rig, pairs, "--out", recording / "flat") == 0
    for place, name in enumerate(names):
        aligned = codecs.read_infrared(recording / f"flat/infrared/{name}.png")
        assert (aligned == 210 + place).all()

    assert run(monkeypatch, "check", *folders, rig, pairs) == 1  # read, but nothing is seen in them
    assert "of 3 pairs show structure" in capsys.readouterr().err

    flags = [f"--weights={stand_in_weights}", "--threads=1", pairs]
    assert service(["infer", *folders, f"--out={recording / 'out'}", *flags]) == 0
    assert sorted(path.stem for path in (recording / "out/mask").iterdir()) == names
    with serve(Settings(weights=stand_in_weights), open_runtime(stand_in_weights)) as client:
        load = [f"--url={client.base_url}", "--window-s=0.1", "--clients=1"]
        assert service(["bench", *folders, pairs, *load]) in (0, 1)  # 1: such windows may differ
    assert "1 clients" in capsys.readouterr().out


def test_stamps_may_stand_within_a_pattern(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = recording / "both"
    both.mkdir()
    for stamp in STAMPS_MS:
        (recording / f"visible/rgb_{stamp}.png").rename(both / f"{stamp}_cam0.png")
        (recording / f"infrared/ir_{stamp + LATE_MS}.png").rename(
            both / f"{stamp + LATE_MS}_t1.png"
        )
    words = ["--visible", both, "--infrared", both, "--patterns", "*_cam0", "*_t1"]
    assert run(monkeypatch, "pair", *words, "--out", recording / "pairs.csv") == 0
    rows = (recording / "pairs.csv").read_text().splitlines()[1:]
    assert rows == [f"{at}_cam0.png,{at + LATE_MS}_t1.png,3.000" for at in STAMPS_MS]
