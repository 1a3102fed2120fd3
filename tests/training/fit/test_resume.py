"""A run that was stopped anywhere, even killed, ends as one that was not."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from tensorboard.summary.writer import event_file_writer  # type: ignore[import-untyped]
from torch.nn import functional

import training
from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import load_network
from training.config import TrainConfig
from training.data.samples import Phase
from training.fit import fusion_phase
from training.fit.run_folder import Run
from training.train import train

SMALL = Phase(steps=3, batch=2, crop=(64, 64))
TINY = TrainConfig(variant="nano", phases=(SMALL, SMALL), warmup=2, save_every=2)
FINISHED = replace(TINY, phases=(SMALL,), finish=replace(SMALL, steps=5))


def same(ours: Network, theirs: Network) -> bool:
    others = theirs.state_dict()
    return all(torch.equal(value, others[name]) for name, value in ours.state_dict().items())


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve of a run as TensorBoard shows it."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    names = events.Tags()["scalars"]
    return {name: [(point.step, point.value) for point in events.Scalars(name)] for name in names}


def stopped_at(count: int, work: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """As `work`, but the call of that number raises."""
    calls = 0

    def watched(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == count:
            raise KeyboardInterrupt
        return work(*args)

    return watched


def test_dropout_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    nowhere, out = tmp_path / "none", tmp_path / "n.safetensors"

    def with_dropout(network: Network) -> None:
        network.core.get_submodule("mask").register_forward_pre_hook(
            lambda head, inputs: (functional.dropout2d(inputs[0], 0.5, head.training), *inputs[1:])
        )

    def run(folder: str, *, resume: bool = False, stop: int | None = None) -> Network:
        where = tmp_path / folder
        return train(TINY, nowhere, where, out, resume=resume, stop=stop, change=with_dropout)

    unbroken = run("a")
    run("b", stop=4)
    assert same(run("b", resume=True), unbroken)


@pytest.mark.parametrize("alone", [False, True], ids=["after phases", "alone"])
def test_the_fusion_decoder_goes_on_where_it_was_stopped(
    alone: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere, out = tmp_path / "none", tmp_path / "n.safetensors"
    config, start = FINISHED, None
    if alone:
        start = tmp_path / "start.safetensors"
        train(replace(TINY, phases=(SMALL,)), nowhere, tmp_path / "start", start)
        config = replace(FINISHED, phases=())
    unbroken = train(config, nowhere, tmp_path / "a", out, start=start)
    assert "fusion decoder: " in capsys.readouterr().out
    plain = fusion_phase.fusion_loss
    monkeypatch.setattr(fusion_phase, "fusion_loss", stopped_at(4, plain))
    with pytest.raises(KeyboardInterrupt):
        train(config, nowhere, tmp_path / "b", out, start=start)
    made: list[int] = []

    def counted(*args: object) -> torch.Tensor:
        made.append(1)
        return plain(*args)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(fusion_phase, "fusion_loss", counted)
    resumed = train(config, nowhere, tmp_path / "b", out, start=start, resume=True)
    assert len(made) == 3  # of five, two were saved
    assert same(resumed, unbroken)
    assert curves(tmp_path / "a") == curves(tmp_path / "b")
    assert len(curves(tmp_path / "a")["loss/finish"]) == 1  # one step of twenty


def test_curves_of_one_second_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: 1000.0))
    counts = iter([9, 10, 1])  # as text, each precedes the one before it
    count = SimpleNamespace(get=lambda: next(counts))
    monkeypatch.setattr(event_file_writer, "_global_uid", count)
    run = Run(tmp_path, {}, Fabric(accelerator="cpu", devices=1))
    for session, first in enumerate((0, 2, 3)):
        run.open_curves(first)
        for step in range(first, first + 3):
            run.record(step, {"loss": session})
        run.close()
    assert curves(tmp_path) == {"loss": [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2)]}


def test_what_finish_left_counts_only_for_the_phases_it_followed(tmp_path: Path) -> None:
    nowhere, out, folder = tmp_path / "none", tmp_path / "n.safetensors", tmp_path / "a"
    train(FINISHED, nowhere, folder, out, stop=2)
    assert (folder / "finish.pt").is_file()
    train(FINISHED, nowhere, folder, out, resume=True)
    unbroken = train(FINISHED, nowhere, tmp_path / "b", tmp_path / "2.safetensors")
    assert same(load_network(out), unbroken)
    again = train(FINISHED, nowhere, folder, out, resume=True)  # nothing is left to do
    assert same(again, unbroken)


def test_a_settled_run_finishes_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere, out = tmp_path / "none", tmp_path / "n.safetensors"
    config = replace(FINISHED, validate_every=1, patience=1, save_every=100)
    ended: list[Network] = []
    for stopped in (False, True):
        scores = iter([0.1, 0.2, 0.1])
        monkeypatch.setattr("training.train.validate", lambda *_, s=scores: next(s))
        folder = tmp_path / str(stopped)
        if stopped:
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(fusion_phase, "fusion_loss", stopped_at(2, fusion_phase.fusion_loss))
                train(config, nowhere, folder, out)
        ended.append(train(config, nowhere, folder, out, resume=stopped))
        assert Manifest.read(out).training["steps"] == 2
    assert same(*ended)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    nowhere, out, run = tmp_path / "none", tmp_path / "n.safetensors", tmp_path / "a"
    train(TINY, nowhere, run, out, stop=2)
    other = replace(TINY, learning_rate=1e-4)
    noted = json.loads((run / "config.json").read_text())  # as a run killed before its first save
    (run / "config.json").write_text(json.dumps(noted | {"learning_rate": 1e-4}))
    with pytest.raises(ValueError, match=r"checkpoint\.pt was written with another learning_rate"):
        train(other, nowhere, run, out, resume=True)


def test_the_scale_of_half_precision_losses_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere, out, run = tmp_path / "none", tmp_path / "n.safetensors", tmp_path / "a"
    train(TINY, nowhere, tmp_path / "full", out, stop=2)
    scales: list[float] = []

    def half(_precision: str | None) -> Fabric:
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        restore = plugin.load_state_dict

        def watched(state: dict[str, float]) -> None:
            restore(state)
            scales.append(scaler.get_scale())

        monkeypatch.setattr(plugin, "load_state_dict", watched)
        return Fabric(accelerator="cpu", devices=1, plugins=plugin)

    monkeypatch.setattr("training.train.open_devices", half)
    train(TINY, nowhere, run, out, stop=2)
    train(TINY, nowhere, run, out, resume=True)
    assert scales == [32.0]  # twice doubled
    with pytest.raises(ValueError, match=r"lacks some of .*precision: it was written in another"):
        train(TINY, nowhere, tmp_path / "full", out, resume=True)


KILLED = """
variant = "nano"
warmup = 2
save_every = 15
validate_every = 20

