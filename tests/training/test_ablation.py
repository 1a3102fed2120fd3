"""Every arm of the ablation learns, and leaves out what it says."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from segmif.classes import IGNORE
from segmif.model.network import Network
from training import losses
from training.ablation import ARMS
from training.config import TrainConfig, read_config


def two_steps(network: Network) -> torch.Tensor:
    """Trains on noise; gives the logits after it."""
    random = torch.Generator().manual_seed(0)
    visible = torch.rand(2, 64, 64, 3, generator=random)
    infrared = torch.rand(2, 64, 64, generator=random)
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    for _ in range(2):
        fused, logits = network.predict(visible, infrared)
        optimizer.zero_grad()
        (fused.mean() + logits.square().mean()).backward()
        optimizer.step()
    assert fused.shape == (2, 64, 64)
    return logits


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.change])
def test_arm_learns(name: str) -> None:
    network = Network("nano")
    change = ARMS[name].change
    assert change
    change(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert two_steps(network).isfinite().all()
    assert any(not torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("name", "kept"), [("SoAM only", 0), ("MoAM only", 1)])
def test_half_of_the_attention_stays_out(name: str, kept: int) -> None:
    network = Network("nano")
    change = ARMS[name].change
    assert change
    change(network)
    two_steps(network)
    attention: Any = network.get_submodule("core.stages.0.attention")
    halves = attention.out_weight.chunk(2, dim=2)
    assert not halves[1 - kept].any()
    assert halves[kept].any()


@pytest.mark.parametrize(("name", "dark"), [("infrared only", 0), ("visible only", 1)])
def test_blindfold_hides_one_sensor(name: str, dark: int) -> None:
    network = Network("nano").eval()
    change = ARMS[name].change
    assert change
    change(network)
    pair = [torch.rand(1, 64, 64, 3), torch.rand(1, 64, 64)]
    other = list(pair)
    other[dark] = torch.rand_like(other[dark])
    seen, unseen = network.predict(*pair)[1], network.predict(*other)[1]
    assert torch.equal(seen, unseen)
    other[1 - dark] = torch.rand_like(other[1 - dark])
    assert not torch.equal(seen, network.predict(*other)[1])


def config_of(arm: str) -> TrainConfig:
    return replace(read_config(Path("training/configs/ablation.toml")), **ARMS[arm].settings)


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_spends_the_same_steps(name: str) -> None:
    assert config_of(name).steps == config_of("joint").steps


def mask_loss(arm: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    config = config_of(arm)
    weights = torch.arange(1.0, 1 + logits.shape[1])
    return losses.segmentation(logits, labels, weights, config.overlap, config.boundary)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, 3, 8, 10) for labels (2, 16, 20), whose third class is absent."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (2, 16, 20), generator=random, dtype=torch.uint8)
    labels[:, :, 16:] = IGNORE
    return torch.randn(2, 3, 8, 10, generator=random), labels


def test_without_dice_there_is_cross_entropy_alone() -> None:
    logits, labels = scene()
    plain = functional.cross_entropy(
        logits, labels[:, ::2, ::2].long(), torch.tensor([1.0, 2, 3]), ignore_index=IGNORE
    )
    torch.testing.assert_close(mask_loss("no dice", logits, labels), plain)


def test_lovasz_extends_one_minus_iou() -> None:
    logits, labels = scene()
    truth = labels[:, ::2, ::2]
    known = truth != IGNORE

    def lost(wrong: torch.Tensor, class_: int) -> float:
        """1 - IoU of a class where the pixels `wrong` are, on either side."""
        of_class = (truth == class_) & known
        return float(wrong.sum() / (of_class | wrong).sum())

    # the definition: the integral over t of 1 - IoU where the errors above t are made
    probability = logits.softmax(dim=1)
    expected = []
    for class_ in (0, 1):
        error = ((truth == class_).float() - probability[:, class_]).abs() * known
        levels = error.unique().tolist()  # the least is 0, of pixels that are not known
        expected.append(
            sum((high - low) * lost(error > low, class_) for low, high in pairwise(levels))
        )
    found = mask_loss("Lovasz", logits, labels) - mask_loss("no dice", logits, labels)
    assert found.item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_pixels_near_another_label_count_three_times() -> None:
    labels = torch.zeros(1, 24, 48, dtype=torch.uint8)
    labels[:, :, 20:] = 1  # at stride 2 the first column of 10
    labels[:, :, 40:] = IGNORE  # column 20: no boundary
    near = losses.near_boundary(labels[:, ::2, ::2].long())
    assert near[0, 5].nonzero().flatten().tolist() == list(range(7, 13))
    logits = torch.zeros(1, 2, 12, 24)
    logits[:, 0, :, :10], logits[:, 1, :, 10:] = 50, 50

    def cost(column: int) -> float:
        """Cross-entropy where one pixel of a column is called the other class."""
        wrong = logits.clone()
        wrong[0, :, 5, column] = logits[0, :, 5, column].flip(0)
        dice = mask_loss("joint", wrong, labels) - mask_loss("no dice", wrong, labels)
        return float(mask_loss("boundary", wrong, labels) - dice)

    assert cost(8) == pytest.approx(3 * cost(2), rel=1e-4)
    assert cost(21) == pytest.approx(0, abs=1e-4)
