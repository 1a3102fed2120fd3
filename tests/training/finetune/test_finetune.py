"""Weights to rendered scenes with classes of one's own: no config, nothing forgotten in silence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segmif.classes import MFNET, Taxonomy
from segmif.frames import FramePair
from segmif.imaging.codecs import write_png
from segmif.manifest import Manifest
from segmif.metrics import ConfusionMatrix
from segmif.model.predict import predict_by
from segmif.model.weights import load_network, open_network
from training import train
from training.__main__ import main
from training.config import TrainConfig
from training.data.datasets import open_set
from training.data.datasets.rendered import RenderedSet
from training.data.synthetic import scenes
from training.evaluation.calibration_fit import (
    calibration_error,
    fit_temperature,
    labelled_logits,
)
from training.finetune import plan
from training.finetune.comparison import Comparison
from training.finetune.split import in_order, split
from training.fit import step as step_module

NANO = Path("weights/nano.safetensors").resolve()
NAMES = ("background", "vehicle", "person", "two wheels", "kerb", "post", "rail", "cone", "hump")
STEPS = 60
COUNT = 8

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight rendered scenes whose classes have other names; the last one is not labelled."""
    monkeypatch.setenv("SEGMIF_DATA", str(tmp_path))
    root = tmp_path / "yard"
    for part in ("visible", "infrared", "label"):
        (root / part).mkdir(parents=True)
    for seed in range(COUNT):
        scene = scenes.render(seed, 64, 96, seed % 2 == 1)
        labels = np.full_like(scene.labels, 255) if seed == COUNT - 1 else scene.labels
        frames = {"visible": scene.visible, "infrared": scene.infrared, "label": labels}
        for part, image in frames.items():
            write_png(root / part / f"{seed + 3}.png", image)
    colours = zip(NAMES, MFNET.palette, strict=True)
    classes = (f'[[classes]]\nname = "{n}"\ncolour = {list(colour)}\n' for n, colour in colours)
    (root / "dataset.toml").write_text('name = "yard"\n' + "".join(classes))
    return root


@pytest.fixture
def run(rig: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `segmif train --from nano`; gives exit code, output and complaints."""
    monkeypatch.chdir(rig.parent)

    def run(*words: object) -> tuple[int, str, str]:
        named = ("train", "--from", NANO, "--data", "yard", "--precision", "32-true", *words)
        code = main(list(map(str, named)), prog="segmif")
        out, err = capsys.readouterr()
        return code, out, err

    return run


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the run end as by Ctrl-C in a step."""
    taken = step_module.take_step

    def take_step(*arguments: Any) -> Any:
        if arguments[4] == step:
            raise KeyboardInterrupt
        return taken(*arguments)

    monkeypatch.setattr(train, "take_step", take_step)


def test_classes_of_ones_own_are_learnt_and_the_picture_stays(
    rig: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        killed_at(13, patch)
        code, said, _ = run("--steps", STEPS, "--out", "killed.safetensors")
    assert code == 130 and not Path("killed.safetensors").exists()
    assert "known to the weights: background, person; new: vehicle" in said
    assert "note: 1 pairs are used for nothing: they have no labels" in said
    assert "5 pairs train; 2 successive ones are held out" in said
    code, said, err = run("--steps", STEPS, "--resume")
    assert code == 0, err
    assert "held out of the training: 2 pairs of yard, intersection over union" in said
    assert "the fused picture differs by 0.00 of 255 levels" in said
    out = Path("runs/yard-nano/nano.safetensors")
    assert f"segmif export onnx --weights {out} --out {out.with_suffix('.onnx')}" in said
    manifest = Manifest.read(out)
    assert manifest.classes == open_set("folder", rig).taxonomy
    assert manifest.training["start_classes"]["kept"] == ["background", "person"]
    (report,) = json.loads((out.parent / "report.json").read_text())
    assert report["after"]["mean_iou"] > report["before"]["mean_iou"]
    check_calibrated_on(rig, out, ["8", "9"], said)
    frame = open_set("folder", rig).read(0)
    before, after = (
        predict_by(load_network(path))(FramePair(frame.visible, frame.infrared))
        for path in (NANO, out)
    )
    np.testing.assert_array_equal(before.fused, after.fused)
    code, _, err = run("--steps", STEPS, "--folder", "whole", "--out", "whole.safetensors")
    assert code == 0, err
    assert Manifest.read(Path("whole.safetensors")).sha256 == manifest.sha256


def check_calibrated_on(rig: Path, weights: Path, held_out: list[str], said: str) -> None:
    """The likelihood of pairs held out is at its highest: no further temperature raises it."""
    network, manifest = open_network(weights)
    facts = manifest.training["calibration"]
    assert facts["fitted_on"] == held_out and facts["temperature"] != 1
    frames = open_set("folder", rig)
    both = [labelled_logits(network, frames.read(frames.names.index(name))) for name in held_out]
    logits, labels = torch.cat([x for x, _ in both], dim=1), torch.cat([y for _, y in both])
    # a pixel more or less may be an object afterwards
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.06)
    error = facts["expected_calibration_error"]["after"]
    assert calibration_error(logits, labels) == pytest.approx(error, abs=1e-4)
    assert f"objects of 2 held-out pairs is {error:.3f}" in said
    assert "which was fitted on these pairs" in said


def test_all_pairs_train_if_asked_for(rig: Path, run: Run) -> None:
    """Then nothing is compared on them, and nothing calibrated."""
    code, said, err = run("--steps", 4, "--train-on-all")
    assert code == 0, err
    assert "7 pairs train; none is held out: nothing will say how well" in said
    assert "calibration" not in Manifest.read(Path("runs/yard-nano/nano.safetensors")).training
    assert json.loads(Path("runs/yard-nano/report.json").read_text()) == []


def test_pairs_that_chose_the_step_are_said_to_have_done_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "JUDGES", 2)  # as many as are held out
    code, said, err = run("--steps", 2)
    assert code == 0, err
    assert "on held-out frames, which also chose the step" in said
    assert "on frames that it never saw" not in said


