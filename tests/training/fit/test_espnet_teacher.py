"""The published segmenter: judges single pictures, teaches pairs."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from segmif.manifest import Manifest, ManifestError
from segmif.model.encoders.espnet import Segmenter
from segmif.model.network import Network
from segmif.model.weights import save_network
from training.config import TrainConfig
from training.data import sources
from training.data.samples import Phase
from training.fit.distillation import DistillWeights
from training.fit.espnet_teacher import (
    TUTOR,
    load_teacher,
    published_weights,
    start_from,
    with_segmenter,
)
from training.train import train

PUBLISHED = published_weights()
SHORT = TrainConfig(
    variant="nano", phases=(Phase(steps=1, batch=1, crop=(64, 64)),), fuse_every=10**9, warmup=1
)


def test_a_segmenter_of_one_picture_never_looks_at_the_other() -> None:
    segmenter = Segmenter(9, both=False).eval()
    visible, infrared = torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96)
    logits = segmenter(visible, infrared)
    assert logits.shape == (2, 9, 16, 24)
    assert torch.equal(logits, segmenter(visible, torch.zeros_like(infrared)))


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"published weights are not at {PUBLISHED}")
def test_both_encoders_start_as_published() -> None:
    published = torch.load(PUBLISHED, map_location="cpu", weights_only=True)
    segmenter = Segmenter(9, both=True)
    start_from(segmenter, PUBLISHED)
    names = [name for name in published if name.startswith("base_net.")]
    for encoder in (segmenter.base_net, segmenter.infrared_net):
        assert encoder is not None
        state = encoder.state_dict()
        assert len(names) == len(state)
        assert all(torch.equal(state[n.removeprefix("base_net.")], published[n]) for n in names)


def test_missing_weights_are_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights of ESPNetv2 at .*nowhere.*EdgeNets"):
        start_from(Segmenter(9, both=True), tmp_path / "nowhere.pth")


def test_a_tutor_is_saved_and_teaches_masks_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "RENDERED_SCENES", 2)
    nowhere, saved = tmp_path / "no-data", tmp_path / "tutor.safetensors"
    published = tmp_path / "published.pth"
    encoder = Segmenter(9, both=True).base_net.state_dict()
    torch.save({f"base_net.{name}": value for name, value in encoder.items()}, published)
    as_tutor = partial(with_segmenter, weights=published, both=True)
    tutor = train(SHORT, nowhere, tmp_path / "a", saved, change=as_tutor).eval()
    manifest = Manifest.read(saved)
    assert manifest.variant == TUTOR
    origins = manifest.training["descends_from"], manifest.training["commercial_use"]
    assert "Cityscapes" in origins[0][-1] and "non-commercial" in origins[1]
    loaded = load_teacher(saved, torch.device("cpu"))
    visible, infrared = torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96)
    torch.testing.assert_close(
        loaded.predict(visible, infrared)[1], tutor.predict(visible, infrared)[1]
    )
    out = tmp_path / "nano.safetensors"
    with pytest.raises(ValueError, match=r"makes no image: set image = 0\.0"):
        train(SHORT, nowhere, tmp_path / "b", out, teachers=[saved])
    taught = replace(SHORT, distill=DistillWeights(image=0.0))
    train(taught, nowhere, tmp_path / "c", out, teachers=[saved])
    assert Manifest.read(out).training["teachers"] == [Manifest.read(saved).sha256]


def test_a_tutor_of_another_release_is_refused(tmp_path: Path) -> None:
    tutor = Network("nano")
    with_segmenter(tutor, weights=None, both=True)
    tutor.core.lateral = torch.nn.Conv2d(1, 1, 1)
    save_network(tutor, tmp_path / "tutor.safetensors", {})
    with pytest.raises(ManifestError, match=rf"another {TUTOR} than this release's: .*lateral"):
        load_teacher(tmp_path / "tutor.safetensors", torch.device("cpu"))
