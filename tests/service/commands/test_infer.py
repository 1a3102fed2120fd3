"""Folders in, folders out."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segmif.folders import FilePair
from segmif.frames import DEFAULT_TINT
from segmif.imaging import codecs
from service.__main__ import main
from service.commands.infer import infer_folders
from service.commands.infer_report import ReportFile
from tests.conftest import BRIGHTER

SHAPE = (50, 70)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twelve pairs of one name each, the infrared ones as 16-bit TIFF now and then."""
    rng = np.random.default_rng(0)
    for folder in ("visible", "infrared"):
        (tmp_path / folder).mkdir()
    for place in range(12):
        name = f"{place:03d}"
        codecs.write_png(
            tmp_path / "visible" / f"{name}.png", rng.integers(0, 256, (*SHAPE, 3), np.uint8)
        )
        infrared = rng.integers(0, 256, SHAPE, np.uint8)
        if place % 4:
            codecs.write_png(tmp_path / "infrared" / f"{name}.png", infrared)
        else:
            counts = infrared.astype(np.uint16) * 100
            (tmp_path / "infrared" / f"{name}.TIFF").write_bytes(
                cv2.imencode(".tiff", counts)[1].tobytes()
            )
    return tmp_path


def infer(recording: Path, weights: Path, *flags: str) -> int:
    folders = [f"--{name}={recording / name}" for name in ("visible", "infrared", "out")]
    return main(["infer", *folders, f"--weights={weights}", "--threads=1", *flags])


