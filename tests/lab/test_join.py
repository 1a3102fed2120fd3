"""A tutor as the second encoder of a network."""

from argparse import ArgumentParser, ArgumentTypeError
from functools import partial
from pathlib import Path

import pytest
import torch

from lab import join
from segmif.classes import MFNET
from segmif.manifest import Manifest, sha256
from segmif.model.edge import OWN_SHARE
from segmif.model.network import Network
from segmif.model.weights import load_network, save_network
from training.fit.espnet_teacher import with_segmenter

as_tutor = partial(with_segmenter, weights=None, both=True)


def saved(variant: str, path: Path, *, tutor: bool = False) -> Network:
    torch.manual_seed(tutor)
    network = Network(variant, MFNET)
    if tutor:
        as_tutor(network)
    save_network(network.eval(), path, {"descends_from": [f"{path.stem}'s frames"]})
    return network


def call(**paths: Path) -> int:
    parser = ArgumentParser()
    join.add_arguments(parser)
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    return join.main(parser.parse_args([*words, "--without-infrared", "person=1.5"]))


def test_the_mask_becomes_a_mean_and_the_fused_frame_stays(tmp_path: Path) -> None:
    edge, taught, out = (tmp_path / f"{name}.safetensors" for name in ("edge", "tutor", "out"))
    before, tutor = saved("edge", edge), saved("nano", taught, tutor=True)
    assert call(weights=edge, tutor=taught, out=out) == 0
    pair = torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96)
    with torch.no_grad():
        fused, logits = load_network(out).predict(*pair)
        fused_before, share = before.predict(*pair)  # a new second encoder says 0 to every class
        _, taught_logits = tutor.predict(*pair)
    assert torch.equal(fused, fused_before)
    torch.testing.assert_close(logits, share + (1 - OWN_SHARE) * taught_logits)
    noted = Manifest.read(out).training
    assert noted["tutor"]["sha256"] == sha256(taught)
    assert noted["descends_from"] == ["edge's frames", "tutor's frames"]


@pytest.mark.parametrize("dead", ["visible", "infrared"])
def test_with_one_sensor_black_the_tutor_decides(dead: str) -> None:
    edge, tutor = Network("edge", MFNET).eval(), Network("nano", MFNET)
    as_tutor(tutor)
    tutor.eval()
    join.join(edge, tutor, {"person": 1.5})
    pair = torch.rand(2, 64, 96, 3), torch.rand(2, 64, 96)
    pair[dead == "infrared"][1] = 0  # of the second pair of the batch
    gain = torch.zeros(9)
    gain[MFNET.names.index("person")] = 1.5 * (dead == "infrared")
    with torch.no_grad():
        logits, alone = edge.predict(*pair)[1], tutor.predict(*pair)[1]
    torch.testing.assert_close(logits[1], alone[1] + gain[:, None, None])
    assert not torch.allclose(logits[0], alone[0])


def test_what_cannot_be_joined_is_said(tmp_path: Path) -> None:
    tutor = saved("nano", tmp_path / "tutor.safetensors", tutor=True)
    with pytest.raises(ValueError, match="nano has no second encoder; edge has"):
        join.join(Network("nano", MFNET), tutor, {})
    with pytest.raises(ValueError, match="nano is no tutor"):
        join.join(Network("edge", MFNET), Network("nano", MFNET), {})
    with pytest.raises(ValueError, match=r"no class 'horse'; there are .*person"):
        join.join(Network("edge", MFNET), tutor, {"horse": 1.0})
    with pytest.raises(ArgumentTypeError, match="'person': a class and its gain are meant"):
        join.gain("person")
