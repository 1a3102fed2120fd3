"""Labels go to a tool and come back: masks to the pixel, outlines within one."""

import json
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO

from segmif.classes import MFNET
from segmif.imaging.codecs import encode_indexed_png, read_labels, read_visible, write_png
from tests.conftest import HOT
from training.data.datasets import open_set

from .conftest import BACKGROUND, CLASSES, IGNORE, LIFT, PERSON, SIZE, Run, labels_of

TOOLS = ("cvat", "labelstudio", "coco", "labelme")
NAMES = ("a 1", "a2D")
LABEL = {"person": PERSON, "fork lift": LIFT, "ignore": IGNORE}


def exported(run: Run, rig: Path, tool: str, *more: str) -> Path:
    package = rig.parent / "package"
    run("export-labels", "--to", tool, "--data", rig, "--out", package, *more)
    return package / "tasks.json" if tool == "labelstudio" else package


def near_edges(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels within one of an edge between two labels."""
    around = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(labels, around) != cv2.erode(labels, around))


@pytest.mark.parametrize("tool", TOOLS)
def test_masks_survive_to_the_pixel(rig: Path, run: Run, tool: str) -> None:
    package = exported(run, rig, tool)
    back = rig.parent / "back"
    said = run("import", "--from", tool, package, "--data", rig, "--out", back)
    assert said.startswith("2 of 2 pairs are labelled: person")
    frames = open_set("folder", back)
    assert frames.taxonomy == open_set("folder", rig).taxonomy
    assert frames.cameras == open_set("folder", rig).cameras
    for seed, name in enumerate(NAMES):
        np.testing.assert_array_equal(read_labels(back / f"label/{name}.png"), labels_of(seed))
        for part in ("visible", "infrared"):
            copies = (root / part / f"{name}.png" for root in (rig, back))
            first, second = (path.read_bytes() for path in copies)
            assert first == second


@pytest.mark.parametrize("tool", TOOLS)
def test_polygons_survive_within_one_pixel(rig: Path, run: Run, tool: str) -> None:
    (rig / f"label/{NAMES[1]}.png").unlink()  # noise: all of it is edges
    for part in ("visible", "infrared"):
        (rig / f"{part}/{NAMES[1]}.png").unlink()
    package = exported(run, rig, tool, "--shapes", "polygons")
    back = rig.parent / "back"
    run("import", "--from", tool, package, "--data", rig, "--out", back)
    found, given = read_labels(back / f"label/{NAMES[0]}.png"), labels_of(0)
    changed = found != given
    assert not (changed & ~near_edges(given)).any()
    assert changed.mean() < 0.01
    for id_ in (PERSON, LIFT, IGNORE):  # no region is lost, however thin
        parts = [
            cv2.connectedComponents((mask == id_).astype(np.uint8))[0] for mask in (found, given)
        ]
        assert parts[0] == parts[1]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of numpy 1
def test_coco_is_read_by_its_own_reader(rig: Path, run: Run) -> None:
    package = exported(run, rig, "coco")
    coco = COCO(package / "annotations/instances_default.json")
    for id_, image in coco.imgs.items():
        labels = np.full(SIZE, BACKGROUND, np.uint8)
        for annotation in coco.imgToAnns[id_]:
            mask = coco.annToMask(annotation) > 0
            assert mask.sum() == annotation["area"]
            labels[mask] = LABEL[coco.cats[annotation["category_id"]]["name"]]
        seed = NAMES.index(Path(image["file_name"]).stem)
        np.testing.assert_array_equal(labels, labels_of(seed))


def test_cvat_gets_images_with_infrared_beside_and_labels_with_colours(rig: Path, run: Run) -> None:
    package = exported(run, rig, "cvat", "--view", "infrared")
    with zipfile.ZipFile(package / "images.zip") as archive:
        assert sorted(archive.namelist()) == [
            *("a 1.png", "a2D.png"),
            *("related_images/a 1_png/visible.png", "related_images/a2D_png/visible.png"),
        ]
    root = ElementTree.parse(package / "annotations.xml").getroot()
    assert [e.text for e in root.iterfind("meta//label/name")] == ["person", "fork lift", "ignore"]
    first = root.find("image")
    assert first is not None
    labels = np.full(SIZE, BACKGROUND, np.uint8)
    for mask in first.iterfind("mask"):
        left, top, width, height = (int(mask.attrib[k]) for k in ("left", "top", "width", "height"))
        runs = [int(each) for each in mask.attrib["rle"].split(",")]
        inside = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
        labels[top : top + height, left : left + width][inside == 1] = LABEL[mask.attrib["label"]]
    np.testing.assert_array_equal(labels, labels_of(0))
    assert json.loads((package / "labels.json").read_text())[0]["color"] == "#dc143c"


def test_what_has_no_labels_is_labelled_by_the_network(
    rig: Path, run: Run, stand_in_weights: Path
) -> None:
    shutil.rmtree(rig / "label")
    (rig / "dataset.toml").unlink()
    package = exported(
        run, rig, "labelstudio", "--weights", str(stand_in_weights), "--view", "fused"
    )
    tasks = json.loads(package.read_text())
    assert all("annotations" not in task and task["predictions"][0]["result"] for task in tasks)
    assert next(iter(tasks[0]["data"])) == "fused"
    fused = read_visible(package.parent / "fused" / "a 1.png")
    np.testing.assert_array_equal(fused, read_visible(rig / "visible" / "a 1.png"))
    back = rig.parent / "back"
    said = run("import", "--from", "labelstudio", package, "--data", rig, "--out", back, fails=True)
    assert "no image has a shape" in said  # nobody has looked at them
    for task in tasks:
        task["annotations"] = task.pop("predictions")
    package.write_text(json.dumps(tasks))
    classes = package.parent / "dataset.toml"
    run("import", "--from", "labelstudio", package, "--out", rig, "--classes", classes)
    frames = open_set("folder", rig)
    assert frames.taxonomy == MFNET
    for index, name in enumerate(NAMES):
        hot = frames.infrared_of(name)[0] > HOT
        np.testing.assert_array_equal(frames.read(index).labels, 2 * hot)


def test_labels_that_nothing_names_the_classes_of_are_noted(rig: Path, run: Run) -> None:
    """They are read as MFNet's, which the user may never have heard of."""
    (rig / "dataset.toml").unlink()
    said = run("export-labels", "--to", "coco", "--data", rig, "--out", rig.parent / "package")
    assert "note: no dataset.toml names the classes: ids are read as mfnet's, unlabelled" in said


def test_a_folder_with_labels_is_left_as_it_is(rig: Path, run: Run) -> None:
    package = exported(run, rig, "coco")
    assert "holds labels already" in run(
        "import", "--from", "coco", package, "--out", rig, fails=True
    )
    assert "is not empty" in run(
        "export-labels", "--to", "coco", "--data", rig, "--out", rig, fails=True
    )


def test_labels_of_another_size_are_not_exported(rig: Path, run: Run) -> None:
    write_png(rig / "label/a2D.png", labels_of(1)[:24, :32])
    words = ("export-labels", "--to", "coco", "--data", rig, "--out", rig.parent / "package")
    assert "a2D: visible 64x48, infrared 64x48, labels 32x24" in run(*words, fails=True)


def test_frames_that_nobody_labelled_stay_unlabelled(rig: Path, run: Run) -> None:
    package = exported(run, rig, "labelme")
    document = json.loads((package / "a2D.json").read_text())
    (package / "a2D.json").write_text(json.dumps(document | {"shapes": []}))
    shutil.rmtree(rig / "label")
    said = run("import", "--from", "labelme", package, "--out", rig)
    assert "1 images have no shape and are left out (a2D)" in said
    assert (read_labels(rig / "label/a2D.png") == IGNORE).all()
    np.testing.assert_array_equal(read_labels(rig / "label/a 1.png"), labels_of(0))
    assert (rig / "dataset.toml").read_text() == CLASSES


def test_voc_masks_and_plain_colours_come_in(rig: Path, run: Run) -> None:
    voc, palette = rig.parent / "voc", rig.parent / "palette"
    (voc / "SegmentationClass").mkdir(parents=True)
    (voc / "SegmentationObject").mkdir()
    palette.mkdir()
    colours = [(220, 20, 60), (0, 0, 0), (10, 200, 250)]
    shown = np.full((256, 3), (224, 224, 192), np.uint8)
    shown[:3] = colours
    for seed, name in enumerate(NAMES):
        labels = labels_of(seed)
        # CVAT writes ids by its label map's order: background first
        order = np.array([2, 0, 1, *range(3, 256)], np.uint8)
        theirs = encode_indexed_png(order[labels], [colours[1], colours[2], colours[0]])
        if (labels == IGNORE).any():
            theirs = encode_indexed_png(
                order[labels], [colours[1], colours[2], colours[0], *[(224, 224, 192)] * 253]
            )
        (voc / f"SegmentationClass/{name}.png").write_bytes(theirs)
        (voc / f"SegmentationObject/{name}.png").write_bytes(theirs)
        write_png(palette / f"{name}.png", shown[labels])
    lines = ["background:0,0,0::", "fork lift:10,200,250::", "person:220,20,60::"]
    (voc / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines))
    toml = rig.parent / "classes.toml"
    classes = CLASSES.replace('name = "yard"', 'name = "yard"\nignore = [[224, 224, 192]]', 1)
    toml.write_text(classes.replace('"background"', '"unlabelled"'))  # as MFNet calls it
    for tool, source in (("voc", voc), ("cvat", voc), ("palette", palette)):
        back = rig.parent / f"back-{tool}"
        run("import", "--from", tool, source, "--data", rig, "--out", back, "--classes", toml)
        for seed, name in enumerate(NAMES):
            np.testing.assert_array_equal(read_labels(back / f"label/{name}.png"), labels_of(seed))
