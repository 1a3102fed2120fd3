"""Weights of other classes: what both know is kept, the rest starts anew, and it is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segmif.classes import FMB, MFNET, Taxonomy, overlay
from segmif.imaging.codecs import encode_png
from segmif.manifest import Manifest
from segmif.model.class_transfer import class_dependent_tensors, network_with_classes
from segmif.model.config import VARIANTS
from segmif.model.network import Network
from segmif.model.weights import load_network, save_network
from training.config import TrainConfig
from training.data.samples import Phase
from training.data.sources import Source
from training.fit.distillation import DistillWeights, Outputs, distance, shared_classes
from training.train import train

NANO = Path("weights/nano.safetensors").resolve()
WALKERS = Taxonomy("walkers", ("person", "background"), ((220, 20, 60), (0, 0, 0)))
CLASS_MAP = """
name = "walkers"
[[classes]]
name = "person"
colour = [220, 20, 60]
[[classes]]
name = "background"
colour = [0, 0, 0]
"""
SIZE = (64, 96)
CONFIG = TrainConfig(
    variant="nano",
    data=(Source(kind="folder", folder="walk"),),
    phases=(Phase(steps=2, batch=1, crop=(32, 64)),),
    warmup=1,
    validate_every=100,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    labels = np.ones(SIZE, np.uint8)
    labels[20:50, 30:50] = 0
    frames = {
        "visible": random.integers(0, 256, (*SIZE, 3), np.uint8),
        "infrared": random.integers(0, 256, SIZE, np.uint8),
        "label": labels,
    }
    for part, image in frames.items():
        (tmp_path / "walk" / part).mkdir(parents=True)
        (tmp_path / "walk" / part / "a.png").write_bytes(encode_png(image))
    (tmp_path / "walk/dataset.toml").write_text(CLASS_MAP)
    return tmp_path


def test_shipped_weights_are_tuned_to_classes_of_ones_own(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, told = (
        root / "walkers.safetensors",
        "keeps person, background and starts anew for no class",
    )
    still = replace(CONFIG, learning_rate=0.0)
    train(still, root, root / "still", out, start=NANO, teachers=[NANO])
    said = capsys.readouterr().out
    assert f"all its layers are taken but the last of the mask, which {told}" in said
    assert "its mask teaches person and what is none of them, not background" in said
    noted = Manifest.read(out).training
    assert noted["start_classes"]["kept"] == ["person", "background"]
    assert noted["start_classes"]["anew"] == []
    assert set(noted["start_classes"]["dropped"]) == set(MFNET.names) - {"person", "unlabelled"}
    assert noted["lesson_classes"] == ["person"]
    assert noted["descends_from"][0] == "walk"
    assert any("ImageNet" in source for source in noted["descends_from"])
    assert "non-commercial" in noted["commercial_use"]
    before, after = (dict(load_network(path).named_parameters()) for path in (NANO, out))
    person = MFNET.names.index("person")
    for name, value in before.items():
        if name.startswith("core.mask.classify"):
            assert after[name].shape[0] == 2
            assert torch.equal(after[name][0], value[person])
            assert torch.equal(after[name][1], value[MFNET.background])
        else:
            assert torch.equal(after[name], value), name

    train(CONFIG, root, root / "tuned", out, start=NANO)
    moved = dict(load_network(out).named_parameters())
    assert not torch.equal(moved["core.mask.classify.weight"], after["core.mask.classify.weight"])
    # tests/export has such a network exported and served
    assert Manifest.read(out).classes == load_network(out).config.taxonomy == WALKERS


def test_persons_are_drawn_whatever_their_id() -> None:
    frame, labels = np.full((*SIZE, 3), 90, np.uint8), np.ones(SIZE, np.uint8)
    labels[20:50, 30:50] = 0
    drawn = (overlay(frame, labels, WALKERS) != frame).any(2)
    assert drawn[30, 40] and not drawn[5, 5]


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_keeps_the_rows_of_equal_names(variant: str, tmp_path: Path) -> None:
    of_classes = class_dependent_tensors(variant)
    assert len(of_classes) == 2
    if variant == "paper":
        return  # 180 MB: its tensors were looked at, no file is written
    source = Network(variant)
    with torch.no_grad():
        for name in of_classes:
            source.state_dict()[name].normal_()
    path = tmp_path / f"{variant}.safetensors"
    save_network(source, path, {})
    network, reuse = network_with_classes(path, FMB)
    assert reuse is not None and reuse.kept == ("unlabelled", "person", "car")
    old, new = source.state_dict(), network.state_dict()
    for name in old:
        for both in reuse.kept if name in of_classes else ():
            row = new[name][FMB.names.index(both)]
            assert torch.equal(row, old[name][MFNET.names.index(both)]), name
        assert name in of_classes or torch.equal(old[name], new[name]), name
    same, none = network_with_classes(path, MFNET)
    assert none is None and same.config.taxonomy == MFNET


def test_what_cannot_be_tuned_is_refused(root: Path) -> None:
    alone = replace(CONFIG, phases=(), finish=CONFIG.phases[0])
    with pytest.raises(ValueError, match=r"\[finish\] alone trains no mask: give \[\[phases\]\]"):
        train(alone, root, root / "run", root / "out.safetensors", start=NANO)
    edge = replace(CONFIG, variant="edge")
    with pytest.raises(ValueError, match="holds nano; this run trains edge"):
        train(edge, root, root / "run", root / "out.safetensors", start=NANO)


def outputs(logits: torch.Tensor) -> Outputs:
    return Outputs(torch.zeros(1, 8, 8), logits, torch.ones(1, 2, 2))


def test_a_teacher_teaches_only_classes_that_both_know() -> None:
    weights = DistillWeights(image=0, attention=0, temperature=1)
    torch.manual_seed(0)
    shared = shared_classes(WALKERS, MFNET)
    assert shared is not None and (shared.ours, shared.theirs) == ((0,), (2,))
    theirs = torch.randn(1, len(MFNET.names), 2, 2)
    person = theirs.softmax(1)[:, 2:3]
    agreeing = torch.cat((person, 1 - person), 1).log()
    assert distance(outputs(agreeing), outputs(theirs), weights, shared).item() < 1e-6
    flipped = distance(outputs(agreeing.flip(1)), outputs(theirs), weights, shared)
    assert flipped.item() > 0.1
    strange = shared_classes(Taxonomy("yard", ("forklift",), ((1, 2, 3),)), MFNET)
    lesson = distance(outputs(torch.randn(1, 1, 2, 2)), outputs(theirs), weights, strange)
    assert abs(lesson.item()) < 1e-6
    assert shared_classes(MFNET, MFNET) is None
