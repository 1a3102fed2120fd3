"""Temperature and offsets: found again where they are known, and put into the last layer."""

import argparse
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segmif.classes import Taxonomy
from segmif.manifest import Manifest
from segmif.metrics import ConfusionMatrix
from segmif.model.network import Network
from segmif.model.weights import save_network
from training.data.datasets import open_set
from training.evaluation import calibration_fit, confidence_calibration, holdout


def sampled(temperature: float) -> tuple[Tensor, Tensor]:
    """Logits (3, N) that are too sure by `temperature`, and labels as likely as they should be."""
    random = torch.Generator().manual_seed(0)
    true = torch.randn(3, 40_000, generator=random) * 2
    labels = torch.multinomial(true.softmax(0).T, 1, generator=random).squeeze(1)
    return true * temperature, labels


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_temperature_is_found_again(temperature: float) -> None:
    assert calibration_fit.fit_calibration(*sampled(temperature)).temperature == pytest.approx(
        temperature, 0.06
    )


def test_confidence_becomes_true() -> None:
    logits, labels = sampled(2.0)
    fit = calibration_fit.fit_calibration(logits, labels)
    before = calibration_fit.calibration_error(logits, labels)
    after = calibration_fit.calibration_error(fit.applied(logits), labels)
    assert before > 0.1 and after < 0.02


def test_a_class_that_is_drawn_too_large_loses() -> None:
    logits, labels = sampled(1.0)
    worse = logits.clone()
    worse[2] += 2.0
    fit = calibration_fit.fit_calibration(worse, labels)
    assert fit.offsets[2] <= -1 / fit.temperature

    def iou(scores: Tensor) -> float:
        masks = (ids.to(torch.uint8).numpy() for ids in (scores.argmax(0), labels))
        return ConfusionMatrix.empty(len(scores)).add(*masks).mean_iou

    assert iou(fit.applied(worse)) > iou(worse) + 0.02


@pytest.mark.parametrize("variant", ["nano", "edge"])
def test_the_last_layer_takes_it_in(variant: str) -> None:
    torch.manual_seed(0)
    network = Network(variant).eval()
    frames = torch.rand(1, 32, 64, 3), torch.rand(1, 32, 64)
    fit = calibration_fit.CalibrationFit(1.7, tuple(0.1 * id_ for id_ in range(9)))
    with torch.no_grad():
        _, before = network.predict(*frames)
        calibration_fit.apply(network, fit)
        _, after = network.predict(*frames)
    expected = before / 1.7 + torch.tensor(fit.offsets).view(1, -1, 1, 1)
    assert torch.allclose(after, expected, atol=1e-5)


@pytest.mark.parametrize("fold", ["0", "5", "one"])
def test_a_group_that_is_none_is_refused(fold: str, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    confidence_calibration.add_arguments(parser)
    paths = ["--weights", "nano.safetensors", "--out", "out.safetensors", "--data", str(tmp_path)]
    with pytest.raises(ValueError, match=rf"--fold is '?{fold}'?: .* group"):
        confidence_calibration.main(parser.parse_args(["--fold", fold, "a.safetensors", *paths]))


@pytest.mark.parametrize(
    ("judged", "changed", "said"),
    [
        ("seen", "apart", "was trained with group 3"),
        ("yard", "apart", "labelled by mfnet, the weights know the classes of yard"),
        ("yard", "apart", "`segmif train --from` calibrates weights of your classes"),
        ("apart", "done", "only .*done.safetensors is calibrated: name both"),
        ("done", "apart", "only .*done.safetensors is calibrated: name both"),
        ("apart", "yard", "labelled by mfnet, the weights know the classes of yard"),
    ],
)
def test_weights_that_a_group_cannot_judge_are_refused(
    judged: str, changed: str, said: str, frames_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = open_set("mfnet", frames_root / "mfnet", "val").read(0)
    monkeypatch.setattr(holdout, "frames_of_fold", lambda *_: [("thermal", frame)])
    yard = Taxonomy("yard", ("background", "deer", "boar"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    weights: dict[str, tuple[Network, dict[str, object]]] = {
        "seen": (Network("nano"), noted(1, 3)),
        "apart": (Network("nano"), noted(1)),
        "yard": (Network("nano", yard), noted(1)),
        "done": (Network("nano"), noted(1) | {"calibration": {"temperature": 1.5}}),
    }
    for name in {judged, changed}:
        network, facts = weights[name]
        save_network(network.eval(), frames_root / f"{name}.safetensors", facts)
    parser = argparse.ArgumentParser()
    confidence_calibration.add_arguments(parser)
    paths = [f"{frames_root}/{name}.safetensors" for name in (judged, changed, "out")]
    words = ["--fold", "3", paths[0], "--weights", paths[1], "--out", paths[2]]
    with pytest.raises(ValueError, match=said):
        confidence_calibration.main(parser.parse_args([*words, "--data", str(frames_root)]))
    assert not Path(paths[2]).exists()


def noted(*groups: int) -> dict[str, object]:
    """What a manifest says of the groups that weights learnt from."""
    return {"groups_seen": {"groups": list(groups), "complete": True}}


def test_weights_have_seen_the_groups_that_they_are_calibrated_on(
    frames_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = open_set("mfnet", frames_root / "mfnet", "val").read(0)
    monkeypatch.setattr(holdout, "frames_of_fold", lambda *_: [("thermal", frame)])
    paths = {name: frames_root / f"{name}.safetensors" for name in ("without", "changed", "out")}
    save_network(Network("nano").eval(), paths["without"], noted(1))
    save_network(Network("nano").eval(), paths["changed"], noted(2))
    parser = argparse.ArgumentParser()
    confidence_calibration.add_arguments(parser)
    words = ["--fold", "3", paths["without"], "--weights", paths["changed"], "--out", paths["out"]]
    args = parser.parse_args([*map(str, words), "--data", str(frames_root)])
    assert confidence_calibration.main(args) == 0
    training = Manifest.read(paths["out"]).training
    assert training["groups_seen"] == {"groups": [1, 2, 3], "complete": True}


def test_a_mask_with_another_last_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="paper"):
        calibration_fit.apply(Network("paper"), calibration_fit.CalibrationFit(1.0, (0.0,) * 9))
