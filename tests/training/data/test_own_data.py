"""Data of one's own as people have it: other names, other labels, and each damage in one or all."""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.classes import IGNORE, MFNET
from segmif.imaging.codecs import encode_indexed_png, encode_jpeg, encode_png
from training.config import TrainConfig
from training.data import describe
from training.data.datasets import open_set
from training.data.frames import Frames
from training.data.samples import Phase
from training.data.sources import Source, training_sets

SIZE = (48, 64)
NAMES = ("a1", "a2", "a3")
PERSON = """
name = "walkers"
[[classes]]
name = "background"
colour = [0, 0, 0]
[[classes]]
name = "person"
colour = [220, 20, 60]
"""
VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]  # its colour map begins so, CVAT's masks have it
LABEL_MAP = "# label:color_rgb:parts:actions\nperson:128,0,0::\nbackground:0,0,0::\n"

Image = NDArray[np.uint8]
Damage = Callable[[Path, str], None]


def frames(seed: int = 0) -> tuple[Image, Image, Image]:
    random = np.random.default_rng(seed)
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 20:40] = 1
    return (
        random.integers(0, 256, (*SIZE, 3), np.uint8),
        random.integers(0, 256, SIZE, np.uint8),
        labels,
    )


def write_set(root: Path, masks: str | None = "label", class_map: str | None = PERSON) -> Path:
    for number, name in enumerate(NAMES):
        for part, image in zip(("visible", "infrared", masks), frames(number), strict=True):
            if part:
                write(root / part / f"{name}.png", encode_png(image))
    if class_map:
        (root / "dataset.toml").write_text(class_map)
    return root


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def described(
    root: Path, capsys: pytest.CaptureFixture[str], *more: str, kind: str = "folder"
) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    describe.add_arguments(parser)
    words = ["--kind", kind, "--folder", str(root), *more]
    return describe.main(parser.parse_args(words)), capsys.readouterr().out


def train_on(root: Path, kind: str = "folder", split: str | None = None) -> Frames:
    """The frames as a training opens and checks them before it begins."""
    config = TrainConfig(
        variant="nano",
        data=(Source(kind=kind, folder=root.name, split=split),),
        phases=(Phase(steps=1, batch=1, crop=(32, 32)),),
    )
    return Frames(training_sets(config, root.parent), 1)


def put(root: Path, part: str, name: str, data: bytes) -> None:
    (root / part / f"{name}.png").write_bytes(data)


def deep_labels(root: Path, name: str) -> None:
    put(root, "label", name, encode_png(frames()[2].astype(np.uint16)))


def painted_labels(root: Path, name: str) -> None:
    put(root, "label", name, encode_png(np.full((*SIZE, 3), (9, 8, 7), np.uint8)))


def small_labels(root: Path, name: str) -> None:
    put(root, "label", name, encode_png(np.ascontiguousarray(frames()[2][::2, ::2])))


def no_labels(root: Path, name: str) -> None:
    (root / "label" / f"{name}.png").unlink()


def no_infrared(root: Path, name: str) -> None:
    (root / "infrared" / f"{name}.png").unlink()


def empty_visible(root: Path, name: str) -> None:
    put(root, "visible", name, b"")


def half_infrared(root: Path, name: str) -> None:
    put(root, "infrared", name, encode_png(frames()[1])[:800])


def coloured_infrared(root: Path, name: str) -> None:
    put(root, "infrared", name, encode_png(frames()[0]))


def bitmaps(root: Path, name: str) -> None:
    (root / "visible" / f"{name}.png").unlink()
    bmp = cv2.imencode(".bmp", frames()[0])[1].tobytes()
    (root / "visible" / f"{name}.bmp").write_bytes(bmp)


def ids_beyond(root: Path, name: str) -> None:
    put(root, "label", name, encode_png(frames()[2] + np.uint8(70)))


DAMAGES: list[tuple[Damage, str]] = [
    (deep_labels, r"this is uint16.*save it as PNG of 8 bit"),
    (painted_labels, r"\(9, 8, 7\)"),
    (small_labels, r"label 32x24"),
    (no_labels, r"\(label\)|no label"),
    (no_infrared, r"\(infrared\)|no infrared"),
    (empty_visible, r"0 bytes"),
    (half_infrared, r"infrared.a\d\.png: "),
    (coloured_infrared, r"false colours"),
    (bitmaps, r"BMP"),
    (ids_beyond, r"\b70\b"),
]


