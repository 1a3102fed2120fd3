"""Evaluation on a small data folder of its own, and the known rows on the real frames."""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import training.evaluation.evaluate
from segmif.classes import MFNET
from segmif.frames import FramePair
from segmif.imaging.codecs import read_infrared, read_visible, write_png
from segmif.imaging.luma import luma
from segmif.manifest import Manifest
from segmif.metrics import (
    correlations_of_differences,
    entropy,
    mutual_information,
    spatial_frequency,
)
from segmif.model.network import Network
from segmif.model.weights import save_network
from training.data.sources import data_root
from training.evaluation.baselines import average, classical, maximum
from training.evaluation.evaluate import add_arguments, main, open_weights

SIZE = (64, 96)

Luma = NDArray[np.uint8]


def evaluate(weights: Path, data: Path, *more: str) -> int:
    """As the command line calls it."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return main(parser.parse_args(["--weights", str(weights), "--data", str(data), *more]))


def read_numbers(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_tables_hold_the_numbers(
    stand_in_weights: Path, frames_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = frames_root / "numbers.json"
    assert evaluate(stand_in_weights, frames_root, "--json", str(written)) == 0
    text = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["EN"] == ["SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM"]
    metrics = read_numbers(written)["fusion"]["rows"]["network"]
    assert rows["network"] == [f"{value:.3f}" for value in metrics.values()]
    assert rows["person"] == ["0.750", "1.000", "0.500"]
    assert rows["guardrail"] == ["absent"] * 3
    assert rows["mean"][:3] == ["0.194", "0.222", "0.167"]


def test_json_says_the_same(
    stand_in_weights: Path, frames_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = frames_root / "numbers.json"
    assert evaluate(stand_in_weights, frames_root, "--json", str(written)) == 0
    assert "absent counts 0" in capsys.readouterr().out
    assert evaluate(stand_in_weights, frames_root, "--json", "-") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers == read_numbers(written)
    assert numbers["weights"]["sha256"] == Manifest.read(stand_in_weights).sha256
    masks = numbers["masks"]["light"]["all"]
    assert masks["iou"]["person"] == 0.75
    assert masks["iou"]["guardrail"] is None
    assert numbers["fusion"]["pairs"] == 2
    assert numbers["fusion"]["rows"].keys() == {"network"}
    # by default one set is fused, the other labelled
    assert [sorted(found) for found in numbers["sets"]] == [
        ["fusion", "name", "pairs"],
        ["drives", "masks", "name", "pairs", "sensors"],
    ]


def test_frames_can_be_written_one_by_one(stand_in_weights: Path, frames_root: Path) -> None:
    written = frames_root / "numbers.json"
    evaluate(stand_in_weights, frames_root, "--json", str(written), "--frames", "--sensor-drop")
    fused, labelled = read_numbers(written)["sets"]
    assert [frame["name"] for frame in fused["frames"]] == ["1D", "2N"]
    entropies = [frame["fusion"]["network"]["EN"] for frame in fused["frames"]]
    assert np.mean(entropies) == pytest.approx(fused["fusion"]["rows"]["network"]["EN"])
    night = labelled["frames"][1]
    assert night["light"] == "night"
    assert night["masks"]["both sensors"]["iou"]["person"] == 0.5
    # the stand-in sees persons in infrared alone
    assert night["masks"]["visible black"]["iou"]["person"] == 0.5
    assert night["masks"]["infrared black"]["iou"]["person"] == 0
    assert night["people"]["both sensors"] == {"there": 1, "found": 1}
    assert night["people"]["infrared black"] == {"there": 1, "found": 0}


def test_named_sets_get_all_that_they_allow(
    stand_in_weights: Path, frames_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = frames_root / "numbers.json"
    sets = ("--set", "mfnet:mfnet:val", "--set", "folder:msrs_test")
    evaluate(stand_in_weights, frames_root, *sets, "--json", str(written), "--baselines")
    labelled, plain = read_numbers(written)["sets"]
    assert (labelled["name"], plain["name"]) == ("mfnet/val", "msrs_test")
    assert {"fusion", "masks"} <= labelled.keys()
    assert "masks" not in plain
    methods = ["network", "visible", "infrared", "average", "maximum", "classical"]
    assert list(plain["fusion"]["rows"]) == methods
    assert "2 pairs of mfnet/val, more is better" in capsys.readouterr().out


def test_a_torch_file_is_the_network_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network("nano").eval()
    save_network(network, tmp_path / "nano.safetensors", {})
    random = np.random.default_rng(0)
    visible, infrared = (
        random.integers(0, 256, (*SIZE, 3), np.uint8),
        random.integers(0, 256, SIZE, np.uint8),
    )
    predict, runs_on = open_weights(tmp_path / "nano.safetensors")
    prediction = predict(FramePair(visible, infrared))
    with torch.inference_mode():
        fused, labels, _ = network(*(torch.from_numpy(each)[None] for each in (visible, infrared)))
    np.testing.assert_array_equal(prediction.fused, fused[0].numpy())
    np.testing.assert_array_equal(prediction.labels, labels[0].numpy())
    assert runs_on.startswith("torch")


def remove_folder(data: Path) -> None:
    shutil.rmtree(data / "mfnet/val/label")


def remove_partner(data: Path) -> None:
    (data / "msrs_test/infrared/1D.png").unlink()


def remove_visible(data: Path) -> None:
    (data / "mfnet/val/visible/3D.png").unlink()


def shrink(data: Path) -> None:
    write_png(data / "mfnet/val/label/3D.png", np.zeros((32, 32), np.uint8))


def shrink_all(data: Path) -> None:
    write_png(data / "msrs_test/visible/2N.png", np.zeros((40, 64, 3), np.uint8))
    write_png(data / "msrs_test/infrared/2N.png", np.zeros((40, 64), np.uint8))


def spoil(data: Path) -> None:
    (data / "msrs_test/visible/2N.png").write_bytes(b"no picture")


def mislabel(data: Path) -> None:
    write_png(data / "mfnet/val/label/4N.png", np.full(SIZE, 9, np.uint8))


def empty(data: Path) -> None:
    for path in data.glob("msrs_test/*/*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (remove_folder, "val should hold one folder named label"),
        (remove_partner, "msrs_test: 1 of 2 .*1D .no infrared"),
        (remove_visible, "mfnet/val: 1 of 2 .*3D .no visible"),
        (shrink, "3D.png: .*96x64.*32x32"),
        (shrink_all, r"msrs_test: 2N is .40, 64.; the metrics need 41 px"),
        (spoil, "2N.png: .*not an image"),
        (mislabel, r"4N\.png: .* 9 .6144 pixels."),
        (empty, "msrs_test holds no frames"),
    ],
)
def test_damaged_data_is_refused_before_judging(
    damage: Callable[[Path], None],
    sentence: str,
    stand_in_weights: Path,
    frames_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(frames_root)
    monkeypatch.setattr(training.evaluation.evaluate, "evaluate_set", None)  # must not be called
    with pytest.raises((ValueError, OSError), match=sentence):
        evaluate(stand_in_weights, frames_root)


def test_frames_without_a_light_count_once(stand_in_weights: Path, frames_root: Path) -> None:
    for path in frames_root.glob("mfnet/val/*/3D.png"):
        path.rename(path.with_name("3.png"))
    written = frames_root / "numbers.json"
    evaluate(stand_in_weights, frames_root, "--json", str(written))
    light = read_numbers(written)["masks"]["light"]
    assert list(light) == ["all", "night"]
    assert light["all"]["iou"]["person"] == 0.75


def test_the_program_says_what_is_missing(stand_in_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.onnx does not exist"):
        evaluate(tmp_path / "none.onnx", tmp_path)
    with pytest.raises(ValueError, match=r"nano\.pth is of an unknown kind; .* \.safetensors, "):
        evaluate(tmp_path / "nano.pth", tmp_path)
    with pytest.raises(OSError, match=r"no folder .*msrs_test"):
        evaluate(stand_in_weights, tmp_path)


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_a_result_without_a_place_is_refused_before_judging(
    option: str, stand_in_weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"page cannot be written: make the folder .*none first"):
        evaluate(stand_in_weights, tmp_path, option, str(tmp_path / "none" / "page"))


@pytest.mark.parametrize("text", ["msrs_test", "folder:", "folder:a:b:c"])
def test_a_set_has_kind_and_folder(
    text: str, stand_in_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        evaluate(stand_in_weights, tmp_path, "--set", text)
    assert f"'{text}' is no set; expected KIND:FOLDER" in capsys.readouterr().err


def test_weights_of_other_classes_are_refused(stand_in_weights: Path, frames_root: Path) -> None:
    other = Path(shutil.copy(stand_in_weights, frames_root / "other.onnx"))
    replace(Manifest.read(stand_in_weights), taxonomy="fmb").write(other)
    with pytest.raises(ValueError, match=r"other\.onnx labels by fmb; mfnet/val needs mfnet"):
        evaluate(other, frames_root)


def test_fusion_is_judged_where_the_labels_have_other_classes(
    stand_in_weights: Path, frames_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (frames_root / "mfnet").rename(frames_root / "FMB")
    written, page = frames_root / "numbers.json", frames_root / "page.html"
    results = ("--json", str(written), "--report", str(page))
    evaluate(stand_in_weights, frames_root, "--set", "fmb:FMB:val", "--sensor-drop", *results)
    reason = "masks are not evaluated: stand_in.onnx labels by mfnet; FMB/val needs fmb"
    (found,) = read_numbers(written)["sets"]
    assert sorted(found) == ["fusion", "name", "pairs", "quality"]
    assert reason in read_numbers(written)["notes"]["FMB/val"]
    assert f"Note on FMB/val: {reason}." in capsys.readouterr().out
    assert reason in page.read_text(encoding="utf-8")


def write_classes(root: Path, *names: str) -> None:
    """A `dataset.toml`; the ids have colours of their own."""
    entries = (f'[[classes]]\nname = "{n}"\ncolour = [{i}, 9, 9]\n' for i, n in enumerate(names))
    (root / "dataset.toml").write_text('name = "yard"\n' + "".join(entries))


def test_labels_of_the_same_classes_count_whatever_their_set_is_called(
    stand_in_weights: Path, frames_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights may know some of the classes alone; the others are background to them."""
    yard, written = frames_root / "mfnet/val", frames_root / "numbers.json"
    words = ("--set", "folder:mfnet/val", "--json", str(written))
    known = ("background", *MFNET.names[1:])
    for names, noted in ((MFNET.names, False), (known, False), ((*known, "dog"), True)):
        write_classes(yard, *names)
        evaluate(stand_in_weights, frames_root, *words)
        (found,) = read_numbers(written)["sets"]
        assert found["masks"]["light"]["all"]["iou"]["person"] == 0.75
        said = "stand_in.onnx does not know dog: they count as background"
        assert (said in capsys.readouterr().out) == noted


def test_ids_that_nothing_names_are_told_with_the_numbers(
    stand_in_weights: Path, frames_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(stand_in_weights, frames_root, "--set", "folder:mfnet/val")
    assert "no dataset.toml names the classes: ids are read as mfnet's" in capsys.readouterr().out


def test_a_part_of_a_benchmark_is_told_with_its_numbers(
    stand_in_weights: Path, frames_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(stand_in_weights, frames_root)
    assert "Note on mfnet/val: mfnet/val has 2 of the 392 pairs" in capsys.readouterr().out


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
