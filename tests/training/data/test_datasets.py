"""Each benchmark in its published layout, opened by one function; training that checks first."""

import glob
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmif.classes import FMB, IGNORE, MFNET, PST900, Taxonomy, colorize
from segmif.files import write_bytes
from segmif.imaging.codecs import encode_jpeg, write_png
from training.config import TrainConfig, read_config
from training.data.datasets import FrameSet, LabelledPair, changed, only, open_set
from training.data.datasets.pairs import PairSet
from training.data.frames import Frames
from training.data.samples import Phase, Samples, batches
from training.data.sources import Source, training_sets

SIZE = (48, 64)
NAMES = ("00001D", "00002N")

Image = NDArray[np.uint8]


def frames_of(name: str, classes: int = 5) -> tuple[Image, Image, Image]:
    """Visible, infrared and labels that are told apart from those of other names."""
    random = np.random.default_rng(list(name.encode()))
    visible = random.integers(0, 256, (*SIZE, 3), np.uint8)
    infrared = random.integers(0, 256, SIZE, np.uint8)
    return visible, infrared, random.integers(0, classes, SIZE, np.uint8)


def write_parts(folder: Path, visible: str, infrared: str, label: str | None) -> None:
    for name in NAMES:
        for part, image in zip((visible, infrared, label), frames_of(name), strict=True):
            if part:
                (folder / part).mkdir(parents=True, exist_ok=True)
                write_png(folder / part / f"{name}.png", image)


def write_mfnet(root: Path) -> None:
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for name in NAMES:
        visible, infrared, labels = frames_of(name)
        rgba = np.dstack((visible[..., ::-1], infrared))  # as OpenCV takes it: BGR, alpha
        write_bytes(root / f"images/{name}.png", cv2.imencode(".png", rgba)[1].tobytes())
        write_png(root / f"labels/{name}.png", labels)
    (root / "train.txt").write_text("\n".join(NAMES) + "\n00001D_flip\n")


@dataclass(frozen=True)
class Published:
    kind: str
    write: Callable[[Path], None]
    split: str | None
    taxonomy: Taxonomy


