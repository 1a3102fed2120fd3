"""What tools write, in their own words: shapes of every kind, damage, and hostile packages."""

import base64
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.imaging.codecs import encode_png, read_labels
from training.data.datasets import open_set

from .conftest import BACKGROUND, IGNORE, LIFT, PERSON, SIZE, Run

HEIGHT, WIDTH = SIZE

# A 7x5 mask as label_studio_sdk.converter.brush.mask2rle 2.1.2 writes it.
BRUSH = [
    *(0, 0, 0, 140, 57, 27, 254, 35, 0, 191, 255, 108, 2, 63, 248, 192, 39, 255, 182, 1, 127),
    *(255, 15, 128, 0),
]
BRUSHED = np.zeros((5, 7), bool)
BRUSHED[1:4, 2:6] = True
BRUSHED[2, 3] = False

# An image as datumaro 1.13.12 writes it for CVAT; one number of the masks is a damage below.
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels>
    <label><name>fork lift</name><attributes></attributes></label>
    <label><name>person</name><attributes></attributes></label>
  </labels></task></meta>
  <image id="0" name="garage/a 1.png" width="64" height="48">
    SHAPES
  </image>
</annotations>"""
PLACE = 'occluded="0" outside="0" keyframe="0" left="3" top="4" width="4" height="3"'
MASK = f'<mask label="person" rle="1, 2, 2, 2, 5" {PLACE} z_order="2" group_id="1"></mask>'
BOX = '<box label="fork lift" xtl="0" ytl="0" xbr="9" ybr="9" z_order="1"></box>'
POLYGON = '<polygon label="fork lift" points="2,4;7,4;7,10;2,10" z_order="0"></polygon>'
LINE = '<polyline label="person" points="1,1;9,9" z_order="0"></polyline>'


def write(path: Path, content: str | bytes | Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def cvat(root: Path, *shapes: str) -> Path:
    return write(root / "annotations.xml", CVAT.replace("SHAPES", "\n".join(shapes)))


def brought_in(run: Run, rig: Path, tool: str, source: Path, *more: str) -> NDArray[np.uint8]:
    back = rig.parent / "back"
    run("import", "--from", tool, source, "--data", rig, "--out", back, *more)
    return read_labels(back / "label/a 1.png")


def test_cvat_draws_by_z_order_and_boxes_count_nowhere(rig: Path, run: Run, tmp_path: Path) -> None:
    labels = brought_in(run, rig, "cvat", cvat(tmp_path, MASK, BOX, POLYGON, LINE))
    wanted = np.full(SIZE, BACKGROUND, np.uint8)
    wanted[:9, :9] = IGNORE
    wanted[4:10, 2:7] = LIFT
    wanted[4:7, 3:7][[[False, True, True, False], [False, True, True, False], [False] * 4]] = PERSON
    np.testing.assert_array_equal(labels, wanted)
    assert not (tmp_path / "back/label/a2D.png").exists()
    again = run(
        *("import", "--from", "cvat", tmp_path, "--data", rig),
        *("--out", tmp_path / "again", "--classes", rig / "dataset.toml"),
    )
    assert "6.25% of" not in again and "1 boxes say where objects are" in again
    assert "pixels lie in shapes of two classes" in again and "left out: 1 times polyline" in again


def test_classes_keep_the_order_and_colours_of_the_tool(
    rig: Path, run: Run, tmp_path: Path
) -> None:
    (rig / "dataset.toml").unlink()
    source = cvat(tmp_path, MASK, POLYGON)
    text = source.read_text().replace("fork lift</name>", "fork lift</name><color>#0ac8fa</color>")
    source.write_text(text)
    labels = brought_in(run, rig, "cvat", source)
    taxonomy = open_set("folder", tmp_path / "back").taxonomy
    assert taxonomy is not None
    assert taxonomy.names == ("background", "fork lift", "person")
    assert taxonomy.palette[1] == (10, 200, 250)
    assert np.bincount(labels.ravel()).tolist() == [WIDTH * HEIGHT - 30, 26, 4]


def label_studio(value: dict[str, Any], kind: str, link: str) -> list[dict[str, Any]]:
    result = {"type": kind, "value": value, "original_width": WIDTH, "original_height": HEIGHT}
    done = {"result": [result], "was_cancelled": False}
    return [{"id": 1, "data": {"image": link}, "annotations": [done], "predictions": []}]


def test_label_studio_uploads_are_matched_and_per_cents_are_pixels(
    rig: Path, run: Run, tmp_path: Path
) -> None:
    square = [[25, 25], [50, 25], [50, 50], [25, 50]]
    value = {"points": square, "polygonlabels": ["person"], "closed": True}
    tasks = label_studio(value, "polygonlabels", "/data/upload/3/0a1b2c3d-a%201.png")
    labels = brought_in(run, rig, "labelstudio", write(tmp_path / "export.json", tasks))
    wanted = np.full(SIZE, BACKGROUND, np.uint8)
    wanted[12:24, 16:32] = PERSON
    np.testing.assert_array_equal(labels, wanted)


def test_label_studio_leaves_a_date_in_a_name(rig: Path, run: Run, tmp_path: Path) -> None:
    """A date has the form of what the tool puts before the name of an upload."""
    for part in ("visible", "infrared", "label"):
        (rig / part / "a2D.png").rename(rig / part / "20240105-101500.png")
    square = [[25, 25], [50, 25], [50, 50], [25, 50]]
    value = {"points": square, "polygonlabels": ["person"], "closed": True}
    tasks = label_studio(value, "polygonlabels", "/data/local-files/?d=x/20240105-101500.png")
    source = write(tmp_path / "export.json", tasks)
    run("import", "--from", "labelstudio", source, "--data", rig, "--out", tmp_path / "back")
    assert (tmp_path / "back/label/20240105-101500.png").is_file()


def test_label_studio_tasks_with_nothing_on_them_are_background_if_said(
    rig: Path, run: Run, tmp_path: Path
) -> None:
    value = {"x": 50, "y": 25, "width": 25, "height": 25, "rectanglelabels": ["person"]}
    tasks = label_studio(value, "rectanglelabels", "a 1.png")
    submitted = {"result": [], "was_cancelled": False}
    tasks.append({"id": 2, "data": {"image": "a2D.png"}, "annotations": [submitted]})
    words = ("import", "--from", "labelstudio", write(tmp_path / "export.json", tasks))
    said = run(*words, "--data", rig, "--out", tmp_path / "some")
    assert "1 images have no shape and are left out (a2D): --empty background" in said
    run(*words, "--data", rig, "--out", tmp_path / "back", "--empty", "background")
    assert (read_labels(tmp_path / "back/label/a2D.png") == BACKGROUND).all()


def test_label_studio_turns_a_rectangle_around_its_upper_left_corner(
    rig: Path, run: Run, tmp_path: Path
) -> None:
    value = {"x": 50, "y": 25, "width": 25, "height": 25, "rotation": 90}  # 16 x 12 at (32, 12)
    tasks = label_studio(value | {"rectanglelabels": ["person"]}, "rectanglelabels", "a 1.png")
    labels = brought_in(run, rig, "labelstudio", write(tmp_path / "export.json", tasks))
    wanted = np.full(SIZE, BACKGROUND, np.uint8)
    wanted[12:28, 20:32] = IGNORE  # a box says where an object is
    np.testing.assert_array_equal(labels, wanted)


def test_label_studio_brushes_are_read_as_it_writes_them(
    rig: Path, run: Run, tmp_path: Path
) -> None:
    for part, image in (("visible", np.zeros((5, 7, 3))), ("infrared", np.zeros((5, 7)))):
        write(rig / part / "a 1.png", encode_png(image.astype(np.uint8)))
    tasks = label_studio({"rle": BRUSH, "brushlabels": ["person"]}, "brushlabels", "?d=x/a 1.png")
    tasks[0]["annotations"][0]["result"][0] |= {"original_width": 7, "original_height": 5}
    labels = brought_in(run, rig, "labelstudio", write(tmp_path / "export.json", tasks))
    np.testing.assert_array_equal(labels == PERSON, BRUSHED)


def test_coco_parts_are_joined_and_crowds_are_runs(rig: Path, run: Run, tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[40:44, 50:60] = True
    runs = np.diff(np.flatnonzero(np.diff(np.r_[2, mask.ravel("F").astype(int), 2])))
    parts = [[0, 0, 4, 0, 4, 4, 0, 4], [10, 10, 14, 10, 14, 14, 10, 14]]
    document = {
        "images": [{"id": 7, "file_name": "a 1.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 5, "name": "person"}, {"id": 3, "name": "fork lift"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "segmentation": parts, "iscrowd": 0},
            {
                "id": 2,
                "image_id": 7,
                "category_id": 3,
                "segmentation": {"size": list(SIZE), "counts": runs.tolist()},
                "iscrowd": 1,
            },
        ],
    }
    labels = brought_in(run, rig, "coco", write(tmp_path / "coco.json", document))
    wanted = np.full(SIZE, BACKGROUND, np.uint8)
    wanted[0:4, 0:4] = wanted[10:14, 10:14] = PERSON
    wanted[mask] = LIFT
    np.testing.assert_array_equal(labels, wanted)


def labelme(**changes: Any) -> dict[str, Any]:
    picture = base64.b64encode(encode_png(np.ones((3, 4), np.uint8))).decode()
    shapes = [
        {"label": "person", "shape_type": "mask", "points": [[2, 5], [5, 7]], "mask": picture},
        {"label": "fork lift", "shape_type": "circle", "points": [[30, 20], [30, 30]]},
    ]
    document = {"version": "5.4.1", "imagePath": "..\\photos\\a 1.png", "imageData": None}
    return document | {"imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes} | changes


def test_labelme_masks_lie_within_their_points(rig: Path, run: Run, tmp_path: Path) -> None:
    labels = brought_in(run, rig, "labelme", write(tmp_path / "photos/a 1.json", labelme()))
    np.testing.assert_array_equal(np.argwhere(labels == PERSON)[[0, -1]], [[5, 2], [7, 5]])
    assert (labels == LIFT).sum() == pytest.approx(np.pi * 100, rel=0.02)


def test_names_are_changed_on_the_way(rig: Path, run: Run, tmp_path: Path) -> None:
    source = cvat(tmp_path, POLYGON.replace("fork lift", "Forklift"), MASK)
    said = run(
        *("import", "--from", "cvat", source, "--data", rig, "--out", tmp_path / "back"), fails=True
    )
    assert "the class 'Forklift' is none of person, background, fork lift, ignore" in said
    assert said.endswith("--rename 'Forklift=fork lift'")
    assert not (tmp_path / "back").exists()
    labels = brought_in(
        run, rig, "cvat", source, "--rename", "Forklift=fork lift", "--rename", "person=ignore"
    )
    assert sorted(np.unique(labels).tolist()) == [BACKGROUND, LIFT, IGNORE]


def test_a_renaming_that_meets_no_class_is_refused(rig: Path, run: Run, tmp_path: Path) -> None:
    to = ("import", "--data", rig, "--out", tmp_path / "back", "--from", "cvat")
    said = run(*to, cvat(tmp_path, POLYGON, MASK), "--rename", "Person=ignore", fails=True)
    assert "--rename Person=ignore: the export has no class 'Person', expected one of" in said
    assert not (tmp_path / "back").exists()


def test_names_that_mean_two_things_are_refused(rig: Path, run: Run, tmp_path: Path) -> None:
    source = cvat(tmp_path, POLYGON, MASK)
    to = ("import", "--data", rig, "--out", tmp_path / "back", "--from", "cvat", source)
    more = ("--rename", "person=ignore", "--rename", "person=fork lift")
    assert "--rename gives person two names, ignore and fork lift" in run(*to, *more, fails=True)
    classes = rig / "dataset.toml"
    classes.write_text(classes.read_text().replace('"fork lift"', '"ignore"'))
    assert "a class is called 'ignore'" in run(*to, fails=True)
    assert not (tmp_path / "back").exists()


def test_shapes_beside_their_image_are_counted(rig: Path, run: Run, tmp_path: Path) -> None:
    far = {"label": "person", "shape_type": "circle", "points": [[900, 900], [910, 900]]}
    document = labelme(shapes=[*labelme()["shapes"], far])
    source = write(tmp_path / "photos/a 1.json", document)
    to = ("import", "--data", rig, "--out", tmp_path / "back", "--from", "labelme")
    assert "1 shapes cover no pixel of their image and are left out" in run(*to, source)


def test_two_classes_become_one(rig: Path, run: Run, tmp_path: Path) -> None:
    (rig / "dataset.toml").unlink()
    more = ("--rename", "fork lift=thing", "--rename", "person=thing")
    brought_in(run, rig, "cvat", cvat(tmp_path, POLYGON, MASK), *more)
    taxonomy = open_set("folder", tmp_path / "back").taxonomy
    assert taxonomy is not None and taxonomy.names == ("background", "thing")


def test_labels_never_get_ids_that_are_other_classes_there(
    rig: Path, run: Run, tmp_path: Path
) -> None:
    shutil.rmtree(rig / "label")
    classes = ("--classes", "background,person,fork lift")
    words = ("import", "--from", "cvat", cvat(tmp_path, MASK), "--out", rig, *classes)
    assert "names other classes" in run(*words, fails=True)
    assert not (rig / "label").exists()


def test_the_classes_and_cameras_of_all_splits_count_for_one(
    rig: Path, run: Run, tmp_path: Path
) -> None:
    """`rig/train` is read by `rig/dataset.toml`, here and in training."""
    shutil.rmtree(rig / "label")
    (rig / "train").mkdir()
    for part in ("visible", "infrared"):
        (rig / part).rename(rig / "train" / part)
    run("export-labels", "--to", "coco", "--data", rig / "train", "--out", tmp_path / "package")
    assert (tmp_path / "package/dataset.toml").read_text().count("[[classes]]") == 3
    labels = brought_in(run, rig / "train", "cvat", cvat(tmp_path, POLYGON))
    assert set(np.unique(labels)) == {BACKGROUND, LIFT}
    back = open_set("folder", rig / "back")
    assert back.taxonomy is not None
    assert back.taxonomy.names == ("person", "background", "fork lift")
    assert back.cameras.infrared.polarity == "black_hot"
    run("import", "--from", "cvat", tmp_path / "annotations.xml", "--out", rig / "train")
    assert not (rig / "train/dataset.toml").exists()  # it would hide that of all splits
    assert open_set("folder", rig / "train").taxonomy == back.taxonomy


def zipped(path: Path, name: str, data: bytes, mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        member.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(member, data)
    return path


ENTITIES = '<!DOCTYPE a [<!ENTITY b "bb">]><annotations/>'
TRACK = "<annotations><track/></annotations>"
ENDLESS = {"label": "person", "shape_type": "circle", "points": [[1e308, 0], [-1e308, 0]]}
ENDLESS_BOX = ENDLESS | {"shape_type": "rectangle"}
FAR = ENDLESS | {"shape_type": "polygon", "points": [[0, 0], [9, 0], [0, 2e6]]}
HOSTILE: list[tuple[str, str, Callable[[Path], Path], str]] = [
    ("path", "cvat", lambda at: zipped(at / "a.zip", "../../a.xml", b"<a/>"), "out of the archive"),
    ("root", "cvat", lambda at: zipped(at / "a.zip", "/etc/a.xml", b"<a/>"), "out of the archive"),
    (
        "link",
        "cvat",
        lambda at: zipped(at / "a.zip", "a.xml", b"/etc/passwd", stat.S_IFLNK | 0o777),
        "is a link",
    ),
    ("dot", "cvat", lambda at: zipped(at / "a.zip", ".", b"<a/>"), "out of the archive"),
    ("no archive", "cvat", lambda at: write(at / "a.zip", b"PK\3\4 damaged"), "cannot be unpacked"),
    ("entities", "cvat", lambda at: write(at / "a.xml", ENTITIES), "a document type is not taken"),
    ("a video", "cvat", lambda at: write(at / "a.xml", TRACK), "no 'CVAT for images 1.1'"),
    ("nothing", "cvat", lambda at: write(at / "x/a.png", b"").parent, "0 files labelmap.txt"),
    (
        "pictures alone",  # under the archive's own name, not that of a temporary folder
        "cvat",
        lambda at: zipped(at / "a.zip", "a.png", b""),
        "a.zip holds 0 files labelmap.txt",
    ),
    ("sizes", "cvat", lambda at: sized(at, 'width="64"', 'width="640"'), "the frame a 1 is 64x48"),
    ("giant", "cvat", lambda at: sized(at, 'width="64"', 'width="9999999"'), "none of an image"),
    ("mask", "cvat", lambda at: sized(at, "1, 2, 2, 2, 5", "1, 2, 2, 2, 6"), "its 12 pixels"),
    ("minus", "cvat", lambda at: sized(at, "1, 2, 2, 2, 5", "1, 2, -2, 2, 9"), "its 12 pixels"),
    ("endless", "cvat", lambda at: sized(at, "2, 2, 2, 5", f"2, 2, 2, {10**30}"), "its 12 pixels"),
    ("beyond", "cvat", lambda at: sized(at, 'left="3"', 'left="61"'), "the image is 64x48"),
    (
        "number",
        "cvat",
        lambda at: sized(at, 'top="4"', 'top="NaN"'),
        "top is 'NaN', expected a num",
    ),
    ("stranger", "cvat", lambda at: sized(at, "a 1.png", "a 3.png"), "'garage/a 3.png' is of none"),
    ("twice", "labelme", lambda at: twice(at), "are of one pair, a 1"),
    (
        "picture",
        "labelme",
        lambda at: write(at / "a.json", labelme(imageHeight="high")),
        "a.json: imageHeight: Input should be a valid integer",
    ),
    (
        "infinite",
        "labelme",
        lambda at: write(at / "a.json", labelme(shapes=[ENDLESS])),
        "a shape of person lies nowhere in an image",
    ),
    (
        "infinite box",
        "labelme",
        lambda at: write(at / "a.json", labelme(shapes=[ENDLESS_BOX])),
        "a shape of person lies nowhere in an image",
    ),
    (
        "far point",
        "labelme",
        lambda at: write(at / "a.json", labelme(shapes=[FAR])),
        "an outline has a point that lies nowhere in an image",
    ),
    ("json", "coco", lambda at: write(at / "a.json", "[" * 10_000), "nested too deeply"),
    ("no coco", "coco", lambda at: write(at / "a.json", "[]"), "a.json: its root"),
    ("csv", "labelstudio", lambda at: write(at / "a.json", "{}"), "export the project as JSON"),
    ("brush", "labelstudio", lambda at: brush(at, BRUSH), "a brush holds 140 values"),
    ("short", "labelstudio", lambda at: brush(at, [0, 0, 48, 0, 57]), "ends before its values do"),
    (
        "colours",
        "palette",
        lambda at: painted(at),
        r"the codes (9, 8, 7) (3072 pixels) stand for no",
    ),
]


def sized(at: Path, old: str, new: str) -> Path:
    source = cvat(at, MASK)
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))
    return source


def twice(at: Path) -> Path:
    for name in ("a", "b"):
        write(at / f"twice/{name}.json", labelme())
    return at / "twice"


def brush(at: Path, rle: list[int]) -> Path:
    value = {"rle": rle, "brushlabels": ["person"]}
    return write(at / "a.json", label_studio(value, "brushlabels", "a 1.png"))


def painted(at: Path) -> Path:
    pixels = np.full((*SIZE, 3), (7, 8, 9), np.uint8)  # BGR
    return write(at / "a 1.png", cv2.imencode(".png", pixels)[1].tobytes())


@pytest.mark.parametrize(
    ("tool", "make", "words"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE]
)
def test_what_cannot_be_is_said_and_nothing_is_written(
    rig: Path, run: Run, tmp_path: Path, tool: str, make: Callable[[Path], Path], words: str
) -> None:
    source = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = run(
        *("import", "--from", tool, source, "--data", rig, "--out", tmp_path / "back"), fails=True
    )
    assert words in said and said.startswith("segmif train: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bomb_is_refused_before_it_fills_the_disk(rig: Path, run: Run, tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", "a.xml", b"<annotations>" + bytes(1 << 20))
    data = bytearray(source.read_bytes())
    for signature, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):  # the stated size, unpacked
        at = data.index(signature) + place
        data[at : at + 4] = (1 << 31).to_bytes(4, "little")
    source.write_bytes(data)
    words = ("import", "--from", "cvat", source, "--data", rig, "--out", tmp_path / "back")
    assert "states more bytes than its packed ones can hold" in run(*words, fails=True)
