"""The groups that judge networks: no frame of one may lie near a frame of another."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from segmif.imaging.codecs import write_png
from training.config import TrainConfig
from training.data import folds
from training.data.datasets import only, open_set
from training.data.samples import Phase
from training.data.sources import Source, data_root, training_sets

GROUPS = folds.read_folds()


def test_ten_numbers_are_left_out_between_two_groups() -> None:
    assert len(GROUPS) == 4
    for one, other in combinations(GROUPS, 2):
        for (first, last), (begin, end) in ((a, b) for a in one.numbers for b in other.numbers):
            assert first <= last and begin <= end
            assert max(first, begin) - min(last, end) > 10


def test_every_block_is_trained_on_in_three_folds_and_judged_in_one() -> None:
    for number, group in enumerate(GROUPS, 1):
        for place in (place for block in group.numbers for place in block):
            name = f"{place:05d}N"
            judging = [fold for fold in range(1, 5) if folds.evaluates(name, GROUPS, fold)]
            training = [fold for fold in range(1, 5) if folds.trains(name, GROUPS, fold)]
            assert judging == [number]
            assert training == [fold for fold in range(1, 5) if fold != number]


def test_the_published_test_range_is_in_no_group() -> None:
    assert not any(folds.trains(f"{number:05d}D", GROUPS, 0) for number in range(1189, 1607))


@pytest.mark.parametrize("name", ["scene3", "D", "", "101"])
def test_a_name_without_a_number_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="00101D"):
        folds.number_of(name)


def test_a_run_trains_on_no_frame_of_the_group_that_it_leaves_out(tmp_path: Path) -> None:
    names = ("00101D", "00301D", "00250D", "01101N")
    for part, image in (
        ("visible", np.zeros((32, 32, 3), np.uint8)),
        ("infrared", np.zeros((32, 32), np.uint8)),
        ("label", np.zeros((32, 32), np.uint8)),
    ):
        (tmp_path / "mfnet/train" / part).mkdir(parents=True)
        for name in names:
            write_png(tmp_path / "mfnet/train" / part / f"{name}.png", image)
    source = Source(kind="mfnet", folder="mfnet", split="train")
    phase = Phase(steps=1, batch=1, crop=(32, 32))
    config = TrainConfig(variant="nano", data=(source,), phases=(phase,), leave_out=3)
    (frames,) = training_sets(config, tmp_path)
    assert tuple(frames.names) == ("00101D", "01101N")
    with pytest.raises(ValueError, match="from 1 to 4"):
        replace(config, leave_out=5)


@pytest.mark.skipif(
    not (data_root() / "msrs_more").is_dir(), reason="SEGMIF_DATA holds no msrs_more"
)
def test_each_group_has_day_and_night_and_every_class() -> None:
    root = data_root()
    sets = open_set("mfnet", root / "mfnet", "train"), open_set("mfnet", root / "msrs_more")
    for fold in range(1, 5):
        lights: Counter[str | None] = Counter()
        seen: set[int] = set()
        for frames in sets:
            names = [name for name in frames.names if folds.evaluates(name, GROUPS, fold)]
            view = only(frames, names) if names else None
            for frame in map(view.read, range(len(names))) if view else ():
                lights[frame.light] += 1
                seen |= set(frame.labels.ravel().tolist())
        assert set(lights) == {"day", "night"} and min(lights.values()) >= 14
        assert seen == set(range(9))