@pytest.mark.parametrize("which", [NAMES[:1], NAMES], ids=["one", "all"])
@pytest.mark.parametrize(
    ("damage", "words"), DAMAGES, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_damage_is_said_whether_one_file_has_it_or_all(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Damage,
    words: str,
    which: tuple[str, ...],
) -> None:
    root = write_set(tmp_path / "walk")
    for name in which:
        damage(root, name)
    code, page = described(root, capsys)
    assert code == 1
    assert re.search(words, page.partition("What to fix:")[2])
    with pytest.raises((OSError, ValueError), match=words):
        train_on(root)


def test_depths_that_differ_are_told_and_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "walk")
    put(root, "infrared", "a1", encode_png(frames()[1].astype(np.uint16) * 100))
    code, page = described(root, capsys)
    assert code == 0
    assert "infrared  64x48 (3); 8 bit (2), 16 bit (1)" in page
    assert "The infrared files differ in depth: 2 have 8 bit, 1 have 16 bit" in page
    (remark,) = train_on(root).remarks
    assert remark.startswith("walk: The infrared files differ in depth: 2 have 8 bit, 1 have 16")
    for name in NAMES[1:]:
        put(root, "infrared", name, encode_png(frames()[1].astype(np.uint16) * 100))
    code, page = described(root, capsys)
    assert code == 0 and "differ in depth" not in page and "64x48 (3); 16 bit (3)" in page
    assert train_on(root).remarks == ()


def test_frames_read_in_doubt_are_told_and_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "walk")
    random = np.random.default_rng(0)
    visible, heat = (random.integers(0, 4096, (63, 80, *more)) for more in ((3,), ()))
    heat[:, :6] = 0  # no data: 7.5 % of the pixels
    put(root, "visible", "a1", encode_png(visible.astype(np.uint16)))
    put(root, "infrared", "a1", encode_png((20_000 * (heat > 0) + heat).astype(np.uint16)))
    put(root, "label", "a1", encode_png(np.ones((63, 80), np.uint8)))
    code, page = described(root, capsys)
    told = (
        "1 of 3 visible files do not say how many of their 16 bits are significant",
        "1 of 3 infrared frames have the size of a known sensor and some rows more",
        "1 of 3 infrared frames have more than 1% of pixels without measurement, up to 7.5%",
    )
    remarks = "\n".join(train_on(root).remarks)
    assert code == 0 and all(f"- {each}" in page for each in told)
    assert all(f"walk: {each}" in remarks for each in told)
    numbers = json.loads(described(root, capsys, "--json")[1])
    assert numbers["doubts"] == dict.fromkeys(
        ("visible_bits_guessed", "infrared_telemetry", "infrared_invalid"), 1
    )
    assert numbers["most_invalid"] == pytest.approx(0.075)
    with (root / "dataset.toml").open("a") as file:
        file.write("\n[frames.visible]\nbits = 12\n[frames.infrared]\ncrop = [0, 0, 0, 3]\n")
        file.write("\ninvalid = [0]\n")
    code, page = described(root, capsys)
    assert told[0] not in page and told[1] not in page


def as_colour(labels: Image) -> Image:
    return np.repeat(labels[..., None], 3, axis=2)


FOREGROUND = "Is 255 your foreground? Then say so in dataset.toml: the class has codes = [255]"
UNTAUGHT: list[tuple[str, Callable[[Image], Image], str]] = [
    ("0 and 255", lambda labels: labels * 255, FOREGROUND),
    ("0 and 255 in colour", lambda labels: as_colour(labels * 255), FOREGROUND),
    ("all void", lambda labels: labels * 0 + IGNORE, "No pixel of the labels has a class"),
    ("only background", lambda labels: labels * 0, r"shows anything but background \(id 0\)"),
]


@pytest.mark.parametrize(
    ("change", "said"), [each[1:] for each in UNTAUGHT], ids=[each[0] for each in UNTAUGHT]
)
def test_labels_that_teach_nothing_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Image], Image],
    said: str,
) -> None:
    root = write_set(tmp_path / "walk")
    for name in NAMES:
        put(root, "label", name, encode_png(change(frames()[2])))
    code, page = described(root, capsys)
    said = said if "\\" in said else re.escape(said)
    assert code == 1 and re.search(said, page) and ".." not in page
    with pytest.raises(ValueError, match=said):
        train_on(root)


