"""A run knows what it learns from: other frames, weights or teachers are told before it goes on."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segmif import cli
from segmif.imaging.codecs import encode_png
from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import save_network
from training import train_command as program
from training.config import TrainConfig
from training.data.samples import Phase
from training.data.sources import Source
from training.train import train

ORIGINS = ("descends_from", "commercial_use", "start_classes", "lesson_classes")
SIZE = (64, 64)
CONFIG = TrainConfig(
    variant="nano",
    data=(Source(kind="folder", folder="walk"),),
    phases=(Phase(steps=2, batch=1, crop=(64, 64)),),
    validate_every=100,
    learning_rate=0.0,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_frames(tmp_path / "walk", "a", "b", "c")
    return tmp_path


def write_frames(folder: Path, *names: str) -> None:
    random = np.random.default_rng(0)
    for name in names:
        labels = np.zeros(SIZE, np.uint8)
        labels[8:40, 8:40] = 2
        frames = {
            "visible": random.integers(0, 256, (*SIZE, 3), np.uint8),
            "infrared": random.integers(0, 256, SIZE, np.uint8),
            "label": labels,
        }
        for part, image in frames.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / f"{name}.png").write_bytes(encode_png(image))


def test_a_run_goes_on_with_what_it_was_begun_with(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = root / "1.safetensors", root / "2.safetensors"
    folder, out = root / "run", root / "out.safetensors"
    train(CONFIG, root, root / "first", first, stop=1)
    train(replace(CONFIG, seed=1), root, root / "second", second, stop=1)
    train(CONFIG, root, folder, out, start=first, teachers=[first], stop=1)

    def go_on(**more: object) -> None:
        asked = {"start": first, "teachers": [first]} | more
        train(CONFIG, root, folder, out, resume=True, **asked)  # type: ignore[arg-type]

    for asked, said in (
        (
            {"start": second},
            r"the weights to start from were [0-9a-f]{12}\.\.\., now they are [0-9a-f]{12}",
        ),
        ({"teachers": [second]}, r"--teacher was [0-9a-f]{12}\.\.\., now it is [0-9a-f]{12}"),
        ({"teachers": []}, r"--teacher was [0-9a-f]{12}\.\.\., now it is none"),
    ):
        with pytest.raises(ValueError, match=rf"run was begun with other inputs: {said}"):
            go_on(**asked)

    label = root / "walk/label/a.png"
    kept = label.read_bytes()
    label.write_bytes(encode_png(np.full(SIZE, 1, np.uint8)))  # as large as before
    for part in ("visible", "infrared", "label"):
        (root / "walk" / part / "b.png").rename(root / "walk" / part / "d.png")
    with pytest.raises(ValueError, match=r"1 frames are changed \(0:walk/a\); 1 frames are gone "):
        go_on()
    for part in ("visible", "infrared", "label"):
        (root / "walk" / part / "d.png").rename(root / "walk" / part / "b.png")
    label.write_bytes(kept)
    label.touch()  # a copy of the same data is the same data
    go_on(start=None)
    assert Manifest.read(out).training["start"] == Manifest.read(first).sha256

    label.write_bytes(encode_png(np.full(SIZE, 1, np.uint8)))
    go_on(accept_changes=True)
    go_on()  # what was accepted is what the run knows now
    noted = json.loads((folder / "inputs.json").read_text())
    del noted["descent"], noted["classes"]
    (folder / "inputs.json").write_text("{")
    with pytest.raises(ValueError, match=r"inputs\.json cannot be read"):
        go_on()
    (folder / "inputs.json").write_text(json.dumps(noted))
    with pytest.raises(ValueError, match=r"earlier release.* name them by --weights"):
        go_on(start=None)
    (folder / "inputs.json").unlink()  # of a still earlier one
    go_on()


def test_a_resumed_run_knows_what_its_weights_descend_from(root: Path) -> None:
    out, folder = root / "out.safetensors", root / "run"
    (root / "walk/dataset.toml").write_text(
        'name = "walkers"\n'
        '[[classes]]\nname = "background"\ncolour = [0, 0, 0]\n'
        '[[classes]]\nname = "kerb"\ncolour = [1, 1, 1]\n'
        '[[classes]]\nname = "person"\ncolour = [220, 20, 60]\n'
    )
    nano = Path("weights/nano.safetensors").resolve()

    def noted(**asked: Any) -> dict[str, Any]:
        train(CONFIG, root, folder, out, stop=2, **asked)
        training = Manifest.read(out).training
        return {name: training[name] for name in ORIGINS}

    begun = noted(start=nano, teachers=[nano])
    assert any("ImageNet" in source for source in begun["descends_from"])
    assert noted(resume=True, teachers=[nano]) == begun
    without_teacher = noted(resume=True, accept_changes=True)
    assert without_teacher == begun  # it has learnt from both, whatever it goes on with


def test_weights_know_the_groups_that_they_and_all_before_them_learnt_from(root: Path) -> None:
    write_frames(root / "yard", "00050D", "00301D_flip")  # of MFNet's groups 2 and 3, in one's own
    write_frames(root / "mfnet", "00101D", "00301D", "01101N")  # of the groups 1, 3 and 4
    mfnet = Source(kind="mfnet", folder="mfnet")
    without = replace(CONFIG, data=(mfnet,), leave_out=3)
    of_yard = replace(CONFIG, data=(Source(kind="folder", folder="yard"),))
    folder, out = root / "run", root / "out.safetensors"

    def seen(config: TrainConfig, out: Path, **asked: Any) -> dict[str, object]:
        train(config, root, asked.pop("folder", root / out.stem), out, **asked)
        noted: dict[str, object] = Manifest.read(out).training["groups_seen"]
        return noted

    def groups(*numbers: int, complete: bool = True) -> dict[str, object]:
        return {"groups": list(numbers), "complete": complete}

    walk, yard = root / "walk.safetensors", root / "yard.safetensors"
    assert seen(CONFIG, walk, stop=1) == groups()
    assert seen(of_yard, yard, stop=1) == groups(2, 3)
    assert seen(without, root / "apart.safetensors", start=walk, stop=1) == groups(1, 4)
    taught = {"teachers": [yard], "start": walk, "folder": folder}
    assert seen(without, out, stop=1, **taught) == groups(1, 2, 3, 4)
    taught = {"resume": True, "folder": folder, "accept_changes": True}
    assert seen(without, out, **taught) == groups(1, 2, 3, 4)  # it has learnt from them

    unknown = root / "unknown.safetensors"
    save_network(Network("nano"), unknown, {})
    found = seen(without, root / "after.safetensors", start=unknown, stop=1)
    assert found == groups(1, 4, complete=False)


@pytest.mark.parametrize("damage", ["frame", "favour", "crop", "teacher"])
def test_what_is_wrong_is_said_before_the_folder_of_a_run_is_made(root: Path, damage: str) -> None:
    config, teachers = CONFIG, []
    if damage == "frame":
        (root / "walk/visible/a.png").write_bytes(b"")
    elif damage == "favour":
        config = replace(config, favour={"bus": 2.0})
    elif damage == "crop":
        config = replace(config, phases=(replace(config.phases[0], crop=(32, 32)),))
    else:
        teachers = [root / "none.safetensors"]
    with pytest.raises((OSError, ValueError)):
        train(config, root, root / "run", root / "out.safetensors", teachers=teachers)
    assert not (root / "run").exists()


def test_weights_go_into_the_folder_of_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = {path: path.read_bytes() for path in Path("weights").resolve().iterdir()}
    monkeypatch.chdir(root)
    (root / "walk.toml").write_text(
        'variant = "nano"\nvalidate_every = 100\nwarmup = 1\n[[data]]\nkind = "folder"\n'
        'folder = "walk"\n[[phases]]\nsteps = 1\nbatch = 1\ncrop = [64, 64]\n'
    )
    words = ["train", "--config", "walk.toml", "--data", "."]
    monkeypatch.setattr(sys, "argv", ["training", *words])
    assert cli.run("training", "", {"train": program}) == 0
    assert "no dataset.toml names the classes" in capsys.readouterr().out
    assert Manifest.read(root / "runs/walk/nano.safetensors").variant == "nano"
    assert not (root / "weights").exists()
    assert all(path.read_bytes() == held for path, held in shipped.items())
    noted = json.loads((root / "runs/walk/inputs.json").read_text())
    assert set(noted["frames"]) == {"0:walk/a", "0:walk/b", "0:walk/c"}


def test_a_group_is_left_out_by_a_flag_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_frames(tmp_path / "mfnet", "00101D", "00301D")  # of the groups 1 and 3
    settings = (
        'variant = "nano"\nvalidate_every = 100\nwarmup = 1\n[[phases]]\nsteps = 1\nbatch = 1\n'
        'crop = [64, 64]\n[[data]]\nfolder = "mfnet"\nkind = '
    )
    words = ["train", "--config", "run.toml", "--data", ".", "--leave-out", "3"]
    monkeypatch.setattr(sys, "argv", ["training", *words])
    (tmp_path / "run.toml").write_text(settings + '"mfnet"\n')
    assert cli.run("training", "", {"train": program}) == 0
    noted = json.loads((tmp_path / "runs/run-without-3/inputs.json").read_text())
    assert set(noted["frames"]) == {"0:mfnet/00101D"}
    (tmp_path / "run.toml").write_text(settings + '"folder"\n')
    monkeypatch.setattr(sys, "argv", ["training", *words, "--restart"])
    assert cli.run("training", "", {"train": program}) == 1
    assert "group 3 cannot be left out" in capsys.readouterr().err
