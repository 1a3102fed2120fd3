"""What is saved is part of what a run starts from: less is forgotten."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segmif.classes import Taxonomy
from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import load_network, save_network
from training.config import TrainConfig
from training.data.samples import Phase
from training.train import train

SHORT = TrainConfig(variant="nano", phases=(Phase(steps=2, batch=1, crop=(64, 64)),), warmup=1)


def saved(folder: Path, network: Network) -> Path:
    path = folder / "start.safetensors"
    save_network(network, path, {})
    return path


def test_a_share_of_the_start_is_in_what_is_saved(tmp_path: Path) -> None:
    start, out = saved(tmp_path, Network("nano")), tmp_path / "out.safetensors"
    learnt = train(SHORT, tmp_path / "none", tmp_path / "a", out, start=start)
    shared = replace(SHORT, start_share=0.25)
    mixed = train(shared, tmp_path / "none", tmp_path / "b", out, start=start)
    assert Manifest.read(out).training["start_share"] == 0.25
    begun, written = load_network(start).state_dict(), load_network(out).state_dict()
    for name, tensor in learnt.state_dict().items():
        expected = 0.75 * tensor + 0.25 * begun[name] if tensor.is_floating_point() else tensor
        torch.testing.assert_close(mixed.state_dict()[name], expected)
        torch.testing.assert_close(written[name], expected)
    name = "core.mask.classify.weight"
    assert not torch.equal(learnt.state_dict()[name], begun[name])


def test_a_share_of_nothing_is_refused(tmp_path: Path) -> None:
    shared = replace(SHORT, start_share=0.25)
    out = tmp_path / "out.safetensors"
    with pytest.raises(ValueError, match="nothing is started from: give --weights"):
        train(shared, tmp_path / "none", tmp_path / "a", out)
    yard = Taxonomy("yard", ("unlabelled", "lamp"), ((0, 0, 0), (9, 9, 9)))
    start = saved(tmp_path, Network("nano", yard))
    with pytest.raises(ValueError, match="does not know car, person"):
        train(shared, tmp_path / "none", tmp_path / "b", out, start=start)
    with pytest.raises(ValueError, match=r"start_share is 1\.0: 0 to less than 1 expected"):
        replace(SHORT, start_share=1.0)
