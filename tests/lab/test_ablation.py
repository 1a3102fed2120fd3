"""Every arm of the ablation learns, and leaves out what it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.ablation import ARMS
from segmif.model.network import Network
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
    attention: Any = network.get_submodule("core.attentions.0")
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
    return replace(read_config(Path("lab/configs/ablation.toml")), **ARMS[arm].settings)


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_spends_the_same_steps(name: str) -> None:
    assert config_of(name).steps == config_of("joint").steps
