"""Writers that are killed, or whose disk is full, at any moment: the old pair or the new one."""

import linecache
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lightning_fabric import Fabric
from onnx import TensorProto, helper

from calibration.commands import solve
from calibration.solver.synthetic import BOARD, example_rig, random_views
from export import quantize, to_engine, to_onnx
from segmif import cli, files
from segmif.imaging.codecs import encode_png
from segmif.manifest import Manifest, pending
from segmif.model.network import Network
from segmif.model.weights import save_network
from segmif.runtime.tensorrt_library import Machine
from training.fit.run_folder import save_atomically

MOMENTS = 20
WATCHED = ("segmif/files.py", "segmif/manifest.py", "training/fit/run_folder.py")
MACHINE = Machine("10.16.1", "Fake GPU", "9.0", "13.0")


def run_lines(do: Callable[[], object], at: int | None = None) -> list[str]:
    """The lines that writing runs through; before line `at` the process is killed."""
    lines: list[str] = []

    def local(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            if len(lines) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            lines.append(linecache.getline(frame.f_code.co_filename, frame.f_lineno))
        return local

    def calls(frame: FrameType, event: str, argument: Any) -> Any:
        return local if frame.f_code.co_filename.endswith(WATCHED) else None

    before = sys.gettrace()
    sys.settrace(calls)
    try:
        do()
    finally:
        sys.settrace(before)
    return lines


def moments(lines: list[str]) -> list[int]:
    """Evenly over the lines, and before and after each file that takes its name."""
    chosen = set(np.linspace(0, len(lines) - 1, MOMENTS).astype(int).tolist())
    for index, line in enumerate(lines):
        if ".replace(" in line:
            chosen |= {index, min(index + 1, len(lines) - 1)}
    return sorted(chosen)


def forked(do: Callable[[], object]) -> int:
    """The exit status of a process that does it: 0, 3 for an OSError, -9 if it was killed."""
    with warnings.catch_warnings():
        # What the process does has no need of the threads that torch or OpenCV may have started.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs fails its test
        code = 1
        try:
            do()
            code = 0
        except OSError:
            code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def limited(do: Callable[[], object], size: int) -> int:
    """The exit status where no file may be larger, as on a disk that is full."""

    def act() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        do()

    return forked(act)


def tiny_model() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [])
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def manifest(variant: str = "nano") -> Manifest:
    return Manifest(variant=variant, taxonomy="mfnet", precision="fp32")


def weights(folder: Path, patch: pytest.MonkeyPatch) -> None:
    save_network(Network("nano").eval(), folder / "out", {"steps": 2})


def onnx_file(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(to_onnx, "open_network", lambda path: (Network("nano").eval(), manifest()))
    patch.setattr(to_onnx, "to_model", lambda network: tiny_model())
    patch.setattr(to_onnx, "check", lambda model, network: "")
    to_onnx.export(folder / "source.safetensors", folder / "out")


def quantized(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quantize, "read_model", lambda path: (manifest(), tiny_model()))
    layers = [helper.make_node("Conv", ["x", "w"], ["y"])]
    patch.setattr(quantize, "quantizable_layers", lambda model, kind: layers)
    patch.setattr(quantize, "read_frames", lambda *given: [])
    for name in ("activation_ranges", "quantization_scales", "insert_qdq"):
        patch.setattr(quantize, name, lambda *given: None)
    patch.setattr(quantize, "raise_opset", lambda model, opset: opset)
    quantize.quantize(folder / "source.onnx", folder / "out", folder, 1)


def engine(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "source.onnx").write_bytes(b"")
    patch.setattr(to_engine, "read_model", lambda path: (manifest(), tiny_model()))
    tensorrt = SimpleNamespace(__version__="10.16.1")
    patch.setattr("segmif.runtime.tensorrt_library.import_tensorrt", lambda: tensorrt)
    patch.setattr(to_engine, "serialize", lambda trt, model, build: b"a new engine" * 99)
    build = to_engine.Build(profile=to_engine.Profile())
    to_engine.export(folder / "source.onnx", folder / "out", build, MACHINE)


WRITERS = [weights, onnx_file, quantized, engine]


@pytest.mark.parametrize("program", WRITERS, ids=lambda each: each.__name__)
def test_an_artefact_and_its_manifest_are_of_one_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[..., None]
) -> None:
    calls: list[tuple[Manifest, Path, bytes]] = []
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "save", lambda *given: calls.append(given))
        program(tmp_path, patch)
    (given,) = calls  # all that it writes goes through here
    out, old, write = given[1], b"the old artefact", partial(Manifest.save, *given)
    assert not out.exists()
    manifest().save(out, old)
    lines = run_lines(write)
    new = out.read_bytes()
    told = Manifest.read(out)
    found = set()
    for moment in moments(lines):
        manifest().save(out, old)
        assert forked(partial(run_lines, write, moment)) == -signal.SIGKILL
        there, content = Manifest.open(out)
        assert (content, there.tools) == ((new, told.tools) if content == new else (old, {}))
        found.add(content)
        manifest().save(out, old)  # a writer after it is not disturbed
        assert Manifest.open(out)[1] == old
        assert not pending(out).exists()
        for left in tmp_path.glob(".*.part"):  # a later writer removes what is an hour old
            left.unlink()
    assert found == {old, new}
    began = time.time_ns()
    for size in np.linspace(0, max(len(new), 600) - 1, MOMENTS).astype(int).tolist():
        code = limited(write, size)
        there, content = Manifest.open(out)
        assert content == (new if code == 0 else old)
        if code == 0:
            manifest().save(out, old)
        else:
            assert code == 3  # told, and nothing is left behind
            kept = [path for path in tmp_path.iterdir() if path.stat().st_mtime_ns > began]
            assert not [path for path in kept if path.suffix in (".next", ".part")]


