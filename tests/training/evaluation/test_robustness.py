"""Measures of what masks bear, on predictors whose answer is known."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.classes import MFNET, Taxonomy
from segmif.frames import FramePair, Prediction
from segmif.metrics import ConfusionMatrix
from segmif.model.network import Network
from segmif.model.weights import save_network
from training.data.datasets import LabelledPair
from training.evaluation import holdout, robustness


def scene(seed: int = 0) -> LabelledPair:
    """A warm square of persons on a grey ground, 96 x 192."""
    random = np.random.default_rng(seed)
    visible = random.integers(90, 110, (96, 192, 3)).astype(np.uint8)
    infrared = np.full((96, 192), 50, np.uint8)
    labels = np.zeros((96, 192), np.uint8)
    infrared[32:64, 80:112], labels[32:64, 80:112] = 200, 2
    return LabelledPair("00300D", visible, infrared, labels, "day")


def by_warmth(pair: FramePair) -> Prediction:
    """Calls persons what is warm; sure of it by 204 of 255."""
    labels = np.where(pair.infrared > 125, 2, 0).astype(np.uint8)
    return Prediction(pair.visible, labels, np.full(labels.shape, 204, np.uint8))


@pytest.mark.parametrize(("distance", "iou"), [(4, 28 / 36), (8, 24 / 40)])
def test_masks_from_infrared_that_lies_off_overlap_as_the_squares_do(
    distance: int, iou: float
) -> None:
    found = robustness.misaligned_masks(by_warmth, scene(), distance, 9)
    assert found["right"].iou[2] == pytest.approx(iou)
    assert found["up"].iou[2] == pytest.approx(iou)
    assert found["left down"].iou[2] < iou * 1.08  # the diagonal is as long
    assert len(found) == 9


def test_steps_of_depth_move_the_lower_rows_only() -> None:
    infrared = np.arange(96 * 192, dtype=np.uint32).reshape(96, 192).astype(np.uint8)
    moved = robustness.in_steps(infrared, 12)
    assert np.array_equal(moved[:24], infrared[:24])
    assert np.array_equal(moved[72:, 12:], infrared[72:, :-12])
    assert np.array_equal(moved[24:48, 4:], infrared[24:48, :-4])


def test_flips_and_noise_are_those_of_the_predictor() -> None:
    frame = scene()

    def restless(pair: FramePair) -> Prediction:
        restless.calls = getattr(restless, "calls", 0) + 1  # type: ignore[attr-defined]
        found = by_warmth(pair)
        late = restless.calls % 2  # type: ignore[attr-defined]
        labels: NDArray[np.uint8] = np.where(found.labels > 0, 2 + late, 0).astype(np.uint8)
        return Prediction(pair.visible, labels)

    pair = FramePair(frame.visible, frame.infrared)
    still, unsteady = (robustness.stability(p, pair, 0) for p in (by_warmth, restless))
    assert (still.flips, unsteady.flips) == (0, 1)
    assert still.noise[0] == pytest.approx(still.noise[1])
    assert 0.5 < still.noise[0] < 2 * robustness.NOISE


def test_calibration_error_is_the_distance_of_confidence_and_truth() -> None:
    frame = scene()
    found = by_warmth(FramePair(frame.visible, frame.infrared))
    assert robustness.Calibration.empty().add(found, frame.labels).error == pytest.approx(0.2)


def test_counts_of_two_folds_add_up() -> None:
    frames = [("raw", scene(seed)) for seed in range(3)]
    whole = holdout.evaluate_frames(by_warmth, frames, MFNET, shifts=holdout.DISTANCES, pans=True)
    told = holdout.as_json(whole, MFNET)
    twice = holdout.pooled([told, told])
    assert np.array_equal(twice.masks["raw day"].counts, 2 * whole.masks["raw day"].counts)
    assert twice.stability.objects == 2 * whole.stability.objects
    assert twice.calibration.error == pytest.approx(whole.calibration.error)
    assert isinstance(whole.masks["raw day"], ConfusionMatrix)
    assert "8 px, eight directions" in holdout.as_text(twice, MFNET)
    assert "calibration error (objects): 0.2" in holdout.as_text(twice, MFNET)
    assert "calibration" not in holdout.as_text(holdout.Counts(), MFNET)  # of no confidence


def test_the_command_judges_a_set_and_pools_files(
    frames_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, counts = frames_root / "nano.safetensors", frames_root / "counts.json"
    save_network(Network("nano").eval(), weights, {})
    parser = argparse.ArgumentParser()
    holdout.add_arguments(parser)
    common = ["--data", str(frames_root), "--weights", str(weights)]
    judged = [*common, "--set", "mfnet:mfnet:val", "--json", str(counts)]
    assert holdout.main(parser.parse_args(judged)) == 0
    first = capsys.readouterr().out
    assert holdout.main(parser.parse_args(["--pool", str(counts)])) == 0
    assert capsys.readouterr().out == first and "| mfnet/val night |" in first
    with pytest.raises(ValueError, match="either --fold or --set"):
        holdout.main(parser.parse_args(common))


def judge(root: Path, network: Network, training: dict[str, object], *words: str) -> int:
    """Runs `segmif training holdout` with the weights of a network."""
    weights = root / "judged.safetensors"
    save_network(network.eval(), weights, training)
    parser = argparse.ArgumentParser()
    holdout.add_arguments(parser)
    given = ["--data", str(root), "--weights", str(weights), *words]
    return holdout.main(parser.parse_args(given))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "mfnet:mfnet:val"), "labelled by mfnet, the weights know the classes of yard"),
        (("--set", "pairs:msrs_test"), "msrs_test has no labels"),
        (("--fold", "3"), "labelled by mfnet"),
    ],
)
def test_weights_are_not_judged_by_labels_of_other_classes(
    frames_root: Path, words: tuple[str, ...], said: str
) -> None:
    yard = Taxonomy("yard", ("background", "deer", "boar"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    with pytest.raises(ValueError, match=said):
        judge(frames_root, Network("nano", yard), {}, *words)


ALL_OF_MFNET = {"leave_out": None, "data": [{"kind": "mfnet"}], "descends_from": ["mfnet"]}
WITHOUT_3 = {"leave_out": 3, "data": [{"kind": "mfnet"}], "descends_from": ["mfnet"]}


def seen(*groups: int, complete: bool = True) -> dict[str, object]:
    """As a manifest notes groups."""
    return {"groups_seen": {"groups": list(groups), "complete": complete}}


@pytest.mark.parametrize(
    ("training", "groups"),
    [
        (ALL_OF_MFNET, "1, 2, 3, 4"),  # of an earlier release, as are the next ones
        ({**WITHOUT_3, "finish_alone": ALL_OF_MFNET}, "1, 2, 3, 4"),
        ({**WITHOUT_3, "leave_out": 2}, "1, 3, 4"),
        ({**WITHOUT_3, **seen(3)}, "3"),
        ({**WITHOUT_3, **seen(1, 3, complete=False)}, "1, 3"),
    ],
)
def test_weights_are_not_judged_on_a_group_that_they_saw(
    frames_root: Path, training: dict[str, object], groups: str
) -> None:
    said = f"trained with group 3: .* its start or its teachers learnt from groups {groups}"
    with pytest.raises(ValueError, match=said):
        judge(frames_root, Network("nano"), training, "--fold", "3")


OWN = {"leave_out": None, "data": [{"kind": "folder"}], "descends_from": ["yard"]}
RENDERED = {**ALL_OF_MFNET, "descends_from": ["rendered scenes", "ImageNet"]}


@pytest.mark.parametrize(
    ("training", "known"),
    [
        (OWN, True),
        (RENDERED, True),
        (WITHOUT_3, True),
        ({**ALL_OF_MFNET, **seen()}, True),  # as a run on rendered scenes notes its settings
        ({**OWN, **seen(1, 2)}, True),
        ({}, False),  # of others
        ({**WITHOUT_3, "start": "0" * 64}, False),  # of an earlier release
        ({**OWN, **seen(1, complete=False)}, False),
        ({**OWN, "groups_seen": {"groups": "3"}}, False),
    ],
)
def test_weights_are_judged_on_a_group_that_they_never_saw(
    frames_root: Path, training: dict[str, object], known: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("mfnet/train", "msrs_more"):
        for part, name in (("visible", "3D"), ("infrared", "3D"), ("label", "3D")):
            image = (frames_root / "mfnet/val" / part / f"{name}.png").read_bytes()
            (frames_root / folder / part).mkdir(parents=True, exist_ok=True)
            (frames_root / folder / part / "00301D.png").write_bytes(image)
    assert judge(frames_root, Network("nano"), training, "--fold", "3") == 0
    said = capsys.readouterr().out
    assert "| raw day |" in said and ("not known that group 3 is new" in said) != known


def test_only_counts_of_the_same_classes_are_pooled(tmp_path: Path) -> None:
    letters = Taxonomy("letters", tuple("abcdefghi"), MFNET.palette)
    paths = []
    for taxonomy in (MFNET, letters):
        paths.append(tmp_path / f"{taxonomy.name}.json")
        paths[-1].write_text(json.dumps(holdout.as_json(holdout.Counts(), taxonomy)))
    parser = argparse.ArgumentParser()
    holdout.add_arguments(parser)
    with pytest.raises(ValueError, match=r"counts the classes of letters, .* those of mfnet"):
        holdout.main(parser.parse_args(["--pool", *map(str, paths)]))
    assert holdout.main(parser.parse_args(["--pool", str(paths[1])])) == 0
    paths[0].write_text("[]")
    with pytest.raises(ValueError, match="holds no counts as --json writes them"):
        holdout.main(parser.parse_args(["--pool", str(paths[0])]))
