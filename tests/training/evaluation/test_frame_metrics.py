"""What one frame gives, and how frames add up to a set."""

from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.classes import IGNORE, MFNET, Taxonomy
from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma
from segmif.metrics import fusion_metrics
from training.data.datasets import LabelledPair, Light
from training.evaluation.frame_metrics import Measures, evaluate_set, person_regions
from training.evaluation.results import INFRARED_BLACK, VISIBLE_BLACK, People

PERSON = MFNET.names.index("person")
SIZE = (64, 96)


class HandMade:
    """A set of the given frames."""

    name = "by hand"
    taxonomy: Taxonomy | None = MFNET

    def __init__(self, *frames: LabelledPair) -> None:
        self.frames = frames
        self.names = tuple(frame.name for frame in frames)

    def read(self, index: int) -> LabelledPair:
        return self.frames[index]


def hot_is_person(pair: FramePair) -> Prediction:
    return Prediction(pair.visible, np.where(pair.infrared > 200, np.uint8(PERSON), np.uint8(0)))


def frame(name: str, labels: NDArray[np.uint8], light: Light | None = None) -> LabelledPair:
    random = np.random.default_rng(len(name))
    visible = random.integers(0, 256, (*SIZE, 3), np.uint8)
    infrared = random.integers(0, 200, SIZE, np.uint8)
    infrared[:, :32] = 250
    return LabelledPair(name, visible, infrared, labels, light)


def persons() -> NDArray[np.uint8]:
    """One in the hot columns, one half there, one outside, and a crumb."""
    labels = np.zeros(SIZE, np.uint8)
    labels[5:25, 5:15] = labels[35:55, 26:38] = labels[5:25, 60:70] = PERSON
    labels[60:62, 90:92] = PERSON
    return labels


def test_fusion_is_the_mean_over_the_pairs() -> None:
    frames = [frame(name, persons(), "day") for name in ("a", "bb")]
    result = evaluate_set(hot_is_person, HandMade(*frames), Measures(baselines=True))
    seen = [luma(f.visible) for f in frames]
    judged = [asdict(fusion_metrics(y, f.infrared, y)) for y, f in zip(seen, frames, strict=True)]
    mean = {metric: (judged[0][metric] + judged[1][metric]) / 2 for metric in judged[0]}
    assert asdict(result.fusion()["network"]) == pytest.approx(mean)
    assert result.fusion()["visible"] == result.fusion()["network"]  # what the stand-in gives
    assert result.fusion()["maximum"] != result.fusion()["network"]
    assert result.fusion("day") == result.fusion()


def test_persons_are_groups_that_are_half_labelled() -> None:
    assert len(person_regions(persons(), PERSON)) == 3
    result = evaluate_set(hot_is_person, HandMade(frame("a", persons())), Measures(fusion=False))
    assert result.people("both sensors") == {"all": People(there=3, found=2)}
    assert result.fusion() == {}


def test_a_black_sensor_is_what_the_network_sees() -> None:
    frames = HandMade(frame("a", persons(), "night"))
    result = evaluate_set(hot_is_person, frames, Measures(fusion=False, sensor_drop=True))
    assert result.sensors() == ("both sensors", VISIBLE_BLACK, INFRARED_BLACK)
    assert result.people(INFRARED_BLACK)["night"] == People(there=3, found=0)
    assert result.people(VISIBLE_BLACK) == result.people("both sensors")
    np.testing.assert_array_equal(
        result.masks(VISIBLE_BLACK)["all"].counts, result.masks()["all"].counts
    )


def test_a_drive_ends_where_numbers_jump_or_night_falls() -> None:
    names = ("00101D", "00104D", "00105N", "00501N")
    frames = [frame(name, persons(), "day" if name[-1] == "D" else "night") for name in names]
    result = evaluate_set(hot_is_person, HandMade(*frames), Measures(fusion=False))
    drives = {drive: len(held) for drive, held in result.by_drive().items()}
    assert drives == {"00101D-00104D": 2, "00105N-00105N": 1, "00501N-00501N": 1}
    total = sum(matrix.counts for matrix in result.masks_by_drive().values())
    np.testing.assert_array_equal(total, result.masks()["all"].counts)


def test_lights_add_up_to_all() -> None:
    nothing = np.full(SIZE, IGNORE, np.uint8)
    frames = [frame("a", persons(), "day"), frame("bb", persons(), "night"), frame("c", nothing)]
    masks = evaluate_set(hot_is_person, HandMade(*frames), Measures(fusion=False)).masks()
    total = masks["day"].counts + masks["night"].counts  # the third has nothing to judge
    np.testing.assert_array_equal(masks["all"].counts, total)
