"""Proposals of a segmenter, which a detector leaves open where it has missed something."""

import json
from base64 import b64decode

import numpy as np
from numpy.typing import NDArray

from lab.labeller import BIKE, CAR, CLASSES, PERSON, Box, answers, boxes
from segmif.imaging.codecs import decode_labels
from training.labels.labeller import proposal_of, request_of

SIZE = (64, 96)


def test_what_the_segmenter_misses_is_left_open_and_a_dark_frame_too() -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 10:30] = CAR
    seen = [Box(CAR, 8, 8, 32, 32), Box(PERSON, 25, 20, 45, 40), Box(BIKE, 90, 60, 99, 70)]
    frames = [np.full((*SIZE, 3), level, np.uint8) for level in (120, 20)]
    lines = [request_of("a", frame).decode() for frame in frames]
    day, night = answers(lines, lambda frame: labels, lambda frame: seen)
    proposal = proposal_of(day.encode(), SIZE)
    assert proposal and proposal.classes == CLASSES
    expected = np.zeros(SIZE, np.uint8)
    expected[20:40, 25:45] = expected[60:, 90:] = 255
    expected[10:30, 10:30] = CAR
    np.testing.assert_array_equal(proposal.labels, expected)
    assert decode_labels(b64decode(json.loads(day)["mask"])).shape == SIZE
    assert proposal_of(night.encode(), SIZE) is None


def test_boxes_are_decoded_from_the_grids_of_the_detector() -> None:
    side, scale = 64, 0.5  # grids of 8x8, 4x4 and 2x2
    found: NDArray[np.float64] = np.zeros((84, 85))
    found[9, :5] = 0.5, 0.25, np.log(2), np.log(4), 0.9  # of step 8, column 1, row 1
    found[9, 5 + 2] = 0.9  # a car of COCO
    found[83, 4], found[83, 5 + 16] = 1, 1  # a dog, which no class of ours is
    found[70, 4], found[70, 5] = 0.5, 0.5  # a person, not sure enough
    (box,) = boxes(found, side, scale)
    assert box == Box(CAR, 24 - 16, 0, 24 + 16, 20 + 32)  # cut off at the frame's edge