def test_what_255_means_can_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "walk", class_map=PERSON + "codes = [255]\n")
    for name in NAMES:
        put(root, "label", name, encode_png(frames()[2] * 255))
    assert described(root, capsys)[0] == 0
    np.testing.assert_array_equal(train_on(root)[0].labels, frames()[2])


def test_ids_counted_from_one_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "walk")
    for name in NAMES:
        put(root, "label", name, encode_png(frames()[2] + np.uint8(1)))
    code, page = described(root, capsys)
    assert code == 1 and "The ids seem to be counted from 1: subtract 1" in page
    with pytest.raises(ValueError, match=r"codes 2 \(\d+ pixels\).*ids seem to be counted from 1"):
        train_on(root)


def test_void_is_told_where_the_rest_teaches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "walk")
    labels = frames()[2]
    labels[24:] = IGNORE
    for name in NAMES:
        put(root, "label", name, encode_png(labels))
    code, page = described(root, capsys)
    assert code == 0 and "not labelled (255): 50.0% of the labels' pixels" in page
    assert train_on(root).remarks == ("walk: 50.0% of the pixels are not labelled (255)",)
    _, text = described(root, capsys, "--json")
    assert json.loads(text)["void"] == 0.5


@pytest.mark.parametrize("masks", ["labels", "masks", "Annotations", "SegmentationClass"])
def test_masks_are_read_under_any_name_once_their_classes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], masks: str
) -> None:
    root = write_set(tmp_path / "walk", masks, class_map=None)
    wanted = (
        rf"{masks} holds masks, but nothing says .* \(the first: 0, 1\)\. Write .*dataset\.toml"
    )
    with pytest.raises(ValueError, match=wanted):
        described(root, capsys)
    with pytest.raises(ValueError, match=wanted):
        train_on(root)
    (root / "dataset.toml").write_text(PERSON)
    np.testing.assert_array_equal(train_on(root)[0].labels, frames()[2])
    code, page = described(root, capsys, kind="pairs")
    assert code == 0 and f"{masks} holds masks: kind 'pairs' leaves labels out" in page


@pytest.mark.parametrize("where", ["label", "SegmentationClass"])
def test_ids_of_a_palette_are_what_their_colours_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """CVAT writes ids by the order of its label map, so that person may be 1 or 7."""
    root = write_set(tmp_path / "walk", where, class_map=None)
    for name in NAMES:
        put(root, where, name, encode_indexed_png(frames()[2], VOC))
    if where == "label":
        assert described(root, capsys)[0] == 1
        with pytest.raises(ValueError, match=r"shows the id 1 as \(128, 0, 0\), .* of mfnet's car"):
            train_on(root)
    (root / "labelmap.txt").write_text(LABEL_MAP)
    read = train_on(root)
    assert read.taxonomy.names == ("background", "person")
    np.testing.assert_array_equal(read[0].labels, frames()[2])
    for text, said in (
        ("person:red\n", "line 1: 'person:red' is no NAME:RED"),
        (LABEL_MAP + "dog:128,0,0::\n", "has the name or the colour of person"),
        (LABEL_MAP + "person:0,128,0::\n", "has the name or the colour of person"),
    ):
        (root / "labelmap.txt").write_text(text)
        with pytest.raises(ValueError, match=rf"labelmap\.txt, .*{said}"):
            train_on(root)


def test_ignore_in_a_label_map_is_no_class(tmp_path: Path) -> None:
    """CVAT's label map lists `ignore`, which is a label of each project made by our export."""
    root = write_set(tmp_path / "walk", class_map=None)
    for colour in ((1, 2, 3), (224, 224, 192)):  # the latter is VOC's own
        text = LABEL_MAP + f"ignore:{','.join(map(str, colour))}::\n"
        (root / "labelmap.txt").write_text(text)
        labels = frames()[2].copy()
        labels[0] = 2
        for name in NAMES:
            put(root, "label", name, encode_indexed_png(labels, [*VOC[:2], colour]))
        read = train_on(root)
        assert read.taxonomy.names == ("background", "person")
        labels[0] = 255
        np.testing.assert_array_equal(read[0].labels, labels)


