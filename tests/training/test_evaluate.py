"""Evaluation on a small data folder of its own, and the known rows on the real frames."""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmif.frames import FramePair, Prediction
from segmif.images import read_infrared, read_visible, write_png
from segmif.manifest import Manifest
from segmif.metrics import (
    correlations_of_differences,
    entropy,
    fusion_metrics,
    luma,
    mutual_information,
    spatial_frequency,
)
from segmif.model.network import Network
from segmif.model.weights import save_network
from training.baselines import average, classical, maximum
from training.data import data_root
from training.evaluate import (
    EvaluationError,
    add_arguments,
    as_text,
    evaluate,
    main,
    open_weights,
)

CAR, PERSON = 1, 2
SIZE = (64, 96)

Luma = NDArray[np.uint8]


def hot_is_person(pair: FramePair) -> Prediction:
    """What the stand-in weights of conftest.py do as well."""
    return Prediction(pair.visible, np.where(pair.infrared > 200, np.uint8(PERSON), np.uint8(0)))


def must_not_be_asked(pair: FramePair) -> Prediction:
    raise AssertionError("the data should have been refused before the network was asked")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pairs to fuse; a day whose person is hot, a night whose car is hot too."""
    random = np.random.default_rng(0)
    for folder in ("msrs_test", "mfnet/val"):
        for part in ("visible", "infrared"):
            (tmp_path / folder / part).mkdir(parents=True)
    (tmp_path / "mfnet/val/label").mkdir()
    for folder, name in (
        ("msrs_test", "1D.png"), ("msrs_test", "2N.png"),
        ("mfnet/val", "3D.png"), ("mfnet/val", "4N.png"),
    ):  # fmt: skip
        infrared = random.integers(0, 200, SIZE, np.uint8)
        infrared[:, :32] = 250
        write_png(tmp_path / folder / "infrared" / name, infrared)
        visible = random.integers(0, 256, (*SIZE, 3), np.uint8)
        write_png(tmp_path / folder / "visible" / name, visible)
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :32] = PERSON
    write_png(tmp_path / "mfnet/val/label/3D.png", labels)
    labels[:, 16:32] = CAR
    write_png(tmp_path / "mfnet/val/label/4N.png", labels)
    return tmp_path


def test_masks_are_judged_by_light(data: Path) -> None:
    masks = evaluate(hot_is_person, data).masks
    assert list(masks) == ["all", "day", "night"]
    np.testing.assert_array_equal(masks["day"].iou[:4], [1, np.nan, 1, np.nan])
    np.testing.assert_array_equal(masks["night"].iou[:4], [1, 0, 0.5, np.nan])
    np.testing.assert_array_equal(masks["all"].iou[:4], [1, 0, 0.75, np.nan])
    assert masks["all"].mean_iou == pytest.approx(1.75 / 9)


def test_fusion_is_the_mean_over_the_pairs(data: Path) -> None:
    report = evaluate(hot_is_person, data, baselines=True)
    assert list(report.fusion) == ["network", "average", "maximum", "classical"]
    judged = []
    for name in ("1D.png", "2N.png"):
        visible = luma(read_visible(data / "msrs_test/visible" / name))
        infrared = read_infrared(data / "msrs_test/infrared" / name)
        judged.append(asdict(fusion_metrics(visible, infrared, visible)))
    mean = {metric: (judged[0][metric] + judged[1][metric]) / 2 for metric in judged[0]}
    assert asdict(report.fusion["network"]) == pytest.approx(mean)
    assert report.fusion["maximum"] != report.fusion["network"]


def test_the_tables_hold_the_numbers(data: Path) -> None:
    report = evaluate(hot_is_person, data)
    rows = {line.split()[0]: line.split()[1:] for line in as_text(report).splitlines() if line}
    assert rows["EN"] == ["SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM"]
    metrics = asdict(report.fusion["network"])
    assert rows["network"] == [f"{value:.3f}" for value in metrics.values()]
    assert rows["person"] == ["0.750", "1.000", "0.500"]
    assert rows["guardrail"] == ["absent"] * 3
    assert rows["mean"][:3] == ["0.194", "0.222", "0.167"]


def arguments(weights: Path, data: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--weights", str(weights), "--data", str(data), *more])


def test_the_program_judges_an_onnx_file(
    stand_in_weights: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = data / "report.json"
    assert main(arguments(stand_in_weights, data, "--json", str(written))) == 0
    assert "absent counts 0" in capsys.readouterr().out
    assert main(arguments(stand_in_weights, data, "--json", "-")) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers == json.loads(written.read_text())
    assert numbers["weights"]["sha256"] == Manifest.read(stand_in_weights).sha256
    masks = numbers["masks"]["light"]["all"]
    assert masks["iou"]["person"] == 0.75
    assert masks["iou"]["guardrail"] is None
    assert numbers["fusion"]["pairs"] == 2
    assert numbers["fusion"]["rows"].keys() == {"network"}


def test_a_torch_file_is_the_network_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network("nano").eval()
    save_network(network, tmp_path / "nano.safetensors", {})
    random = np.random.default_rng(0)
    visible, infrared = (
        random.integers(0, 256, (*SIZE, 3), np.uint8),
        random.integers(0, 256, SIZE, np.uint8),
    )
    prediction = open_weights(tmp_path / "nano.safetensors")(FramePair(visible, infrared))
    with torch.inference_mode():
        fused, labels = network(torch.from_numpy(visible)[None], torch.from_numpy(infrared)[None])
    np.testing.assert_array_equal(prediction.fused, fused[0].numpy())
    np.testing.assert_array_equal(prediction.labels, labels[0].numpy())


def remove_folder(data: Path) -> None:
    shutil.rmtree(data / "mfnet/val/label")


def remove_partner(data: Path) -> None:
    (data / "msrs_test/infrared/1D.png").unlink()


def remove_visible(data: Path) -> None:
    (data / "mfnet/val/visible/3D.png").unlink()


def shrink(data: Path) -> None:
    write_png(data / "mfnet/val/label/3D.png", np.zeros((32, 32), np.uint8))


def spoil(data: Path) -> None:
    (data / "msrs_test/visible/2N.png").write_bytes(b"no picture")


def rename(data: Path) -> None:
    for path in data.glob("mfnet/val/*/3D.png"):
        path.rename(path.with_name("3.png"))


def empty(data: Path) -> None:
    for path in data.glob("msrs_test/*/*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (remove_folder, "no folder .*label"),
        (remove_partner, "1D.png has no partner in infrared"),
        (remove_visible, "3D.png has no partner in visible"),
        (shrink, "one size: .*3D.png is 96x64.*32x32"),
        (spoil, "2N.png: .*not an image"),
        (rename, "3.png should end in D"),
        (empty, "msrs_test holds no frames"),
    ],
)
def test_damaged_data_is_refused_first(
    damage: Callable[[Path], None], sentence: str, data: Path
) -> None:
    damage(data)
    with pytest.raises(EvaluationError, match=sentence):
        evaluate(must_not_be_asked, data)


def test_a_label_without_class_names_its_file(data: Path) -> None:
    write_png(data / "mfnet/val/label/4N.png", np.full(SIZE, 9, np.uint8))
    with pytest.raises(EvaluationError, match=r"4N\.png: truth hold the id 9"):
        evaluate(hot_is_person, data)


def test_the_program_says_what_is_missing(
    stand_in_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path / "none.onnx", tmp_path)) == 1
    assert "none.onnx does not exist" in capsys.readouterr().err
    assert main(arguments(stand_in_weights, tmp_path)) == 1
    assert "no folder" in capsys.readouterr().err


def test_weights_of_other_classes_are_refused(
    stand_in_weights: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copy(stand_in_weights, data / "other.onnx"))
    replace(Manifest.read(stand_in_weights), taxonomy="fmb").write(other)
    assert main(arguments(other, data)) == 1
    assert "other.onnx labels by fmb; mfnet/val needs mfnet" in capsys.readouterr().err


def both(
    metric: Callable[[Luma, Luma], float], visible: Luma, infrared: Luma, fused: Luma
) -> float:
    return metric(visible, fused) + metric(infrared, fused)


# Means over the 121 pairs, as printed where the frames came from: EN SD SF MI SCD. The slow metrics
# are held on single frames in test_metrics.py.
KNOWN_ROWS = [
    (average, ["5.756", "23.64", "6.05", "1.861", "1.262"]),
    (maximum, ["6.633", "42.59", "11.02", "4.548", "1.620"]),
    (classical, ["6.676", "43.47", "11.54", "2.992", "1.684"]),
]


@pytest.mark.skipif(
    not (data_root() / "msrs_test").is_dir(), reason="SEGMIF_DATA holds no msrs_test"
)
@pytest.mark.parametrize(("fuse", "known"), KNOWN_ROWS)
def test_baselines_reproduce_the_known_rows(
    fuse: Callable[[Luma, Luma], Luma], known: list[str]
) -> None:
    rows = []
    for path in sorted((data_root() / "msrs_test/visible").iterdir()):
        visible = luma(read_visible(path))
        infrared = read_infrared(data_root() / "msrs_test/infrared" / path.name)
        fused = fuse(visible, infrared)
        rows.append(
            (
                entropy(fused),
                float(fused.std()),
                spatial_frequency(fused),
                both(mutual_information, visible, infrared, fused),
                correlations_of_differences(visible, infrared, fused),
            )
        )
    digits = (3, 2, 2, 3, 3)
    means = np.mean(rows, axis=0)
    printed = [f"{mean:.{places}f}" for mean, places in zip(means, digits, strict=True)]
    assert printed == known
