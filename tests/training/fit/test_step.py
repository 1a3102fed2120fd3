"""One step of training: in parts, in mixed precision, on two devices; and how long it waited."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

import training
from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import load_network
from segmif.ops.hia import device_kernels
from training.config import TrainConfig
from training.data.samples import Phase
from training.fit import losses
from training.fit.step import Learner, take_step
from training.fit.throughput import Throughput
from training.train import main, train
from training.train_command import add_arguments

ONE_STEP = TrainConfig(
    variant="nano", phases=(Phase(steps=1, batch=2, crop=(64, 64)),), warmup=1, fuse_every=1
)


def a_step(parts: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """
    The parameters after a step on five pairs in parts.

    Of losses that are means over the pairs; statistics of BatchNorm stay as they are.
    """
    monkeypatch.setattr(losses, "segmentation", lambda logits, *_: logits.mean())
    config = replace(ONE_STEP, accumulate=parts, fusion=losses.FusionWeights(kept_edges=0))
    torch.manual_seed(0)
    learner = Learner(Network("nano").eval(), config)
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(learner, torch.optim.SGD(learner.parameters(), 0.1))
    shapes = (5, 64, 64, 3), (5, 64, 64), (5, 64, 64)
    batch = [torch.randint(0, 9, shape, dtype=torch.uint8) for shape in shapes]
    for number in range(5):  # no two pairs alike
        batch[0][number] *= 5 * (number + 1)
    take_step(fabric, wrapped, optimizer, batch, 0, config, [])
    return dict(learner.named_parameters())


@pytest.mark.parametrize("parts", [2, 4, 5])
def test_a_batch_in_parts_gives_the_step_of_the_whole(
    parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = a_step(1, monkeypatch)
    for name, parameter in a_step(parts, monkeypatch).items():
        torch.testing.assert_close(parameter, whole[name], atol=1e-6, rtol=1e-4, msg=name)


def test_mixed_precision_computes_in_half_and_judges_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere, first, second = tmp_path / "none", tmp_path / "1.safetensors", tmp_path / "2"
    computed: set[torch.dtype] = set()
    judged: set[torch.dtype] = set()
    plain = losses.fusion

    def watched(
        fused: torch.Tensor,
        visible: torch.Tensor,
        infrared: torch.Tensor,
        weights: losses.FusionWeights,
    ) -> torch.Tensor:
        judged.update(image.dtype for image in (fused, visible, infrared))
        return plain(fused, visible, infrared, weights)

    def watch(network: Network) -> None:
        network.core.get_submodule("fusion.reduce").register_forward_hook(
            lambda _module, _inputs, output: computed.add(output.dtype)
        )

    monkeypatch.setattr(losses, "fusion", watched)
    train(ONE_STEP, nowhere, tmp_path / "a", first, precision="bf16-mixed", change=watch)
    assert computed == {torch.bfloat16}
    assert judged == {torch.float32}
    taught = second.with_suffix(".safetensors")
    train(ONE_STEP, nowhere, tmp_path / "b", taught, precision="bf16-mixed", teachers=[first])
    assert Manifest.read(taught).training["teachers"] == [Manifest.read(first).sha256]
    assert all(p.dtype == torch.float32 for p in load_network(taught).parameters())


TWO_DEVICES = """
import os
from dataclasses import replace
from pathlib import Path
import torch
from training import train as program
from training.config import TrainConfig
from training.data import sources
from training.data.samples import Phase

sources.RENDERED_SCENES = 2
here, rank = Path(os.environ["HERE"]), os.environ["RANK"]
share = program.copy_from_first

def watched(network, fabric):
    torch.save(dict(network.named_parameters()), here / f"{rank}-own.pt")
    share(network, fabric)