LAYOUTS = [
    Published("folder", lambda r: write_parts(r, "visible", "infrared", "label"), None, MFNET),
    Published("mfnet", write_mfnet, "train", MFNET),
    Published(
        "mfnet", lambda r: write_parts(r / "val", "visible", "infrared", "label"), "val", MFNET
    ),
    Published(
        "msrs", lambda r: write_parts(r / "test", "vi", "ir", "Segmentation_labels"), "test", MFNET
    ),
    Published(
        "fmb", lambda r: write_parts(r / "train", "Visible", "Infrared", "Label"), "train", FMB
    ),
    Published(
        "pst900", lambda r: write_parts(r / "test", "rgb", "thermal", "labels"), "test", PST900
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.kind}-{layout.split}")
def test_each_layout_gives_its_pairs(layout: Published, tmp_path: Path) -> None:
    root = tmp_path / "SET"
    layout.write(root)
    frames: FrameSet = open_set(layout.kind, root, layout.split)
    assert frames.name == (f"SET/{layout.split}" if layout.split else "SET")
    assert frames.taxonomy == layout.taxonomy
    assert tuple(frames.names) == NAMES  # MFNet's list of mirrored copies adds none
    for index, (name, light) in enumerate(zip(NAMES, ("day", "night"), strict=True)):
        read = frames.read(index)
        for ours, written in zip(
            (read.visible, read.infrared, read.labels), frames_of(name), strict=True
        ):
            np.testing.assert_array_equal(ours, written)
        assert (read.name, read.light) == (name, light)


@pytest.mark.parametrize(
    ("visible", "infrared"),
    [("crop_LR_visible", "cropinfrared"), ("Vis", "Ir"), ("vi", "ir"), ("visible", "infrared")],
)
def test_pairs_have_many_folder_names_and_suffixes(
    visible: str, infrared: str, tmp_path: Path
) -> None:
    for part in (visible, infrared, "crop_HR_visible"):
        (tmp_path / part).mkdir()
    write_bytes(tmp_path / visible / "FLIR_7.jpg", encode_jpeg(frames_of("a")[0]))
    write_png(tmp_path / infrared / "FLIR_7.png", frames_of("a")[1])
    frames = open_set("pairs", tmp_path)
    read = frames.read(0)
    assert frames.taxonomy is None
    assert (read.labels == IGNORE).all()
    assert read.light is None


def test_pairs_of_a_grey_camera_become_rgb(tmp_path: Path) -> None:
    write_parts(tmp_path, "vi", "ir", None)
    grey = frames_of("a")[1]
    write_png(tmp_path / "vi/00001D.png", grey)
    visible = open_set("pairs", tmp_path).read(0).visible
    assert all(np.array_equal(visible[..., channel], grey) for channel in range(3))


@pytest.mark.parametrize(
    "coded",
    [
        lambda labels: labels,
        lambda labels: np.repeat(labels[..., None], 3, axis=2),
        lambda labels: colorize(labels, FMB),
    ],
    ids=["ids", "ids in three channels", "colours"],
)
def test_labels_of_fmb_are_ids_or_colours(coded: Callable[[Image], Image], tmp_path: Path) -> None:
    write_parts(tmp_path, "Visible", "Infrared", "Label")
    labels = frames_of("a", len(FMB.names))[2]
    write_png(tmp_path / "Label/00001D.png", coded(labels))
    np.testing.assert_array_equal(open_set("fmb", tmp_path).read(0).labels, labels)


def test_other_labels_may_lie_elsewhere(tmp_path: Path) -> None:
    write_parts(tmp_path / "drive", "visible", "infrared", None)
    write_parts(tmp_path, "v", "i", "taught")
    frames = open_set("pairs", tmp_path / "drive", labels=tmp_path / "taught")
    assert frames.taxonomy == MFNET
    np.testing.assert_array_equal(frames.read(0).labels, frames_of(NAMES[0])[2])


CLASS_MAP = """
name = "yard"
ignore = [9]
[[classes]]
name = "ground"
colour = [0, 0, 0]
codes = [0, 3]
[[classes]]
name = "worker"
colour = [220, 20, 60]
codes = [7, [220, 20, 60]]
"""


def test_a_class_map_turns_codes_into_ids(tmp_path: Path) -> None:
    write_parts(tmp_path, "visible", "infrared", "label")
    (tmp_path / "dataset.toml").write_text(CLASS_MAP)
    codes = np.repeat(np.array([[0, 3, 7, 9]], np.uint8), 48, axis=0).repeat(16, axis=1)
    write_png(tmp_path / "label/00001D.png", codes)
    frames = open_set("folder", tmp_path)
    assert frames.taxonomy == Taxonomy("yard", ("ground", "worker"), ((0, 0, 0), (220, 20, 60)))
    expected = np.select([codes == 7, codes == 9], [1, IGNORE], 0)
    np.testing.assert_array_equal(frames.read(0).labels, expected)


FRAMES = """
[frames.infrared]
polarity = "black_hot"
crop = [0, 0, 0, 2]
"""


def test_what_is_stated_of_a_camera_holds_in_training(tmp_path: Path) -> None:
    write_parts(tmp_path, "visible", "infrared", "label")
    _, infrared, _ = frames_of(NAMES[0])
    rows = np.zeros((2, SIZE[1]), np.uint8)
    write_png(tmp_path / f"infrared/{NAMES[0]}.png", np.vstack([255 - infrared, rows]))
    (tmp_path / "dataset.toml").write_text(CLASS_MAP + FRAMES)
    np.testing.assert_array_equal(open_set("folder", tmp_path).infrared_of(NAMES[0])[0], infrared)
    (tmp_path / "dataset.toml").write_text(CLASS_MAP + FRAMES.replace("black_hot", "cold"))
    with pytest.raises(ValueError, match="expected white_hot or black_hot"):
        open_set("folder", tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("ignore", "ignored"), "unknown key ignored; there are name, ignore, classes"),
        (("colour = [0, 0, 0]\n", ""), "'colour' is missing"),
        (("codes = [0, 3]", "codes = [0, 7]"), "code 7 stands for two classes"),
        (("codes = [0, 3]", "codes = [300]"), "300 is neither an id"),
        (("[0, 0, 0]", "[0, 0]"), r"\[0, 0\] is no colour"),
    ],
)
def test_a_class_map_with_a_mistake_is_refused(
    change: tuple[str, str], sentence: str, tmp_path: Path
) -> None:
    write_parts(tmp_path, "visible", "infrared", "label")
    (tmp_path / "dataset.toml").write_text(CLASS_MAP.replace(*change))
    with pytest.raises(ValueError, match=rf"dataset\.toml: .*{sentence}"):
        open_set("folder", tmp_path)


def remove_partner(root: Path) -> None:
    (root / "infrared/00002N.png").unlink()


def double(root: Path) -> None:
    frame = cv2.imencode(".tif", frames_of("a")[0])[1].tobytes()  # neither has a loss: which is it?
    write_bytes(root / "visible/00001D.tif", frame)


