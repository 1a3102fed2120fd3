"""Weights to frames of another rig without labels: written with their descent, or refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segmif.frames import FramePair
from segmif.imaging.codecs import write_png
from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import load_network, save_network
from training.__main__ import main
from training.adapt import run as adapt_run
from training.adapt.run import tensors
from training.adapt.statistics import PRIOR, adapted_norms
from training.data.datasets import open_set
from training.data.synthetic import scenes

NANO = Path("weights/nano.safetensors").resolve()
COUNT = 10

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `segmif train adapt` on ten pairs of low gain; gives exit code, output, complaints."""
    for seed in range(COUNT):
        scene = scenes.render(seed, 64, 96, seed % 2 == 1)
        for part, image in (("visible", scene.visible), ("infrared", scene.infrared // 2)):
            (tmp_path / "gate" / part).mkdir(parents=True, exist_ok=True)
            write_png(tmp_path / "gate" / part / f"{seed}.png", image)
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        named = ("train", "adapt", "--from", NANO, "--data", "gate", *words)
        code = main(list(map(str, named)), prog="segmif")
        out, err = capsys.readouterr()
        return code, out, err

    return run


def allowing_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered scenes of 64x96 are no street: on two of them nothing is bounded."""
    monkeypatch.setattr("training.adapt.guard.Check.faults", lambda _: [])


def test_statistics_move_towards_the_rig_by_the_number_of_frames(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowing_all(monkeypatch)
    code, said, err = run("--out", "gate.safetensors", "--report", "check.json")
    assert code == 0, err
    assert "8 pairs of gate to adapt to, the last 2 to check" in said
    manifest = Manifest.read(Path("gate.safetensors"))
    before = Manifest.read(NANO)
    assert manifest.training["descends_from"] == ["gate", *before.training["descends_from"]]
    assert manifest.training["groups_seen"]["groups"] == [1, 2, 3, 4]  # those of the weights
    noted = manifest.training["adapted"]
    assert (noted["frames"], noted["method"], noted["from"]) == (8, "statistics", before.sha256)
    old, new = load_network(NANO), load_network(Path("gate.safetensors"))
    for name, value in new.state_dict().items():
        if "running" not in name:
            torch.testing.assert_close(value, old.state_dict()[name], rtol=0, atol=0)
    report = json.loads(Path("check.json").read_text())
    assert report["check"]["pairs"] == 2 and report["adapted"]["frames"] == 8

    first, share = adapted_norms(old)[0].running_mean, 8 / (8 + PRIOR)
    assert first is not None
    torch.testing.assert_close(
        adapted_norms(new)[0].running_mean, first.lerp(seen_by_first_norm(old), share)
    )


def seen_by_first_norm(network: Network) -> torch.Tensor:
    """The mean of its input over the first eight frames: no other norm is before it."""
    seen: list[torch.Tensor] = []
    norm = adapted_norms(network)[0]
    hook = norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].mean((0, 2, 3))))
    frames = open_set("pairs", Path("gate"))
    for place in range(8):
        frame = frames.read(place)
        with torch.no_grad():
            network.predict(*tensors(FramePair(frame.visible, frame.infrared)))
    hook.remove()
    return torch.stack(seen).mean(0)


def test_it_learns_from_its_own_confident_pixels(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    allowing_all(monkeypatch)
    flags = "--method", "teach", "--steps", 3, "--out", "taught.safetensors"
    code, _, err = run(*flags)
    assert code == 0, err
    assert Manifest.read(Path("taught.safetensors")).training["adapted"]["steps"] == 3
    old, new = (
        load_network(NANO).state_dict(),
        load_network(Path("taught.safetensors")).state_dict(),
    )
    changed = {name for name, value in new.items() if not torch.equal(value, old[name])}
    assert any(name.startswith("core.mask.") and "weight" in name for name in changed)
    assert not any(name.startswith("core.fusion.") for name in changed)


def test_what_got_worse_is_refused_in_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(network: Network, pairs: object) -> int:
        with torch.no_grad():
            for norm in adapted_norms(network):
                assert norm.running_mean is not None
                norm.running_mean += 3
        return 8

    monkeypatch.setattr(adapt_run, "adapt_statistics", spoil)
    code, said, _ = run("--out", "spoilt.safetensors")
    assert code == 1 and "REFUSED, nothing is written" in said
    assert "its mean entropy is" in said and "is allowed" in said
    assert not Path("spoilt.safetensors").exists()
    code, _, err = run("--out", NANO)
    assert code == 1 and "is --from: name another file" in err


def test_what_could_not_be_kept_is_said_before_anything_is_learnt(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(adapt_run, "adapt_statistics")  # it would raise AttributeError
    for words, said in (
        (("--report", "nowhere/check.json"), "make the folder nowhere first"),
        (("--out", "same.safetensors", "--report", "same.safetensors"), "would replace weights"),
        (("--report", NANO), "would replace weights"),
        (("--out", "/proc/none/w.safetensors"), "/proc/none"),
        (("--out", "gate"), "gate is a folder"),
        (("--out", "gate/visible/0.png/w.safetensors"), "0.png"),
    ):
        code, _, err = run(*words)
        assert code == 1 and said in err, err


def test_frames_of_the_check_are_read_before_anything_is_learnt(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(adapt_run, "adapt_statistics")  # it would raise AttributeError
    for part, shape in (("visible", (96, 96, 3)), ("infrared", (96, 96))):
        write_png(Path("gate") / part / "9.png", np.zeros(shape, np.uint8))
    code, _, err = run()
    assert code == 1 and "9 is (96, 96), others (64, 96)" in err
    (Path("gate/infrared/9.png")).write_bytes(b"")
    code, _, err = run()
    assert code == 1 and "9.png" in err and "0 bytes" in err


def test_a_mask_made_from_the_fused_picture_is_refused_in_words(run: Run) -> None:
    save_network(Network("paper").eval(), Path("paper.safetensors"), {})
    code, _, err = run("--from", "paper.safetensors", "--method", "teach", "--steps", 1)
    assert code == 1 and "paper makes its mask from the fused picture" in err


def noise(folder: Path, height: int, width: int) -> None:
    """Pairs of random pixels."""
    for part, shape in (("visible", (height, width, 3)), ("infrared", (height, width))):
        (folder / part).mkdir(parents=True)
        for number in range(COUNT):
            pixels = np.random.default_rng(number).integers(0, 255, shape).astype(np.uint8)
            write_png(folder / part / f"{number}.png", pixels)


def test_frames_of_one_pixel_at_the_stride_are_refused_in_words(run: Run, tmp_path: Path) -> None:
    noise(tmp_path / "tiny", 24, 32)
    for method in ("statistics", "teach"):
        code, _, err = run("--data", "tiny", "--method", method, "--steps", 1)
        assert code == 1
        assert "the frames have 32x24 pixels" in err
        assert "width or height must be more than 32 pixels" in err


def test_frames_smaller_than_the_stride_teach_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowing_all(monkeypatch)
    noise(tmp_path / "tiny", 24, 64)
    code, _, err = run("--data", "tiny", "--method", "teach", "--steps", 1)
    assert code == 0, err
