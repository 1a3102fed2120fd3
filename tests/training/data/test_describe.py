"""The check of a download: it goes on to the end, and says what to fix."""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import training.data.datasets.kinds
from segmif.classes import FMB, MFNET, PST900, Taxonomy, colorize
from segmif.imaging.codecs import read_infrared, write_png
from training.data import describe
from training.data.datasets.kinds import locate, open_set
from training.data.datasets.published import FIGURES, PUBLISHED
from training.data.sensor_shift import shift
from training.data.sources import data_root
from training.data.survey import FAR, survey

SIZE = (96, 128)
BICYCLE = FMB.names.index("bicycle")


def smooth(noise: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Something with edges, 0..255."""
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.interp(blurred, (blurred.min(), blurred.max()), (0, 255)).astype(np.uint8)


def run(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    describe.add_arguments(parser)
    words = ["--kind", "fmb", "--folder", str(folder), "--split", "test", *more]
    code = describe.main(parser.parse_args(words))
    return code, capsys.readouterr().out


@pytest.fixture
def fmb(tmp_path: Path) -> Path:
    """Four pairs with every class but the bicycle, in colours."""
    random = np.random.default_rng(0)
    for part in ("Visible", "Infrared", "Label"):
        (tmp_path / "FMB/test" / part).mkdir(parents=True)
    ids = np.array([id_ for id_ in range(len(FMB.names)) if id_ != BICYCLE], np.uint8)
    for name in ("1", "2", "3", "4"):
        scene = smooth(random.integers(0, 256, (*SIZE, 3), np.uint8), 2)
        write_png(tmp_path / f"FMB/test/Visible/{name}.png", scene)
        write_png(tmp_path / f"FMB/test/Infrared/{name}.png", scene[..., 1].copy())
        labels = random.choice(ids, SIZE)
        write_png(tmp_path / f"FMB/test/Label/{name}.png", colorize(labels, FMB))
    return tmp_path / "FMB"


def test_a_whole_set_has_nothing_to_fix(fmb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, page = run(capsys, fmb)
    assert code == 0
    assert "FMB/test: 4 complete pairs of 4 (4 visible, 4 infrared, 4 label)" in page
    assert "128x96 (4)" in page
    assert "bicycle is absent here; the mean over all 15 ids counts" in page
    assert page.endswith("What to fix:\nnothing\n")


def test_every_damage_is_told_at_once(fmb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fmb / "test/Infrared/1.png").unlink()
    (fmb / "test/Visible/2.png").write_bytes(b"no picture")
    write_png(fmb / "test/Infrared/3.png", np.zeros((32, 32), np.uint8))
    strange = np.zeros((*SIZE, 3), np.uint8)
    strange[:2, :5] = (1, 2, 3)
    write_png(fmb / "test/Label/4.png", strange)
    code, page = run(capsys, fmb)
    assert code == 1
    assert "Pairs that lack a part, 1: 1 (infrared)" in page
    assert "2.png: the 10 bytes are not an image" in page
    assert "3 (visible 128x96, infrared 32x32, label 128x96)" in page
    assert "(1, 2, 3) (10 pixels in 1 of 4 labels)" in page
    code, text = run(capsys, fmb, "--json")
    numbers = json.loads(text)
    assert code == 1
    assert len(numbers["to_fix"]) == 4
    assert numbers["counts"] == {"visible": 4, "infrared": 3, "label": 4}
    assert numbers["unknown_codes"] == [{"code": [1, 2, 3], "pixels": 10, "files": 1}]
    assert numbers["absent"] == ["bicycle"]


@dataclass(frozen=True)
class Benchmark:
    """A layout, and what is told of a part of it."""

    kind: str
    folders: tuple[str, str, str]  # visible, infrared, label
    taxonomy: Taxonomy
    size: str  # as published
    notes: tuple[str, ...]


BENCHMARKS = [
    Benchmark(
        "fmb",
        ("Visible", "Infrared", "Label"),
        FMB,
        "800x600",
        (
            "SET/train has 2 of the 1220 pairs that were published",
            "the test labels of FMB contain no bicycle: our mean is over all 15 ids",
            "other colours than its label files",
            "unequal numbers of visible and infrared frames",
        ),
    ),
    Benchmark(
        "msrs",
        ("vi", "ir", "Segmentation_labels"),
        MFNET,
        "640x480",
        (
            "SET/train has 2 of the 1083 pairs that were published",
            "some pairs of MSRS are misregistered",
        ),
    ),
    Benchmark(
        "mfnet",
        ("visible", "infrared", "label"),
        MFNET,
        "640x480",
        ("SET/train has 2 of the 784 pairs that were published",),
    ),
    Benchmark(
        "pst900",
        ("rgb", "thermal", "labels"),
        PST900,
        "1280x720",
        ("SET, all splits together, has 3 of the 894 pairs that were published",),
    ),
]


def write_split(
    folder: Path, benchmark: Benchmark, names: tuple[str, ...], size: tuple[int, int]
) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, len(benchmark.taxonomy.names), size, np.uint8)
    scene = smooth(random.integers(0, 256, (*size, 3), np.uint8), 2)
    for part, image in zip(benchmark.folders, (scene, scene[..., 1].copy(), labels), strict=True):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            write_png(folder / part / f"{name}.png", image)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.kind)
def test_a_part_of_a_benchmark_is_told_and_can_be_used(
    benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(tmp_path / "SET/train", benchmark, ("1", "2"), SIZE)
    write_split(tmp_path / "SET/test", benchmark, ("3",), SIZE)
    notes = (*benchmark.notes, f"6 of 6 images are not {benchmark.size} as published, but 128x96")
    as_named = ("--folder", str(tmp_path / "SET"), "--split", "train")
    as_path = ("--folder", str(tmp_path / "SET/train"))
    for where in (as_named, as_path):
        parser = argparse.ArgumentParser()
        describe.add_arguments(parser)
        code = describe.main(parser.parse_args(["--kind", benchmark.kind, *where]))
        page = capsys.readouterr().out
        assert code == 0
        assert page.startswith("SET/train: 2 complete pairs of 2 (2 visible, 2 infrared, 2 label)")
        assert [note for note in notes if note not in page] == []
        assert page.endswith("What to fix:\nnothing\n")
    assert len(open_set(benchmark.kind, tmp_path / "SET", "train").names) == 2


def test_a_whole_benchmark_gives_no_note_on_number_or_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    msrs = next(each for each in BENCHMARKS if each.kind == "msrs")
    small = replace(PUBLISHED["msrs"], size="128x96", splits={"train": 2, "test": 1})
    monkeypatch.setattr(training.data.datasets.kinds, "PUBLISHED", {"msrs": small})
    write_split(tmp_path / "SET/train", msrs, ("1", "2"), SIZE)
    write_split(tmp_path / "SET/test", msrs, ("1", "2"), SIZE)
    assert survey(locate("msrs", tmp_path / "SET", "train")).notes == PUBLISHED["msrs"].traps
    (*_, too_many) = survey(locate("msrs", tmp_path / "SET", "test")).notes
    assert "SET/test has 2 pairs, 1 were published" in too_many


def test_labels_in_the_colours_of_figures_are_recognised(
    fmb: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(FIGURES["fmb"]) == len(FMB.names) - 1  # all but black
    assert FIGURES["fmb"].isdisjoint(FMB.palette)
    # road and person as the paper's figures show them, and a smudge of a painting program
    painted = np.full((*SIZE, 3), (173, 229, 229), np.uint8)
    painted[20:40, 30:60] = (66, 102, 167)
    painted[:2, :5] = (1, 2, 3)
    write_png(fmb / "test/Label/2.png", painted)
    code, page = run(capsys, fmb)
    assert code == 1
    assert "Labels in the colours of the paper's figures, which are not those of its" in page
    assert "label files, 1: 2. Take the label files as published" in page
    assert "Codes in the labels that stand for no class" not in page
    with pytest.raises(ValueError, match=r"2\.png: .*colours of the figures in the paper on fmb"):
        open_set("fmb", fmb, "test").read(1)


def test_bitmaps_are_to_be_converted(fmb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fmb / "test/Infrared/3.png").unlink()
    bitmap = cv2.imencode(".bmp", np.zeros(SIZE, np.uint8))[1].tobytes()
    (fmb / "test/Infrared/3.bmp").write_bytes(bitmap)
    code, page = run(capsys, fmb)
    assert code == 1
    assert "Files that are BMP, which is not read, 1: Infrared/3.bmp. Convert them to PNG" in page
    assert "Get them again" not in page
    with pytest.raises(ValueError, match=r"3\.bmp is a BMP; convert it to PNG"):
        open_set("fmb", fmb, "test").read(2)


def test_pairs_that_seem_apart_are_named_the_worst_first(
    fmb: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, columns in (("2", 6), ("4", 9)):
        infrared = read_infrared(fmb / f"test/Infrared/{name}.png")
        write_png(fmb / f"test/Infrared/{name}.png", np.roll(infrared, columns, axis=1))
    code, page = run(capsys, fmb)
    assert code == 0  # an estimate: a person must look
    assert "may be more than 4 px apart, the worst first, 2: 4 (9 px); 2 (6 px). Look at" in page
    numbers = json.loads(run(capsys, fmb, "--json")[1])
    assert numbers["alignment"]["far"] == ["4", "2"]
    assert (numbers["to_fix"], len(numbers["to_look_at"])) == ([], 1)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (6, -3), (-2, 9)])
@pytest.mark.parametrize("enlarged", [1, 2])
def test_a_shift_between_the_sensors_is_found(right: int, down: int, enlarged: int) -> None:
    random = np.random.default_rng(1)
    scene = smooth(random.integers(0, 256, (520, 680), np.uint8), 4)
    seen = scene[20:500, 20:660]
    warm = 255 - scene[20 - down : 500 - down, 20 - right : 660 - right]  # what is dark is hot
    visible, infrared = (
        np.repeat(np.repeat(image, enlarged, axis=0), enlarged, axis=1) for image in (seen, warm)
    )
    found = shift(np.repeat(visible[..., None], 3, axis=2), infrared)
    assert found == pytest.approx(enlarged * np.hypot(right, down))


@pytest.mark.skipif(
    not (data_root() / "mfnet/val").is_dir(), reason="SEGMIF_DATA holds no mfnet/val"
)
def test_real_frames_are_as_their_readme_says() -> None:
    found = survey(locate("mfnet", data_root() / "mfnet", "val"))
    assert (found.complete, found.to_fix, found.absent) == (38, [], ["guardrail"])
    assert found.lights == {"day": 18, "night": 20}
    assert (found.shifts <= FAR).mean() > 0.75  # 185 of 220 pairs of MFNet are said to be
    (note,) = found.notes  # their size is the published one
    assert note.startswith("mfnet/val has 38 of the 392 pairs that were published")