def test_what_an_interrupted_run_has_written_is_on_the_disk(
    recording: Path, stand_in_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fused = recording / "out" / "fused"
    monkeypatch.setattr(os, "sync", lambda: synced.extend(path.name for path in fused.iterdir()))
    written = ReportFile.write

    def interrupt(report: ReportFile, line: dict[str, Any]) -> None:
        written(report, line)
        if line["name"] == "001":
            raise KeyboardInterrupt

    monkeypatch.setattr(ReportFile, "write", interrupt)
    assert infer(recording, stand_in_weights) == 130
    assert {"000.png", "001.png"} <= set(synced)


def test_every_pair_becomes_a_picture_and_a_mask(
    recording: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(recording, stand_in_weights) == 0
    names = [f"{place:03d}.png" for place in range(12)]
    for folder in ("fused", "mask"):
        assert sorted(path.name for path in (recording / "out" / folder).iterdir()) == names
    for name in ("001.png", "011.png"):
        visible = codecs.read_visible(recording / "visible" / name)
        infrared = codecs.read_infrared(recording / "infrared" / name)
        fused = codecs.read_visible(recording / "out" / "fused" / name)
        np.testing.assert_array_equal(fused, visible)
        labels = codecs.read_labels(recording / "out" / "mask" / name)
        np.testing.assert_array_equal(labels, np.where(infrared > 200, 2, 0))
    told = capsys.readouterr().out
    assert re.search(r"12 pairs in [\d.]+ s: [\d.]+ pairs/s", told)
    assert re.search(r"decode [\d.]+.*infer [\d.]+.*encode [\d.]+", told)


def test_a_tint_is_chosen_for_all_pairs(
    recording: Path,
    stand_in_weights: Path,
    old_stand_in_weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert infer(recording, stand_in_weights, "--tint=0") == 0
    visible = codecs.read_visible(recording / "visible" / "003.png")
    fused = codecs.read_visible(recording / "out" / "fused" / "003.png")
    darker = visible.astype(int) - BRIGHTER * DEFAULT_TINT
    np.testing.assert_array_equal(fused, darker.clip(0))
    lines = (recording / "out" / "report.jsonl").read_text().splitlines()
    assert {json.loads(line)["report"]["tint"] for line in lines} == {0}
    assert infer(recording, old_stand_in_weights, "--tint=0") == 2
    assert "the hue of this network is fixed" in capsys.readouterr().err


def test_what_fails_is_named_and_the_others_are_written(
    recording: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recording / "visible" / "003.png").unlink()
    (recording / "infrared" / "005.png").write_bytes(b"no image")
    codecs.write_png(recording / "infrared" / "007.png", np.zeros((70, 50), np.uint8))
    (recording / "visible" / "notes.txt").write_text("sunny")
    codecs.write_png(recording / "visible" / "009.jpg", np.zeros((*SHAPE, 3), np.uint8))
    (recording / "out" / "mask" / "011.png").mkdir(parents=True)
    assert infer(recording, stand_in_weights) == 1
    written = {path.stem for path in (recording / "out" / "mask").glob("*.png")}
    assert written == {f"{place:03d}" for place in range(12)} - {"003", "005", "007"}
    said = capsys.readouterr()
    for words in (
        r"003\.png: no file of this name in",
        r"005: infrared: the 8 bytes are not an image",
        r"007: visible is 70x50, infrared 50x70",
        r"notes\.txt: not an image",
        r"009\.jpg: 009\.png is taken, which has no loss",
        r"011: .*is a folder, expected a regular file",
    ):
        assert re.search(words, said.err), words
    assert "8 pairs in" in said.out
    assert "5 failed" in said.out


def test_pictures_of_another_run_are_said(
    recording: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pair that fails keeps those that it had, of whatever network."""
    assert infer(recording, stand_in_weights) == 0
    assert "of another run" not in capsys.readouterr().out
    (recording / "infrared" / "005.png").write_bytes(b"no image")
    assert infer(recording, stand_in_weights, "--tint=0") == 1
    said = capsys.readouterr().out
    assert "2 pictures in" in said and "(fused/005.png, mask/005.png): delete them" in said


def test_a_run_goes_on_from_whole_pictures_alone(recording: Path) -> None:
    """As with --ray: a picture that a loss of power has cut off is made again."""
    begun: list[list[str]] = []
    out = recording / "out"

    def process(pairs: Sequence[FilePair], kept: int) -> Iterator[dict[str, Any]]:
        begun.append([pair.name for pair in pairs[kept:]])
        for pair in pairs[kept:]:
            for folder in ("fused", "mask"):
                codecs.write_png(out / folder / f"{pair.name}.png", np.zeros(SHAPE, np.uint8))
            facts = {"times_ms": {}, "pair": {"flags": [], "sensors": ["visible", "infrared"]}}
            report = facts | {"alignment": "none", "visible_grey": False}
            yield {"name": pair.name, "status": "done", "detail": None, "report": report}

    def run() -> None:
        inputs = recording / "visible", recording / "infrared"
        infer_folders(*inputs, out, process, go_on=True, settings={"tint": 0})

    run()
    run()
    (out / "mask" / "009.png").write_bytes(b"")
    run()
    assert [len(names) for names in begun] == [12, 0, 3]


def test_a_plugin_for_an_onnx_is_refused(
    recording: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(recording, stand_in_weights, "--plugin=none.so") == 2
    assert "none.so is for an engine that was built with it, and" in capsys.readouterr().err
    assert not (recording / "out").exists()


def test_no_input_is_written_over(
    recording: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visible = recording / "visible"
    before = {path: path.read_bytes() for path in visible.iterdir()}
    assert infer(recording, stand_in_weights, f"--out={visible}") == 2
    (recording / "out").mkdir()
    (recording / "out" / "fused").symlink_to(visible)
    assert infer(recording, stand_in_weights) == 2
    assert "fused would replace the input" in capsys.readouterr().err.replace(str(visible), "fused")
    assert {path: path.read_bytes() for path in visible.iterdir()} == before


def test_no_pair_at_all_is_a_failure(
    tmp_path: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(tmp_path, stand_in_weights) == 2
    assert f"{tmp_path / 'visible'}: there is no such file or folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for folder in ("visible", "infrared"):
        (tmp_path / folder).mkdir()
    assert infer(tmp_path, stand_in_weights) == 1
    assert capsys.readouterr().out == "nothing done: neither folder holds a frame\n"


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Six moments a tenth of a second apart: one frozen, one with the shutter closed, one dead."""
    rng = np.random.default_rng(1)
    for folder in ("visible", "infrared"):
        (tmp_path / folder).mkdir()
    scene = 7000 + (np.add.outer(np.arange(50), np.arange(70)) % 40) * 20
    for place in range(6):
        name = f"{1_700_000_000_000_000_000 + place * 100_000_000}.png"
        colours = rng.integers(0, 256, (*SHAPE, 3), np.uint8)
        counts = (np.roll(scene, place, axis=1) + rng.normal(0, 2, SHAPE)).astype(np.uint16)
        if place == 2:
            counts[...] = 7000
        if place == 3:
            counts[:2] = 0
        codecs.write_png(tmp_path / "visible" / name, colours)
        codecs.write_png(tmp_path / "infrared" / name, counts)
    *_, before, last = sorted((tmp_path / "infrared").iterdir())
    last.write_bytes(before.read_bytes())
    return tmp_path


def reported(recording: Path) -> list[dict[str, Any]]:
    lines = (recording / "out" / "report.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_faults_are_counted_and_each_pair_has_a_line(
    drive: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(drive, stand_in_weights, "--recording") == 0
    told = capsys.readouterr().out
    assert "flagged: infrared_shutter 1, infrared_invalid 1, infrared_frozen 1" in told
    assert "1 rest on visible alone" in told and "alignment: none 6" in told
    lines = reported(drive)
    assert [line["status"] for line in lines] == ["done"] * 6
    assert [line["name"] for line in lines] == sorted(p.stem for p in (drive / "visible").iterdir())
    flags = [line["report"]["pair"]["flags"] for line in lines]
    assert flags == [[], [], ["infrared_shutter"], ["infrared_invalid"], [], ["infrared_frozen"]]
    assert lines[3]["report"]["gain"]["invalid_share"] == pytest.approx(0.04)
    assert lines[0]["report"]["pair"]["skew_ms"] == 0


def test_pairs_with_a_fault_are_refused_on_request(
    drive: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (drive / "visible" / "alone.png").write_bytes(b"")
    assert infer(drive, stand_in_weights, "--degraded=refuse") == 1
    assert "4 pairs in" in (told := capsys.readouterr().out)
    assert "2 refused\n1 failed" in told
    assert len(list((drive / "out" / "fused").iterdir())) == 4
    lines = reported(drive)
    assert [line["status"] for line in lines].count("refused") == 2
    assert (
        "infrared_invalid" in [line["detail"] for line in lines if line["status"] == "refused"][1]
    )
    assert lines[0]["status"] == "failed" and "alone.png: no file" in lines[0]["detail"]


def test_what_is_stated_of_the_cameras_comes_by_flag_and_by_file(
    drive: Path, stand_in_weights: Path, tmp_path: Path
) -> None:
    config = tmp_path / "segmif.toml"
    config.write_text('infrared_polarity = "black_hot"\ninfrared_bits = 14\n')
    crop = "--infrared-crop=0,2,0,0"
    assert infer(drive, stand_in_weights, f"--config={config}", crop) == 0
    for line in reported(drive):
        stated = {"bits": 14, "crop": [0, 2, 0, 0], "polarity": "black_hot"}
        assert line["report"]["cameras"]["infrared"] == stated
        assert "infrared_invalid" not in line["report"]["pair"]["flags"]
