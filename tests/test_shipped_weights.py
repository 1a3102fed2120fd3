"""The weights that are shipped: what their manifests say holds, and they do their job."""

import os
from pathlib import Path

import numpy as np
import pytest

from segmif.classes import MFNET
from segmif.frames import FramePair, Prediction
from segmif.imaging.codecs import read_infrared, read_labels, read_visible
from segmif.imaging.luma import luma
from segmif.manifest import Manifest
from segmif.metrics import ConfusionMatrix
from segmif.runtime import open_runtime, predict
from training.data.synthetic import scenes

WEIGHTS = Path(__file__).parents[1] / "weights"
DATA = Path(os.environ.get("SEGMIF_DATA", "../shared/data"))
PRETRAINED = "ImageNet"  # what came before our frames
PERSON = MFNET.names.index("person")

pytestmark = pytest.mark.parametrize("variant", ["edge", "nano"])


def run(variant: str, pairs: list[FramePair]) -> list[Prediction]:
    runtime = open_runtime(WEIGHTS / f"{variant}.onnx")
    predictions = [predict(runtime, pair) for pair in pairs]
    runtime.close()
    return predictions


def test_onnx_was_made_from_the_safetensors_beside_it(variant: str) -> None:
    source = Manifest.read(WEIGHTS / f"{variant}.safetensors")
    exported = Manifest.read(WEIGHTS / f"{variant}.onnx")
    assert exported.source_sha256 == source.sha256
    assert exported.variant == source.variant == variant
    assert exported.training["steps"] > 0


def test_people_in_the_dark_glow_and_are_found(variant: str) -> None:
    night = [scenes.render(seed, 480, 640, night=True) for seed in (45, 47, 49)]
    for scene, prediction in zip(
        night, run(variant, [FramePair(s.visible, s.infrared) for s in night]), strict=True
    ):
        person = scene.labels == PERSON
        seen, fused = luma(scene.visible)[person].mean(), luma(prediction.fused)[person].mean()
        road = luma(prediction.fused)[scene.labels == 0].mean()
        assert fused > seen + 40  # far brighter than the camera saw them
        assert fused > road + 20  # and than the street
        assert (prediction.labels[person] == PERSON).mean() > 0.3


def test_real_people_and_cars_are_found(variant: str) -> None:
    folder = DATA / "mfnet" / "val"
    if not folder.is_dir():
        pytest.skip(f"no real frames under {DATA}; SEGMIF_DATA says where they are")
    names = sorted(path.name for path in (folder / "visible").iterdir())[::3]
    pairs = [
        FramePair(read_visible(folder / "visible" / n), read_infrared(folder / "infrared" / n))
        for n in names
    ]
    confusion = ConfusionMatrix.empty(len(MFNET.names))
    for name, prediction in zip(names, run(variant, pairs), strict=True):
        confusion = confusion.add(prediction.labels, read_labels(folder / "label" / name))
    iou = dict(zip(MFNET.names, np.nan_to_num(confusion.iou), strict=True))
    # a third of the frames: well below what `training evaluate` reports for all of them
    assert iou["person"] > 0.3
    assert iou["car"] > 0.3


def test_manifests_name_what_the_weights_descend_from(variant: str) -> None:
    for end in ("safetensors", "onnx"):
        training = Manifest.read(WEIGHTS / f"{variant}.{end}").training
        assert any(PRETRAINED in source for source in training["descends_from"])
        assert "non-commercial" in training["commercial_use"]