def test_a_checkpoint_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    fabric, path = Fabric(accelerator="cpu", devices=1), tmp_path / "checkpoint.pt"
    state = {"step": 2, "weights": torch.zeros(5000)}

    def steps() -> int:
        return int(torch.load(path, weights_only=True)["step"])

    save_atomically(fabric, path, state | {"step": 1})
    write = partial(save_atomically, fabric, path, state)
    lines, found = run_lines(write), set()
    for moment in moments(lines):
        save_atomically(fabric, path, state | {"step": 1})
        assert forked(partial(run_lines, write, moment)) == -signal.SIGKILL
        found.add(steps())
    assert found == {1, 2}
    save_atomically(fabric, path, state | {"step": 1})
    for size in np.linspace(0, path.stat().st_size - 1, MOMENTS).astype(int).tolist():
        assert limited(write, size) == 3
        assert steps() == 1
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_rig_and_its_report_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    views = random_views(example_rig(), BOARD, 5, 0.2, np.random.default_rng(0))
    for name, shape in (("visible", (960, 1280, 3)), ("infrared", (480, 640))):
        (tmp_path / name).mkdir()
        for index in range(len(views)):
            (tmp_path / name / f"{index}.png").write_bytes(encode_png(np.zeros(shape, np.uint8)))
    corners = [seen for view in views for seen in (view.visible, view.infrared)]
    monkeypatch.setattr(solve, "detect", lambda frame, board: corners.pop(0))
    kept: list[dict[Path, bytes]] = []
    monkeypatch.setattr(solve, "write_all", kept.append)
    rig, report = tmp_path / "rig.yaml", tmp_path / "report.html"
    board = ["--corners", "9x6", "--square-mm", "23.1", "--report", f"{report}"]
    folders = ["--visible", f"{tmp_path}/visible", "--infrared", f"{tmp_path}/infrared"]
    words = ["calibration", "solve", *folders, *board, "--out", f"{rig}"]
    monkeypatch.setattr(sys, "argv", words)
    assert cli.run("calibration", "", {"solve": solve}) == 0
    (contents,) = kept
    assert list(contents) == [report, rig]
    write = partial(files.write_all, contents)
    write()
    for moment in moments(run_lines(write)):
        for path in contents:
            path.write_text("old")
        assert forked(partial(run_lines, write, moment)) == -signal.SIGKILL
        assert rig.read_bytes() in (b"old", contents[rig])
        assert report.read_bytes() in (b"old", contents[report])
        if rig.read_bytes() != b"old":  # the report is there before
            assert report.read_bytes() == contents[report]
    for path in contents:
        path.write_text("old")
    for size in np.linspace(0, len(contents[report]) - 1, MOMENTS).astype(int).tolist():
        assert limited(write, size) == 3
        assert {rig.read_bytes(), report.read_bytes()} == {b"old"}


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        with pytest.raises(OSError, match=r"File too large: .*nano\.onnx'"):
            manifest().save(tmp_path / "nano.onnx", b"content" * 9)

    assert forked(write) == 0


@pytest.mark.parametrize("name", ["n" * 240 + ".bin", os.fsdecode(b"not\xff\xfeutf8.bin")])
def test_any_name_that_a_file_may_have_can_be_written(tmp_path: Path, name: str) -> None:
    files.write_bytes(tmp_path / name, b"1")
    manifest().save(tmp_path / name, b"2")
    assert Manifest.open(tmp_path / name)[1] == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.json"])


def test_what_was_read_is_what_was_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nano.onnx"
    manifest().save(path, b"old")
    read = files.read_bytes

    def replaced_meanwhile(at: Path, *limit: Any) -> bytes:
        content = read(at, *limit)
        if at == path and content == b"old":
            manifest("edge").save(path, b"new")  # between the two files a reader looks at
        return content

    monkeypatch.setattr("segmif.manifest.read_bytes", replaced_meanwhile)
    told, content = Manifest.open(path)
    assert (told.variant, content) in (("nano", b"old"), ("edge", b"new"))
