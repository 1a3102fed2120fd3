"""What a run is judged by on its way is looked at before it sets out."""

import json
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from segmif.imaging.codecs import write_png
from training.config import TrainConfig
from training.data.datasets import FrameSet, changed
from training.data.samples import Phase
from training.data.sources import DATA, Source
from training.train import train

PAIRS = Source(kind="pairs", folder="msrs_test")
CONFIG = TrainConfig(
    variant="nano",
    data=(PAIRS,),
    phases=(Phase(steps=2, batch=1, crop=(64, 64)),),
    warmup=1,
    validate_every=2,
)


def refused(config: TrainConfig, root: Path, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        train(config, root, root / "run", root / "n.safetensors")
    assert not list((root / "run").glob("events.*")), "it was refused before it began"


def test_frames_of_any_name_are_learnt_and_judged(frames_root: Path) -> None:
    folder = frames_root / "mfnet/val"
    for part in ("visible", "infrared", "label"):
        accented = "stra\u00dfe-\u00e4D.png"  # as Linux writes accents, and as a Mac does
        if part != "visible":
            accented = unicodedata.normalize("NFD", accented)
        (folder / part / "3D.png").rename(folder / part / os.fsdecode(b"nacht-\xff-3D.png"))
        (folder / part / "4N.png").rename(folder / part / accented)
    labelled = Source(kind="mfnet", folder="mfnet", split="val")
    config = replace(CONFIG, data=(labelled,), validation=labelled, validate_every=1)
    train(config, frames_root, frames_root / "run", frames_root / "n.safetensors")
    curves = EventAccumulator(str(frames_root / "run"))
    curves.Reload()
    assert "pairs/nacht-\\udcff-3D" in curves.Tags()["images"]
    assert len(curves.Scalars("val_mean_iou")) == 2


def test_missing_frames_are_told_before_training(frames_root: Path) -> None:
    config = replace(CONFIG, validation=Source(kind="mfnet", folder="mfnet", split="test"))
    refused(config, frames_root, r"\[validation\], mfnet in mfnet, test: there is no folder")


def test_broken_frames_are_told_before_training(frames_root: Path) -> None:
    (frames_root / "mfnet/val/infrared/4N.png").write_bytes(b"\x89PNG cut")
    told = r"(?s)\[validation\], mfnet in mfnet, val: 1 of 2 frames.*4N\.png.*validate_every"
    refused(CONFIG, frames_root, told)


def test_frames_without_labels_are_refused(frames_root: Path) -> None:
    refused(
        replace(CONFIG, validation=PAIRS), frames_root, "msrs_test has no labels to evaluate on"
    )


def test_labels_of_other_classes_are_refused(frames_root: Path) -> None:
    for part in ("visible", "infrared", "label"):
        (frames_root / "yard" / part).mkdir(parents=True)
        frame = np.zeros((64, 96, 3) if part == "visible" else (64, 96), np.uint8)
        write_png(frames_root / "yard" / part / "1D.png", frame)
    (frames_root / "yard/dataset.toml").write_text(
        'name = "yard"\n[[classes]]\nname = "ground"\ncolour = [0, 0, 0]\n'
        '[[classes]]\nname = "forklift"\ncolour = [255, 128, 0]\n'
    )
    config = replace(CONFIG, data=(Source(kind="folder", folder="yard"),))
    told = "mfnet/val is labelled by mfnet, the frames to train on by yard"
    refused(config, frames_root, told)


def test_a_run_that_is_never_judged_needs_no_frames_for_it(frames_root: Path) -> None:
    missing = Source(kind="mfnet", folder="nowhere")
    config = replace(CONFIG, validation=missing, validate_every=3)
    train(config, frames_root, frames_root / "run", frames_root / "n.safetensors")


def test_where_there_is_no_data_training_goes_on_unjudged(tmp_path: Path) -> None:
    config = replace(CONFIG, data=DATA)
    train(config, tmp_path / "none", tmp_path / "run", tmp_path / "n.safetensors")


def test_no_rendered_scene_takes_the_place_of_frames_that_a_config_names(tmp_path: Path) -> None:
    told = r"no folder .*none, under which the config's \[\[data\]\] lie: name it by --data"
    with pytest.raises(ValueError, match=told):
        train(CONFIG, tmp_path / "none", tmp_path / "run", tmp_path / "n.safetensors")


def test_frames_are_judged_as_they_are_trained_on(
    frames_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[FrameSet] = []

    def validate(_network: torch.nn.Module, frames: FrameSet, *_: object) -> float:
        judged.append(frames)
        return 0.5

    monkeypatch.setattr("training.train.validate", validate)

    def view(frames: FrameSet) -> FrameSet:
        return changed(frames, lambda one: replace(one, infrared=np.zeros_like(one.infrared)))

    train(CONFIG, frames_root, frames_root / "run", frames_root / "n.safetensors", view=view)
    assert [frames.name for frames in judged] == ["mfnet/val"]
    assert not judged[0].read(0).infrared.any()


def test_a_run_leaves_its_settings_environment_curves_and_pictures(frames_root: Path) -> None:
    train(CONFIG, frames_root, frames_root / "run", frames_root / "n.safetensors")
    noted = json.loads((frames_root / "run/environment.json").read_text())
    assert (noted["torch"], noted["devices"]) == (torch.__version__, 1)
    assert json.loads((frames_root / "run/config.json").read_text())["validate_every"] == 2
    events = EventAccumulator(str(frames_root / "run")).Reload()
    assert [point.step for point in events.Scalars("loss/total")] == [0]
    assert [point.step for point in events.Scalars("val_mean_iou")] == [1]
    (picture,) = events.Images("pairs/3D")
    assert (picture.height, picture.width) == (64, 4 * 96)