def rename_folder(root: Path) -> None:
    (root / "infrared").rename(root / "lwir")


def empty(root: Path) -> None:
    for path in root.glob("*/*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (remove_partner, r"1 of 2 pairs .* first is 00002N \(no infrared\)"),
        (double, r"00001D\.png: 00001D\.tif has the same name; remove one of them"),
        (rename_folder, "one folder named infrared, but there is label, lwir, visible"),
        (empty, "holds no frames"),
    ],
)
def test_a_set_that_is_not_whole_is_refused(
    damage: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    write_parts(tmp_path, "visible", "infrared", "label")
    damage(tmp_path)
    with pytest.raises((OSError, ValueError), match=sentence):
        open_set("folder", tmp_path)


def test_what_does_not_exist_is_said_with_what_does(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'kitti'; there are folder, pairs, mfnet, msrs, fmb"):
        open_set("kitti", tmp_path)
    write_mfnet(tmp_path / "MFNet")
    with pytest.raises(FileNotFoundError, match="split 'test'; there are train"):
        open_set("mfnet", tmp_path / "MFNet", "test")


def shrink(root: Path) -> str:
    write_png(root / "infrared/00002N.png", np.zeros((32, 32), np.uint8))
    return "00002N.png: visible is 64x48, infrared 32x32, label 64x48"


def stray_id(root: Path) -> str:
    labels = np.zeros(SIZE, np.uint8)
    labels[:2, :3] = 77
    write_png(root / "label/00002N.png", labels)
    return r"00002N.png: .*77 \(6 pixels\) stand for none of the 9 classes of mfnet"


def stray_colour(root: Path) -> str:
    labels = np.zeros((*SIZE, 3), np.uint8)
    labels[0, :4] = (1, 2, 3)
    write_png(root / "label/00002N.png", labels)
    return r"00002N.png: .*\(1, 2, 3\) \(4 pixels\) stand for none"


def cut_off(root: Path) -> str:
    path = root / "visible/00002N.png"
    path.write_bytes(path.read_bytes()[:40])
    return "visible.00002N.png: .*(breaks off|its chunks do not fit together)"


def swap(root: Path) -> str:
    visible, infrared = (root / f"{part}/00002N.png" for part in ("visible", "infrared"))
    first, second = visible.read_bytes(), infrared.read_bytes()
    write_bytes(visible, second)
    write_bytes(infrared, first)
    return "infrared.00002N.png: .*check that the two files are not swapped"


DAMAGES = [shrink, stray_id, stray_colour, cut_off, swap]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_moment_is_named_with_its_reason(
    damage: Callable[[Path], str], tmp_path: Path
) -> None:
    write_parts(tmp_path, "visible", "infrared", "label")
    sentence = damage(tmp_path)
    frames = open_set("folder", tmp_path)
    frames.read(0)
    with pytest.raises(ValueError, match=sentence):
        frames.read(1)


CONFIG = TrainConfig(
    variant="nano",
    data=(Source(kind="folder", folder="streets"), Source(kind="pairs", folder="drive")),
    phases=(Phase(steps=2, batch=2, crop=(32, 32)),),
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_training_stops_before_it_starts(damage: Callable[[Path], str], tmp_path: Path) -> None:
    write_parts(tmp_path / "streets", "visible", "infrared", "label")
    write_parts(tmp_path / "drive", "vi", "ir", None)
    reason = damage(tmp_path / "streets")
    with pytest.raises(ValueError, match=rf"(?s)1 of 4 frames cannot be used:.*{reason}"):
        Frames(training_sets(CONFIG, tmp_path), 1)


def test_one_run_has_one_meaning_of_ids(tmp_path: Path) -> None:
    write_parts(tmp_path / "streets", "visible", "infrared", "label")
    write_parts(tmp_path / "FMB/train", "Visible", "Infrared", "Label")
    other = Source(kind="fmb", folder="FMB", split="train")
    config = replace(CONFIG, data=(CONFIG.data[0], other))
    with pytest.raises(ValueError, match="streets is labelled by mfnet, FMB/train by fmb"):
        Frames(training_sets(config, tmp_path), 1)
    frames = Frames(training_sets(replace(config, data=(other,)), tmp_path), 1)
    assert frames.taxonomy == FMB


@dataclass
class Counted:
    """A set in memory that counts how often it was read."""

    name: str = "counted"
    taxonomy: Taxonomy | None = MFNET
    names: tuple[str, ...] = NAMES
    reads: list[int] = field(default_factory=list)

    def read(self, index: int) -> LabelledPair:
        self.reads.append(index)
        return LabelledPair(NAMES[index], *frames_of(NAMES[index]))


FRAME_BYTES = 5 * SIZE[0] * SIZE[1]


@pytest.mark.parametrize(("room", "kept"), [(2, 2), (1, 1), (0, 0)])
def test_the_cache_changes_what_is_read_but_no_sample(room: int, kept: int) -> None:
    unbound, source = Frames([Counted()], 1), Counted()
    frames = Frames([source], room * FRAME_BYTES / 2**30)
    assert sorted(source.reads) == [0, 1]
    phase = CONFIG.phases[0]
    ours, theirs = (
        Samples(each, each.facts, MFNET, phase, CONFIG, (0,)) for each in (frames, unbound)
    )
    for index in range(8):
        for one, other in zip(ours[index], theirs[index], strict=True):
            assert torch.equal(one, other)
    assert set(source.reads[2:]) <= set(range(kept, 2))
    assert len(list(batches(frames, CONFIG, 0, 2))) == 2


def test_a_run_names_its_data(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        """
        variant = "nano"
        phases = [{ steps = 1, batch = 1, crop = [32, 32] }]
        [[data]]
        kind = "msrs"
        folder = "MSRS"
        split = "train"
        names = ["*N"]
        """
    )
    source = Source(kind="msrs", folder="MSRS", split="train", names=("*N",))
    assert read_config(path).data == (source,)
    path.write_text('variant = "nano"\n[[data]]\nkind = "kitti"\nfolder = "KITTI"\n')
    with pytest.raises(ValueError, match="'kitti'; there are folder"):
        read_config(path)
    path.write_text('variant = "nano"\n[[data]]\nkind = "msrs"\nroot = "MSRS"\n')
    with pytest.raises(ValueError, match=r"data\.0\.root: Unexpected"):
        read_config(path)


def test_a_run_may_take_one_drive_of_several(tmp_path: Path) -> None:
    write_parts(tmp_path / "streets", "visible", "infrared", "label")
    source = replace(CONFIG.data[0], names=(f"{NAMES[1]}*",))
    (frames,) = training_sets(replace(CONFIG, data=(source,)), tmp_path)
    assert frames.names == (NAMES[1],)
    assert frames.read(0).name == NAMES[1]
    nobody = replace(source, names=("never",))
    with pytest.raises(ValueError, match="no pair of streets fits never"):
        training_sets(replace(CONFIG, data=(nobody,)), tmp_path)


def test_thousands_of_moments_are_named_at_once(tmp_path: Path) -> None:
    names = tuple(f"{number}[a]" for number in range(6000))
    files = dict.fromkeys(names, tmp_path)
    began = process_time()
    chosen = only(PairSet("many", names, files, files, None, None), [*map(glob.escape, names)])
    assert chosen.names == names
    part = only(chosen, ["[1-6]??[[]a]", "2[[]a]"])
    seen = changed(changed(part, lambda frame: frame), lambda frame: frame)
    looks = [seen.names[index] for index in range(len(seen.names))]
    assert looks == ["2[a]", *(f"{number}[a]" for number in range(100, 700))]
    whole = changed(changed(chosen, lambda frame: frame), lambda frame: frame)
    assert [whole.names[index] for index in range(len(names))] == [*names]
    with pytest.raises(ValueError, match=r"fits x0, x1, .* more; the first is 0\[a\]$") as refused:
        only(chosen, [f"x{number}" for number in range(6000)])
    assert len(str(refused.value)) < 200
    assert process_time() - began < 2  # name by name and pattern by pattern it takes minutes


def test_no_moment_of_an_empty_set_is_said_to_fit() -> None:
    with pytest.raises(ValueError, match=r"no pair of none fits a$"):
        only(PairSet("none", (), {}, {}, None, None), ["a"])


def test_devices_share_the_samples_of_one(tmp_path: Path) -> None:
    frames = Frames([Counted()], 1)
    whole = list(batches(frames, CONFIG, 0, 2))
    shares = [list(batches(frames, CONFIG, 0, 2, (number, 2))) for number in range(2)]
    for step, arrays in enumerate(whole):
        for kind, array in enumerate(arrays):
            for number in range(2):
                assert torch.equal(array[number::2], shares[number][step][kind])
    with pytest.raises(ValueError, match="a batch of 2 does not divide among 3 devices"):
        next(batches(frames, CONFIG, 0, 2, (0, 3)))
