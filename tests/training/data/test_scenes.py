"""What rendered scenes promise to whoever trains or demonstrates on them."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from segmif.classes import MFNET
from segmif.imaging.codecs import read_infrared, read_labels, read_visible
from training.data.synthetic import render as command
from training.data.synthetic.scenes import Scene, render

PERSON = MFNET.names.index("person")
CURVE = MFNET.names.index("curve")
SEEDS = range(8)


@pytest.fixture(scope="module")
def scenes() -> dict[tuple[int, bool], Scene]:
    return {
        (seed, night): render(seed, 120, 160, night) for seed in SEEDS for night in (False, True)
    }


def test_a_seed_names_one_scene() -> None:
    first, again, other = (render(seed, 96, 128, night=True) for seed in (5, 5, 6))
    for name in ("visible", "infrared", "labels"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize("size", [(32, 32), (97, 131), (240, 320)])
def test_three_aligned_uint8_arrays_of_the_size_asked_for(size: tuple[int, int]) -> None:
    scene = render(1, *size, night=False)
    assert scene.visible.shape == (*size, 3)
    assert scene.infrared.shape == scene.labels.shape == size
    assert {scene.visible.dtype, scene.infrared.dtype, scene.labels.dtype} == {np.dtype(np.uint8)}


def test_a_size_in_which_nothing_can_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match="16x640"):
        render(0, 16, 640, night=False)


def test_every_class_of_mfnet_occurs(scenes: dict[tuple[int, bool], Scene]) -> None:
    found = {int(label) for scene in scenes.values() for label in np.unique(scene.labels)}
    assert found == set(range(len(MFNET.names)))


def test_night_is_much_darker_than_day_in_visible_light(
    scenes: dict[tuple[int, bool], Scene],
) -> None:
    brightest_night = max(scenes[seed, True].visible.mean() for seed in SEEDS)
    assert brightest_night < min(scenes[seed, False].visible.mean() for seed in SEEDS)


def test_people_are_warmer_than_the_street_in_every_scene(
    scenes: dict[tuple[int, bool], Scene],
) -> None:
    judged = 0
    for scene in scenes.values():
        people = scene.labels == PERSON
        if people.sum() >= 60:  # fewer pixels are all rim, blurred into what is behind
            kerb = scene.infrared[scene.labels == CURVE]
            assert scene.infrared[people].mean() > kerb.mean()
            judged += 1
    assert judged >= len(SEEDS)


def test_people_stand_out_from_the_dark_in_infrared_only(
    scenes: dict[tuple[int, bool], Scene],
) -> None:
    def contrast(image: np.ndarray, people: np.ndarray) -> float:
        return float(image[people].mean() - image[~people].mean())

    nights = [scene for (_, night), scene in scenes.items() if night]
    people = [scene.labels == PERSON for scene in nights]
    thermal = [contrast(s.infrared, p) for s, p in zip(nights, people, strict=True) if p.any()]
    visible = [contrast(s.visible, p) for s, p in zip(nights, people, strict=True) if p.any()]
    assert np.median(thermal) > 40 > np.median(visible)


def test_the_command_writes_triples_that_read_back_as_rendered(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["--out", str(tmp_path), "--count", "2", "--seed", "4", "--size", "64x96"]
    assert command.main(parser.parse_args(words)) == 0
    for name, seed, night in (("00004D.png", 4, False), ("00005N.png", 5, True)):
        scene = render(seed, 64, 96, night)
        assert np.array_equal(read_visible(tmp_path / "visible" / name), scene.visible)
        assert np.array_equal(read_infrared(tmp_path / "infrared" / name), scene.infrared)
        assert np.array_equal(read_labels(tmp_path / "label" / name), scene.labels)


@pytest.mark.parametrize("size", ["480", "480x", "8x640", "a x b"])
def test_the_command_refuses_what_is_no_size(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--out", str(tmp_path), "--size", size])
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