def test_a_palette_of_other_ids_than_dataset_toml_says_is_refused(tmp_path: Path) -> None:
    root = write_set(tmp_path / "walk")
    turned = [(220, 20, 60), (0, 0, 0)]  # 0 is a person there
    for name in NAMES:
        put(root, "label", name, encode_indexed_png(frames()[2], turned))
    with pytest.raises(ValueError, match=r"shows the id 0 as \(220, 20, 60\), .* background"):
        train_on(root)


def test_masks_of_our_own_palette_are_ours(tmp_path: Path) -> None:
    root = write_set(tmp_path / "walk", class_map=None)
    for name in NAMES:
        put(root, "label", name, encode_indexed_png(frames()[2], MFNET.palette))
    read = train_on(root)
    assert read.taxonomy == MFNET
    (remark,) = read.remarks
    assert "no dataset.toml names the classes: ids are read as mfnet's, unlabelled, car" in remark


LABELME = {"version": "5.4", "shapes": [{"label": "person", "points": [[1, 1]]}], "imagePath": "a"}
COCO = {"images": [{"id": 1}], "annotations": [{"id": 1}], "categories": [{"name": "person"}]}
UNREAD = [
    ("visible/a1.json", json.dumps(LABELME), "LabelMe JSON, outlines"),
    ("instances.json", json.dumps(COCO), "COCO JSON, outlines"),
    ("annotations/train.json", json.dumps(COCO), "COCO JSON, outlines"),
    ("labels/a1.txt", "0 0.1 0.2 0.3 0.2 0.3 0.4\n", "YOLO text, outlines"),
    ("label/a1.txt", "0 0.5 0.5 0.1 0.2\n", "YOLO text, boxes"),
    ("Annotations/a1.xml", "<annotation><object></object></annotation>", "VOC XML, boxes"),
]


@pytest.mark.parametrize(("path", "text", "form"), UNREAD, ids=[each[0] for each in UNREAD])
def test_labels_in_a_form_that_is_not_read_are_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, text: str, form: str
) -> None:
    root = write_set(tmp_path / "walk", None, class_map=None)
    write(root / path, text.encode())
    code, page = described(root, capsys)
    assert code == 1
    assert f"holds labels as {form} (1: {Path(path).name}), not read. Draw them into masks" in page
    with pytest.raises(
        ValueError, match=f"as {form}.*To go on without labels, name the kind 'pairs'"
    ):
        train_on(root)
    assert len(train_on(root, kind="pairs")) == 3
    code, page = described(root, capsys, kind="pairs")
    assert code == 0 and f"as {form} (1: {Path(path).name}), not read: kind 'pairs' leaves" in page


@pytest.mark.parametrize("where", ["person_masks", "cvat/SegmentationClass"])
def test_masks_in_a_folder_of_another_name_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    root = write_set(tmp_path / "walk", where)
    advice = f'label = "{where}/*". To go on without labels'
    code, page = described(root, capsys)
    assert code == 1 and advice in page
    with pytest.raises(ValueError, match=re.escape(advice)):
        train_on(root)
    places = {"visible": "visible", "infrared": "infrared", "label": where}
    files = "\n".join(f'{part} = "{place}/*"' for part, place in places.items())
    (root / "dataset.toml").write_text(f"{PERSON}\n[files]\n{files}\n")
    np.testing.assert_array_equal(train_on(root)[0].labels, frames()[2])


def test_masks_as_jpeg_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "walk")
    (root / "label/a1.png").unlink()
    (root / "label/a1.jpg").write_bytes(encode_jpeg(frames()[2] * 100))
    code, page = described(root, capsys)
    assert code == 1 and "labels as JPEG (a1.jpg) get values that nobody gave them" in page


def test_frames_without_any_label_are_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "walk", None, class_map=None)
    (root / "visible/stamps.txt").write_text("1700000000 0.1 0.2 0.3 0.4\nnot labels\n")
    (root / "calibration.json").write_text('{"fx": 1}')
    code, page = described(root, capsys)
    assert code == 0 and "not labelled" in page


@dataclass(frozen=True)
class Naming:
    """Files as a camera names them, and what to write so that they are found."""

    visible: str
    infrared: str
    files: str