def test_resuming_what_never_ran_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be misspelt; a run that was killed before its first checkpoint begins anew."""
    code, _, err = run("--steps", 2, "--folder", "run2", "--resume")
    assert code == 1 and "run2 holds no run to go on with: name its --folder" in err
    assert not Path("run2").exists()
    with monkeypatch.context() as patch:
        killed_at(0, patch)
        assert run("--steps", 2, "--folder", "run1")[0] == 130
    code, said, err = run("--steps", 2, "--folder", "run1", "--resume")
    assert code == 0, err
    assert "the run in run1 ended before its first checkpoint: it begins anew" in said


def test_some_classes_of_the_data_and_all_layers(
    rig: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = rig.parent / "mfnet" / "val"
    for part in ("visible", "infrared", "label"):
        (shipped / part).mkdir(parents=True)
    scene = RenderedSet(1).read(0)
    crop = (slice(0, 480, 5), slice(0, 640, 5))
    for part, image in (
        ("visible", scene.visible),
        ("infrared", scene.infrared),
        ("label", scene.labels),
    ):
        write_png(shipped / part / "1D.png", np.ascontiguousarray(image[crop]))
    code, said, err = run("--steps", 4, "--classes", "person,cone", "--learn", "all")
    assert code == 0, err
    out = Path("runs/yard-nano/nano.safetensors")
    assert Manifest.read(out).classes.names == ("background", "person", "cone")
    assert Manifest.read(out).training["finish"]["steps"] == 1
    code, _, err = run("--steps", 4)
    assert code == 1
    assert "runs/yard-nano holds the checkpoint.pt of an earlier run: go on with it by --re" in err
    assert Manifest.read(out).classes.names == ("background", "person", "cone")
    assert "kept or forgotten, classes that both know: 1 pairs of mfnet/val" in said
    reports = json.loads((out.parent / "report.json").read_text())
    assert list(reports[1]["after"]["iou"]) == ["person"]
    assert run("--classes", "person,lamp")[2].endswith(
        "--classes: lamp is none of the data's " + ", ".join(NAMES) + "\n"
    )


def test_the_background_is_known_by_whatever_name(run: Run) -> None:
    """The data call it `background`, the weights `unlabelled`: no class is new."""
    code, said, err = run("--steps", 2, "--classes", "person")
    assert code == 0, err
    assert "known to the weights: background, person; new: none" in said
    training = Manifest.read(Path("runs/yard-nano/nano.safetensors")).training
    assert training["start_share"] == plan.START_SHARE
    assert training["start_classes"]["anew"] == []


def test_from_nothing_needs_no_config_either(rig: Path, run: Run) -> None:
    """A pretrained encoder is all that it begins with: there is nothing to compare with."""
    code, said, err = run("--from", "imagenet", "--variant", "edge", "--steps", 4)
    assert code == 0, err
    assert "edge from nothing but ImageNet's encoder: all classes are new" in said
    assert "on frames that it never saw" in said
    folder = Path("runs/yard-edge-from-imagenet")  # not that of a fine-tuned network
    manifest = Manifest.read(folder / "edge.safetensors")
    assert manifest.variant == "edge" and manifest.classes == open_set("folder", rig).taxonomy
    assert manifest.training["finish"]["steps"] == 2 and "start" not in manifest.training
    assert manifest.training["frozen_stages"] == 0  # its encoder never saw infrared
    assert manifest.training["descends_from"] == ["yard", "ImageNet (published EfficientNet-Lite0)"]
    (report,) = json.loads((folder / "report.json").read_text())
    assert "before" not in report and report["after"]["iou"]["background"] >= 0
    code, _, err = run("--from", "imagenet", "--learn", "mask")
    assert code == 1 and "has no fused picture and no classes to keep" in err
    code, _, err = run("--variant", "nano")
    assert code == 1 and "--variant goes with --from imagenet" in err


def test_from_nothing_offers_shipped_variants_alone(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another would be trained on for hours, and no release promises to read it."""
    with pytest.raises(SystemExit):
        run("--from", "imagenet", "--variant", "edge-aligned", "--steps", 1)
    assert "invalid choice: 'edge-aligned'" in capsys.readouterr().err


