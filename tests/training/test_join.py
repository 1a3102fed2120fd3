"""A tutor as the second encoder of a network."""

from argparse import Namespace
from functools import partial
from pathlib import Path

import pytest
import torch

from segmif.classes import MFNET
from segmif.manifest import Manifest, sha256
from segmif.model.network import Network
from segmif.model.weights import load_network, save_network
from training import join
from training.espnet import with_segmenter

as_tutor = partial(with_segmenter, weights=None, both=True)


def saved(variant: str, path: Path, *, tutor: bool = False) -> Network:
    torch.manual_seed(tutor)
    network = Network(variant, MFNET)
    if tutor:
        as_tutor(network)
    save_network(network.eval(), path, {"steps": 1})
    return network


def test_the_mask_becomes_the_mean_and_the_fused_frame_stays(tmp_path: Path) -> None:
    edge, taught, out = (tmp_path / f"{name}.safetensors" for name in ("edge", "tutor", "out"))
    before, tutor = saved("edge", edge), saved("nano", taught, tutor=True)
    assert join.main(Namespace(weights=edge, tutor=taught, out=out)) == 0
    pair = torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96)
    with torch.no_grad():
        fused, logits = load_network(out).predict(*pair)
        fused_before, half = before.predict(*pair)  # a new second encoder says 0 to every class
        _, other_half = tutor.predict(*pair)
    assert torch.equal(fused, fused_before)
    torch.testing.assert_close(logits, half + other_half / 2)
    assert Manifest.read(out).training["tutor"]["sha256"] == sha256(taught)


def test_what_cannot_be_joined_is_said(tmp_path: Path) -> None:
    tutor = saved("nano", tmp_path / "tutor.safetensors", tutor=True)
    with pytest.raises(ValueError, match="nano has no second encoder; edge has"):
        join.join(Network("nano", MFNET), tutor)
    with pytest.raises(ValueError, match="nano is no tutor"):
        join.join(Network("edge", MFNET), Network("nano", MFNET))