NAMINGS = [
    Naming(
        "visible/FLIR_{}_RGB.jpg",
        "infrared/FLIR_{}_PreviewData.jpeg",
        'visible = "visible/*_RGB", infrared = "infrared/*_PreviewData"',
    ),
    Naming(
        "visible/{}_co.png",
        "infrared/{}_th.png",
        'visible = "visible/*_co", infrared = "infrared/*_th"',
    ),
]


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.visible)
def test_names_that_differ_are_told_and_can_be_stated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], naming: Naming
) -> None:
    root = tmp_path / "walk"
    for number in range(4):
        write(root / naming.visible.format(number), encode_jpeg(frames()[0]))
        write(root / naming.infrared.format(number), encode_jpeg(frames()[1]))
    advice = f"[files] in dataset.toml with {naming.files} would pair 4 of them"
    code, page = described(root, capsys, kind="pairs")
    assert code == 1 and advice in page
    with pytest.raises(FileNotFoundError, match=re.escape(advice)):
        train_on(root, kind="pairs")
    (root / "dataset.toml").write_text("[files]\n" + naming.files.replace(", ", "\n"))
    assert described(root, capsys, kind="pairs")[0] == 0
    assert len(train_on(root, kind="pairs")) == 4


def test_names_that_differ_in_case_pair(tmp_path: Path) -> None:
    write(tmp_path / "walk/visible/IMG_1.PNG", encode_png(frames()[0]))
    write(tmp_path / "walk/infrared/img_1.png", encode_png(frames()[1]))
    assert len(train_on(tmp_path / "walk", kind="pairs")) == 1


def test_of_a_frame_with_and_without_loss_the_latter_is_taken_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "walk")
    (root / "visible/a1.jpg").write_bytes(encode_jpeg(np.zeros((*SIZE, 3), np.uint8)))
    code, page = described(root, capsys)
    assert code == 0 and "a1.jpg: a1.png is taken, which has no loss" in page
    np.testing.assert_array_equal(train_on(root)[0].visible, frames(0)[0])


def test_folders_of_sensors_may_hold_the_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As LLVIP lies: visible/train, infrared/train."""
    flat, root = write_set(tmp_path / "flat", "masks"), tmp_path / "llvip"
    for part in ("visible", "infrared", "masks"):
        for split in ("train", "test"):
            for path in (flat / part).iterdir():
                write(root / part / split / path.name, path.read_bytes())
    (root / "dataset.toml").write_text(PERSON)
    assert described(root, capsys, "--split", "train")[0] == 0
    assert len(train_on(root, split="train")) == 3
    assert open_set("pairs", root, "test").taxonomy is None
    with pytest.raises(FileNotFoundError, match=r"visible holds test, train"):
        train_on(root, split="val")
    code, page = described(root, capsys)
    assert code == 1 and "name the split: test, train" in page


def test_a_split_may_be_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = write_set(tmp_path / "rig" / "train", class_map=None)
    (tmp_path / "rig" / "dataset.toml").write_text(PERSON)
    monkeypatch.chdir(split)
    taxonomy = open_set("folder", Path()).taxonomy
    assert taxonomy and taxonomy.names == ("background", "person")


def test_one_folder_may_hold_both_cameras(tmp_path: Path) -> None:
    root = tmp_path / "flir"
    for number in range(3):
        write(root / f"val/Images/FLIR_{number}_RGB.jpg", encode_jpeg(frames()[0]))
        write(root / f"val/Images/FLIR_{number}_PreviewData.jpeg", encode_jpeg(frames()[1]))
    places = [
        f'{part} = "{{split}}/Images/FLIR_*_{name}"'
        for part, name in (("visible", "RGB"), ("infrared", "PreviewData"))
    ]
    (root / "dataset.toml").write_text("\n".join(("[files]", *places)))
    assert open_set("pairs", root, "val").names == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"holds several splits: say which one"):
        open_set("pairs", root)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ('visible = "v/*"', "has visible, infrared and perhaps label"),
        ('visible = "v/a"\ninfrared = "i/*"', "'a' must be a file name with one *"),
        ('visible = "v/*"\ninfrared = "i/*"\nlabels = "l/*"', "perhaps label, this has"),
    ],
)
def test_a_naming_with_a_mistake_is_refused(tmp_path: Path, files: str, said: str) -> None:
    (tmp_path / "dataset.toml").write_text("[files]\n" + files)
    with pytest.raises(ValueError, match=rf"dataset\.toml: .*{re.escape(said)}"):
        open_set("folder", tmp_path)