program.copy_from_first = watched
config = TrainConfig(
    variant="nano", phases=(Phase(steps=3, batch=4, crop=(64, 64)),), warmup=1, save_every=2
)
network = program.train(config, here / "none", here / "run", here / "out.safetensors")
torch.save(network.state_dict(), here / f"{rank}-all.pt")
"""


def test_two_devices_end_with_the_same_weights_and_write_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TWO_DEVICES, encoding="utf-8")
    where = {"HERE": str(tmp_path), "PYTHONPATH": str(Path(training.__file__).parents[1])}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ended = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", str(script)],
        env={**os.environ, **where, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    for kind in ("own", "all"):  # as each learnt it, and as it came back
        first, second = (torch.load(tmp_path / f"{rank}-{kind}.pt") for rank in (0, 1))
        assert all(torch.equal(first[name], second[name]) for name in first), kind
    saved = load_network(tmp_path / "out.safetensors").state_dict()
    assert all(torch.equal(first[name], saved[name]) for name in first)
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert [name for name in files if not name.startswith("events.")] == [
        *("checkpoint.pt", "config.json", "environment.json", "inputs.json")
    ]
    assert len(files) == 5  # and the curves, once


def test_pace_tells_loading_from_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def batches() -> Iterator[list[torch.Tensor]]:
        nonlocal now
        for _ in range(4):
            now += 1  # loading
            yield [torch.zeros(3)]

    monkeypatch.setattr("training.fit.throughput.time.perf_counter", lambda: now)
    watched = Throughput(batches(), devices=2)
    for _ in watched:
        now += 4  # work
    assert (watched.pairs, watched.waited, watched.seconds) == (24, 4, 20)
    assert str(watched) == "1.2 pairs/s, 20.0% of the time spent on loading"


def trained(folder: Path, *flags: str) -> int:
    """The command, on the config of `nano`; nothing may be left of a run that it refuses."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    config = str(Path(training.__file__).parent / "configs/nano.toml")
    return main(parser.parse_args(["--config", config, "--folder", str(folder), *flags]))


def test_kernels_that_cannot_be_loaded_end_a_run_before_it_begins(tmp_path: Path) -> None:
    flags = ["--kernels", str(tmp_path / "none.so")]
    with pytest.raises(ValueError, match=r"none\.so is not a build of the kernels"):
        trained(tmp_path, *flags)
    with pytest.raises(ValueError, match=r"none\.so knows no bf16-mixed on \w+: --precision"):
        trained(tmp_path, *flags, "--precision", "bf16-mixed")
    assert not list(tmp_path.iterdir())


def test_a_run_does_not_begin_over_an_earlier_one_unless_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "finish.pt").write_bytes(b"hours of work")
    with pytest.raises(FileExistsError, match=r"holds the finish\.pt of an earlier run.*--restart"):
        trained(tmp_path)
    with pytest.raises(ValueError, match=r"none\.so is not a build of the kernels"):
        trained(tmp_path, "--restart", "--kernels", str(tmp_path / "none.so"))  # it came so far
    assert [each.name for each in tmp_path.iterdir()] == ["finish.pt"]


def test_kernels_for_a_gpu_end_a_run_without_one_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library, run = tmp_path / "refuse.c", tmp_path / "refuse.so", tmp_path / "run"
    source.write_text(
        "unsigned long segmif_attention_workspace(void *shape) { return 16; }\n"
        "int segmif_attention(void) { return 35; }\n"
        'const char *segmif_attention_error(int error) { return "no driver"; }\n'
    )
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"refuse\.so does not run on cpu, .*no driver"):
        trained(run, "--kernels", str(library))
    with pytest.raises(ValueError, match="knows no 16-mixed on cpu: --precision 32-true"):
        trained(run, "--kernels", str(library), "--precision", "16-mixed")  # Fabric: bfloat16
    assert not run.exists() and "cpu" not in device_kernels


def test_what_would_be_missed_at_the_end_ends_a_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    run = tmp_path / "run"
    with pytest.raises(OSError, match="folder cannot be written: --out names a file"):
        trained(run, "--out", str(tmp_path / "folder"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file cannot be written: --out names a file, in a folder"):
        trained(run, "--out", str(tmp_path / "file" / "nano.safetensors"))
    with pytest.raises(OSError, match="file cannot be written: --folder names a folder"):
        trained(tmp_path / "file")
    for flag in ("--weights", "--teacher"):
        with pytest.raises(ValueError, match=r"none\.safetensors does not exist: expected an"):
            trained(run, flag, str(tmp_path / "none.safetensors"))
        with pytest.raises(ValueError, match=r"nano\.onnx is no safetensors file"):
            trained(run, flag, "weights/nano.onnx")
    with pytest.raises(SystemExit):
        trained(run, "--steps", "0")
    assert "argument --steps: '0' is no whole number from 1" in capsys.readouterr().err
    assert not run.exists()


def test_no_rendered_scene_takes_the_place_of_a_folder_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "no folder nowhere, which --data or SEGMIF_DATA names"
    with pytest.raises(ValueError, match=told):
        trained(tmp_path, "--data", "nowhere")
    monkeypatch.setenv("SEGMIF_DATA", "nowhere")
    with pytest.raises(ValueError, match=told):
        trained(tmp_path)