[[data]]
kind = "mfnet"
folder = "mfnet"
split = "val"

[[phases]]
steps = 40
batch = 2
crop = [64, 64]

[finish]
steps = 40
batch = 2
crop = [64, 64]
"""


def program(config: Path, root: Path, name: str, *more: str) -> subprocess.Popen[bytes]:
    """`python -m training train` in a folder of its own."""
    out = root / f"{name}.safetensors"
    files: list[str | Path] = [
        *("--config", config, "--data", root),
        *("--folder", root / name, "--out", out),
    ]
    where = {"PYTHONPATH": str(Path(training.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "training", "train", *files, *more],
        env={**os.environ, **where, "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def kill_after(process: subprocess.Popen[bytes], path: Path, saves: int) -> None:
    """Kills a run some steps after it has written a state so many times."""
    seen: set[int] = set()
    until = time.monotonic() + 300  # a busy machine imports torch for long
    while len(seen) < saves:
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < until
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.005)
    time.sleep(0.05)
    process.kill()
    assert process.wait() == -9


def test_a_killed_run_ends_as_one_that_was_not(frames_root: Path) -> None:
    config = frames_root / "run.toml"
    config.write_text(KILLED, encoding="utf-8")
    unbroken = program(config, frames_root, "a")
    kill_after(program(config, frames_root, "b"), frames_root / "b/checkpoint.pt", 1)
    resumed = program(config, frames_root, "b", "--resume")
    kill_after(resumed, frames_root / "b/finish.pt", 2)
    assert not (frames_root / "b.safetensors").exists()
    assert program(config, frames_root, "b", "--resume").wait() == unbroken.wait() == 0
    ours, theirs = (load_network(frames_root / f"{name}.safetensors") for name in "ab")
    assert same(ours, theirs)
    drawn = curves(frames_root / "a")
    assert [step for step, _ in drawn["loss/total"]] == [0, 20]
    assert [step for step, _ in drawn["val_mean_iou"]] == [19, 39]
    assert [step for step, _ in drawn["loss/finish"]] == [40, 60]
    assert curves(frames_root / "b") == drawn


def test_what_an_earlier_run_left_is_not_resumed_as_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere, out, folder = tmp_path / "none", tmp_path / "n.safetensors", tmp_path / "a"
    train(FINISHED, nowhere, folder, out)
    (folder / "best.pt").write_bytes(b"of a run that stopped early")
    names = ("checkpoint.pt", "finish.pt", "best.pt")
    left = {name: (folder / name).read_bytes() for name in names}

    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("training.train.take_step", stopped)
        train(FINISHED, nowhere, folder, out)  # anew, and ended before its first checkpoint
    with pytest.raises(FileNotFoundError, match="train without --resume to start"):
        train(FINISHED, nowhere, folder, out, resume=True)
    assert all((folder / f"earlier-{name}").read_bytes() == left[name] for name in left)


def test_losses_that_are_no_numbers_end_the_run_in_words(tmp_path: Path) -> None:
    config = replace(TINY, learning_rate=1e30, warmup=1)
    with pytest.raises(ValueError, match="try a lower learning_rate"):
        train(config, tmp_path / "none", tmp_path / "a", tmp_path / "n.safetensors")
    assert not (tmp_path / "n.safetensors").exists()
