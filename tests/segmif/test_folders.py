"""Two folders of frames become pairs, however cameras name their files."""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from segmif.folders import Pairing, pair_files, same_names
from segmif.imaging import codecs
from service.__main__ import main

COLOUR = np.full((32, 48, 3), 90, np.uint8)
GREY = np.full((32, 48), 90, np.uint8)
ACCENTED = "h\u00f6he_1"


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        grey = not folder.name.startswith("visible")
        encode = codecs.encode_jpeg if name.lower().endswith((".jpg", ".jpeg")) else None
        frame = GREY if grey or "Preview" in name else COLOUR
        (folder / name).write_bytes((encode or codecs.encode_png)(frame))
    return folder


def infer(tmp_path: Path, weights: Path, *flags: str) -> int:
    folders = [f"--{name}={tmp_path / name}" for name in ("visible", "infrared", "out")]
    return main(["infer", *folders, f"--weights={weights}", "--threads=1", *flags])


def written(tmp_path: Path) -> list[str]:
    return sorted(path.stem for path in (tmp_path / "out/mask").iterdir())


@pytest.mark.parametrize(
    ("visible", "infrared", "name"),
    [
        ("IMG_1.PNG", "img_1.png", "IMG_1"),
        (f"{ACCENTED}.png", f"{unicodedata.normalize('NFD', ACCENTED)}.jpg", ACCENTED),
    ],
    ids=["case", "accents"],
)
def test_names_that_read_the_same_are_the_same(
    tmp_path: Path, stand_in_weights: Path, visible: str, infrared: str, name: str
) -> None:
    write(tmp_path / "visible", visible)
    write(tmp_path / "infrared", infrared)
    assert infer(tmp_path, stand_in_weights) == 0
    assert written(tmp_path) == [name]


def test_two_names_of_one_folder_that_differ_in_case_stay_two() -> None:
    first = {"a": Path("a.png"), "A": Path("A.png"), "b": Path("b.png")}
    second = {"a": Path("a.tif"), "B": Path("B.tif")}
    assert [sorted(each) for each in same_names(first, second)] == [["A", "a", "b"], ["a", "b"]]


NAMED = [
    ("FLIR_{}_RGB.jpg", "FLIR_{}_PreviewData.jpeg", ("*_RGB", "*_PreviewData")),
    ("visible{}.png", "thermal{}.png", ("visible*", "thermal*")),
    ("set00_I0000{}_visible.png", "set00_I0000{}_lwir.png", ("*_visible", "*_lwir")),
]


@pytest.mark.parametrize(("visible", "infrared", "patterns"), NAMED)
@pytest.mark.parametrize("count", [1, 12])
def test_patterns_are_suggested_and_pair_what_they_promise(
    tmp_path: Path,
    stand_in_weights: Path,
    capsys: pytest.CaptureFixture[str],
    visible: str,
    infrared: str,
    patterns: tuple[str, str],
    count: int,
) -> None:
    write(tmp_path / "visible", *(visible.format(at) for at in range(count)))
    write(tmp_path / "infrared", *(infrared.format(at) for at in range(count)))
    assert infer(tmp_path, stand_in_weights) == 1
    said = capsys.readouterr()
    assert f"--patterns '{patterns[0]}' '{patterns[1]}' would pair {count} of them" in said.err
    assert "1 failed" in said.out  # one sentence, not two a pair
    assert infer(tmp_path, stand_in_weights, "--patterns", *patterns) == 0
    assert len(written(tmp_path)) == count


def test_both_cameras_may_lie_in_one_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "visible", "7_RGB.jpg", "7_PreviewData.jpeg", "8_RGB.jpg")
    paired = pair_files(folder, folder, Pairing(("*_RGB", "*_PreviewData")))
    assert [(pair.name, pair.infrared.name) for pair in paired.pairs] == [
        ("7", "7_PreviewData.jpeg")
    ]
    assert len(paired.complaints) == 1 and "8_RGB.jpg: no file of this name" in paired.complaints[0]


def test_one_folder_for_both_cameras_wants_patterns(
    tmp_path: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (f"F_{at}_{end}.png" for at in range(4) for end in ("RGB", "IR"))
    folder = write(tmp_path / "visible", *names)
    words = ["infer", f"--visible={folder}", f"--infrared={folder}", f"--out={tmp_path / 'out'}"]
    assert main([*words, f"--weights={stand_in_weights}"]) == 2
    said = capsys.readouterr().err
    assert re.search(r"its own partner: .* such as --patterns '\*_(RGB|IR)' '\*_(RGB|IR)'", said)
    assert not (tmp_path / "out").exists()


def test_of_two_files_of_one_name_the_one_without_loss_is_taken(
    tmp_path: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "visible", "a.png")
    (tmp_path / "visible/a.jpg").write_bytes(codecs.encode_jpeg(np.zeros_like(COLOUR)))
    write(tmp_path / "infrared", "a.jpeg")
    assert infer(tmp_path, stand_in_weights) == 0
    np.testing.assert_array_equal(codecs.read_visible(tmp_path / "out/fused/a.png"), COLOUR)
    assert "a.jpg: a.png is taken, which has no loss" in capsys.readouterr().err
    write(tmp_path / "visible", "a.tif")
    assert infer(tmp_path, stand_in_weights) == 1
    assert re.search(r"a\.png: a\.tif has the same name; remove one", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("visible,infrared\n1.png,2.png\n", None),
        ("\ufeffvisible,infrared,skew_ms\n1.png,2.png,0.5\n", None),
        ("left,right\n1.png,2.png\n", r"the columns \['infrared', 'visible'\] are missing"),
        ("visible,infrared\n", "names no pair: have `segmif calibrate pair` write it anew"),
        ("visible,infrared\n1.png\n", "line 2: a visible and an infrared file name are expected"),
        ("visible,infrared\n1.png,../infrared/2.png\n", "leads out of the folder of its frames"),
        ("visible,infrared\n1.png,9.png\n", r"line 2: .*9\.png is not a file"),
        ("visible,infrared\n1.png,2.png\n1.png,3.png\n", "1 stands in more than one pair"),
    ],
)
def test_a_pairs_file_says_which_frames_belong_together(
    tmp_path: Path,
    stand_in_weights: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    said: str | None,
) -> None:
    write(tmp_path / "visible", "1.png")
    write(tmp_path / "infrared", "2.png", "3.png")
    (tmp_path / "pairs.csv").write_text(content, encoding="utf-8")
    code = infer(tmp_path, stand_in_weights, f"--pairs={tmp_path / 'pairs.csv'}")
    if said is None:
        assert code == 0 and written(tmp_path) == ["1"]
    else:
        assert code == 2 and re.search(said, capsys.readouterr().err)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pattern", ["RGB", "*_*", "a/*"])
def test_a_pattern_has_one_star(
    tmp_path: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    assert infer(tmp_path, stand_in_weights, "--patterns", pattern, "*") == 2
    assert "must be a file name with one *" in capsys.readouterr().err