def test_from_nothing_gets_more_steps_than_fine_tuning() -> None:
    parts = split([str(number) for number in range(20)], np.ones((20, 1), bool))
    tuned, anew = (
        plan.plan("nano", Path("yard"), parts, (480, 640), "all", None, anew=anew)
        for anew in (False, True)
    )
    assert (tuned.steps, anew.steps) == (387, 1000)
    assert tuned.frozen_stages and not anew.frozen_stages


def test_a_few_held_out_pairs_choose_no_step_and_known_classes_keep_part_of_the_start() -> None:
    def planned(pairs: int, *, new_classes: bool = False) -> TrainConfig:
        parts = split([str(number) for number in range(pairs)], np.ones((pairs, 1), bool))
        size = (480, 640)
        return plan.plan("nano", Path("yard"), parts, size, "all", None, new_classes=new_classes)

    few, many, other = planned(20), planned(80), planned(20, new_classes=True)
    assert (few.patience, many.patience) == (None, plan.PATIENCE)
    assert few.validate_every < few.steps  # what they say is still shown
    assert (few.start_share, other.start_share) == (plan.START_SHARE, 0)


def test_old_frames_are_half_of_what_is_seen_again(
    rig: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are of another folder, and keep the network from forgetting what it knew."""
    old = rig.parent / "old"
    shutil.copytree(rig, old)
    (old / "dataset.toml").write_text((rig / "dataset.toml").read_text().replace("kerb", "edge"))
    code, _, err = run("--steps", 2, "--replay", "folder:old")
    assert code == 1
    assert "--replay folder:old: its labels know no kerb" in err
    chosen = "--classes", "person,cone"  # which both know
    for name, words in (("alone", ()), ("mixed", ("--replay", "folder:old"))):
        out = Path(f"{name}.safetensors")
        code, _, err = run("--steps", 2, *chosen, *words, "--folder", name, "--out", out)
        assert code == 0, err
    alone, mixed = (Manifest.read(Path(f"{name}.safetensors")) for name in ("alone", "mixed"))
    assert mixed.training["frames"] == alone.training["frames"] + COUNT
    shares = [(each["folder"], each["share"]) for each in mixed.training["data"]]
    assert shares == [("yard", 0.5), ("old", None)]


def test_what_is_held_out_is_apart_in_time_and_leaves_every_class_to_learn() -> None:
    names = in_order([f"drive_{number}" for number in range(200)])
    assert names[9:11] == ["drive_9", "drive_10"]
    shown = np.zeros((200, 3), bool)
    shown[:, 0] = True
    shown[160:, 1] = True  # only at the end: it must train
    shown[[20, 120], 2] = True
    parts = split(names, shown)
    assert parts.held_out == tuple(names[100:150])
    assert parts.train == tuple(names[:95] + names[155:])  # five at each end are near in time
    assert split(names[:3], shown[:3]).held_out == ()


def test_a_class_that_no_label_shows_is_in_neither_mean() -> None:
    classes = Taxonomy("yard", ("background", "cart", "dog"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    before, after = (
        ConfusionMatrix.empty(3).add(np.array([found], np.uint8), truth)
        for found in ([0, 0, 1, 0], [0, 2, 1, 1])
    )
    names = classes.names
    found = Comparison("here", classes, names, frozenset(names), before, after, 0.0)
    assert found.shown == ("background", "cart")
    assert found.mean(before) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.mean(after) == pytest.approx((1 / 2 + 1) / 2)
    assert "dog" in found.as_text() and "no label no label" in found.as_text()


def test_weights_and_a_config_do_not_mix(run: Run) -> None:
    code, _, err = run("--weights", NANO)
    assert code == 1 and "--from names the weights to start from" in err
    with pytest.raises(SystemExit):
        run("--config", "a.toml")
    with pytest.raises(SystemExit):
        run("--resume", "--restart")
    code, _, err = run("--from", "Imagenet")
    assert code == 1
    assert "Imagenet does not exist: name weights such as weights/nano.safetensors, or ima" in err


def test_the_weights_that_it_starts_from_are_not_written_over(rig: Path, run: Run) -> None:
    """Else the report would compare the network with itself."""
    start = rig.parent / "own.safetensors"
    for path in (NANO, NANO.with_name(f"{NANO.name}.json")):
        shutil.copy(path, path.name.replace("nano", "own"))
    code, _, err = run("--from", start, "--steps", 2, "--out", start.name)
    assert code == 1 and "own.safetensors would replace the input" in err


def test_another_setting_of_a_run_that_goes_on_is_named_with_what_to_do(run: Run) -> None:
    assert run("--steps", 1)[0] == 0
    code, _, err = run("--steps", 2, "--resume")
    assert code == 1 and "resume with the same settings, or start a new run" in err
    assert "--weights" not in err  # which --from takes none of


def test_a_broken_frame_is_said_without_settings_that_nobody_stated(rig: Path, run: Run) -> None:
    for path in (rig / "label").iterdir():
        write_png(path, np.ones((64, 64), np.uint8))  # narrower than its frames
    code, _, err = run("--steps", 2)
    assert code == 1 and "folder in yard, held out: 2 of 2 frames cannot be used" in err
    assert "validate_every" not in err and "[validation]" not in err


def test_features_of_frozen_layers_are_computed_once_and_change_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "VIEWS", 1)  # of each of 6 pairs, and one more
    code, said, err = run("--steps", 4, "--folder", "kept", "--out", "kept.safetensors")
    assert code == 0, err
    assert "6 views went through the frozen layers" in said  # of 16 that were drawn
    monkeypatch.setattr(train, "learns_mask_alone", lambda network: False)
    code, said, err = run("--steps", 4, "--folder", "anew", "--out", "anew.safetensors")
    assert code == 0 and "frozen layers" not in said, err
    kept, anew = (
        load_network(Path(f"{name}.safetensors")).state_dict() for name in ("kept", "anew")
    )
    before = load_network(NANO).state_dict()
    name = "core.mask.mix.0.weight"
    assert (anew[name] - before[name]).abs().max() > 1e-3
    off, moved = (kept[name] - anew[name]).norm(), (anew[name] - before[name]).norm()
    assert off < 0.05 * moved  # features are kept in half precision
