"""Frames of one sensor, whose labels know some classes only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segmif.classes import IGNORE
from segmif.imaging.codecs import write_png
from training.config import TrainConfig
from training.data.datasets.partial_labels import ALLOWED, NO_ROAD_USER, RIDER, BoxedSet, CamvidSet
from training.data.frames import Frames
from training.data.samples import Phase, Samples
from training.data.sources import Source, training_sets
from training.fit import losses

SIZE = (64, 96)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One pair of MFNet, three streets of CamVid, two boxed infrared frames."""
    random = np.random.default_rng(0)
    colours = random.integers(1, 255, (*SIZE, 3)).astype(np.uint8)
    grey = random.integers(1, 255, SIZE).astype(np.uint8)
    person = np.zeros(SIZE, np.uint8)
    person[8:40, 8:40] = 2
    camvid = np.full(SIZE, 3, np.uint8)
    camvid[:20], camvid[20:40], camvid[40:50], camvid[50:60] = 8, 9, 10, 11
    for folder, images in {
        "mfnet/train": {"visible": colours, "infrared": grey, "label": person},
        "camvid": {"visible": colours, "label": camvid},
        "thermal_only": {"infrared": grey, "machine_label": person},
    }.items():
        for part, image in images.items():
            (tmp_path / folder / part).mkdir(parents=True)
            names = ["00101D", "00300N"] if folder == "thermal_only" else ["00101D"]
            for name in names[: 1 if part == "machine_label" else None]:
                write_png(tmp_path / folder / part / f"{name}.png", image)
    (tmp_path / "thermal_only/boxes").mkdir()
    for name in ("00101D", "00300N"):  # a person at columns 0 to 48, rows 0 to 48; a car
        boxes = "0 0.25 0.375 0.5 0.75\n2 0.75 0.5 0.25 0.5\n"
        (tmp_path / "thermal_only/boxes" / f"{name}.txt").write_text(boxes, encoding="utf-8")
    return tmp_path


def test_camvid_says_car_person_rider_or_none_of_them(root: Path) -> None:
    frame = CamvidSet(root / "camvid").read(0)
    assert not frame.infrared.any()
    rows = [int(value) for value in frame.labels[[10, 30, 45, 55, 62], 5]]
    assert rows == [1, 2, RIDER, IGNORE, NO_ROAD_USER]


def test_boxes_say_where_no_road_user_is_and_masks_within_them_what_is(root: Path) -> None:
    guessed, boxed = (BoxedSet(root / "thermal_only").read(index) for index in (0, 1))
    assert not guessed.visible.any()
    assert guessed.labels[20, 20] == 2 and boxed.labels[20, 20] == IGNORE
    assert guessed.labels[2, 2] == IGNORE  # in the person's box, where the mask sees nobody
    for frame in (guessed, boxed):
        assert frame.labels[60, 2] == NO_ROAD_USER and frame.labels[32, 72] == IGNORE


def test_loss_counts_the_classes_together_that_a_pixel_may_be_of() -> None:
    logits = torch.zeros(1, 9, 4, 4)
    logits[:, 3] = 2.0
    for code, ids in ALLOWED.items():
        labels = torch.full((1, 16, 16), code, dtype=torch.uint8)
        share = logits.softmax(1)[0, list(ids), 0, 0].sum()
        assert losses.segmentation(logits, labels) == pytest.approx(-float(share.log()), rel=1e-5)


def test_crops_come_by_share_and_a_missing_sensor_stays_black(root: Path) -> None:
    source = Source(kind="mfnet", folder="mfnet", split="train")
    others = (
        Source(kind="camvid", folder="camvid", share=0.4),
        Source(kind="boxed", folder="thermal_only", share=0.3),
    )
    phase = Phase(steps=1, batch=1, crop=(32, 32))
    config = TrainConfig(variant="nano", data=(source, *others), phases=(phase,), leave_out=3)
    with pytest.raises(ValueError, match="together at most 1"):
        replace(config, data=(source, replace(others[0], share=0.8), others[1]))
    frames = Frames(training_sets(config, root), 1.0)
    assert len(frames) == 3  # 00300N is of group 3
    drawn = Samples(frames, frames.facts, frames.taxonomy, phase, config, (0,), frames.sources)
    shown = [tuple(bool(part.any()) for part in drawn[index][:2]) for index in range(300)]
    assert shown.count((True, False)) / 300 == pytest.approx(0.4, abs=0.09)
    assert shown.count((False, True)) / 300 == pytest.approx(0.3, abs=0.09)
