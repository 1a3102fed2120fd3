"""ONNX to engine: the model for each TensorRT, and NVIDIA's parser if it is installed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import onnx
import pytest

from export import to_engine
from export.quantize import quantize
from export.to_engine import (
    Build,
    Profile,
    check_disk_space,
    check_plugins,
    count_nodes,
    expected_facts,
    prepare,
    up_to_date,
)
from segmif import cli
from segmif.manifest import Manifest, sha256
from segmif.runtime import tensorrt_library
from segmif.runtime.errors import ArtefactError, DeviceError
from segmif.runtime.tensorrt_library import Machine
from tests.segmif.runtime.fakes import fake_tensorrt

MACHINE = Machine("10.16.1", "Fake GPU", "9.0", "13.0")


OURS, NONE = frozenset({"InteractiveAttention", "Pixels"}), frozenset[str]()


def held(model: onnx.ModelProto) -> tuple[frozenset[str], frozenset[str]]:
    """Which of our nodes the model holds, and which of their bodies."""
    nodes = frozenset(node.op_type for node in model.graph.node if node.domain == "segmif")
    return nodes, OURS & {function.name for function in model.functions}


@pytest.mark.parametrize(
    ("version", "plugins", "bodies"),
    [
        ((10, 3, 0), OURS, False),  # would prefer the body
        ((10, 3, 0), NONE, False),  # the body stands in the node's place
        ((10, 7, 0), OURS, True),
        ((11, 1), NONE, False),  # a loaded plugin would be preferred to the body
        ((11, 1), frozenset({"Pixels"}), True),
    ],
)
def test_each_parser_sees_what_it_takes(
    half: Path, version: tuple[int, ...], plugins: frozenset[str], bodies: bool
) -> None:
    model = onnx.load(half)
    prepared = prepare(model, version, plugins)
    assert held(prepared) == (plugins, plugins if bodies else NONE)
    assert held(model) == (OURS, OURS)  # the caller's own stays as it was
    nodes = {"InteractiveAttention": 2, "Pixels": 1}
    assert count_nodes(model, plugins) == sum(nodes[each] for each in plugins)


def test_numbers_outside_the_file_are_refused(tmp_path: Path, half: Path) -> None:
    path = tmp_path / "apart.onnx"
    model = onnx.load(half)
    onnx.save_model(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    Manifest.read(half).save(path, path.read_bytes())
    for refused in (
        lambda: quantize(path, tmp_path / "out.onnx", tmp_path, 1),
        lambda: to_engine.read_model(path),
    ):
        with pytest.raises(ArtefactError, match=r"apart\.onnx keeps numbers in another file"):
            refused()


def test_half_keeps_what_half_would_spoil(half: Path) -> None:
    assert Manifest.read(half).precision == "fp16"
    model = onnx.load(half)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    whole, halves = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    for node in (n for n in model.graph.node if n.op_type == "InteractiveAttention"):
        kinds = [types.get(name) for name in node.input[3:]]
        assert kinds == [halves] * 4 + [whole] + [halves] * 4  # the temperature alone stays whole
    assert not [n for n in model.graph.node if n.op_type == "BatchNormalization"]


def test_an_engine_is_built_again_where_anything_changed(half: Path, tmp_path: Path) -> None:
    engine, build = tmp_path / "nano.engine", Build(profile=Profile())
    assert not up_to_date(half, engine, build, MACHINE)
    engine.write_bytes(b"engine")
    Manifest(
        variant="nano",
        taxonomy="mfnet",
        precision="fp16",
        sha256=sha256(engine),
        source_sha256=sha256(half),
        engine=expected_facts(build, MACHINE),
    ).write(engine)
    assert up_to_date(half, engine, build, MACHINE)
    assert not up_to_date(half, engine, Build(profile=Profile(batch=(1, 1, 16))), MACHINE)
    assert not up_to_date(half, engine, Build(profile=Profile(), aux_streams=0), MACHINE)
    newer = Machine("11.1.0", "Fake GPU", "9.0", "13.3")
    assert not up_to_date(half, engine, build, newer)
    engine.write_bytes(b"engi")  # cut off
    assert not up_to_date(half, engine, build, MACHINE)


def test_a_full_disk_is_said_before_the_build(
    half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_disk_space(half, tmp_path / "new" / "nano.engine")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=half.stat().st_size))
    with pytest.raises(OSError, match=r"has 1\.\d MB free, .* may take 7\.\d MB"):
        check_disk_space(half, tmp_path / "nano.engine")


@pytest.mark.parametrize(("wanted", "plugins"), [(0, 0), (0, 2), (2, 0), (2, 1), (2, 2)])
def test_each_attention_must_be_what_was_asked_for(wanted: int, plugins: int) -> None:
    """TensorRT may hide a plugin in a layer of another kind, but not before the build."""
    layers = [SimpleNamespace(type="plugin")] * plugins + [SimpleNamespace(type="convolution")]
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    if plugins == wanted:
        check_plugins(fake_tensorrt(), network, wanted)
    else:
        with pytest.raises(ArtefactError, match=rf"in {plugins} layers .* {wanted} were expected"):
            check_plugins(fake_tensorrt(), network, wanted)


def test_one_pair_batches_and_other_sizes_are_tuned_apart() -> None:
    one, batches, rest = Profile().tuned()
    assert (one.batch, one.height, one.width) == ((1, 1, 1), (480,) * 3, (640,) * 3)
    assert (batches.batch, batches.height, batches.width) == ((2, 8, 8), (480,) * 3, (640,) * 3)
    assert rest == Profile()
    rig = {"height": (480,) * 3, "width": (640,) * 3}
    assert [each.batch for each in Profile(batch=(1, 4, 8), **rig).tuned()] == [
        (1, 1, 1),
        (2, 4, 8),
    ]
    assert Profile(batch=(1, 1, 1), **rig).tuned() == [Profile(batch=(1, 1, 1), **rig)]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """`python -m export engine` with a TensorRT and without a GPU."""

    def without_gpu() -> None:
        raise DeviceError("GPU 0 cannot be opened (no driver): `nvidia-smi` must list it")

    monkeypatch.setattr(tensorrt_library, "import_tensorrt", fake_tensorrt)
    monkeypatch.setattr(tensorrt_library, "open_device", without_gpu)
    monkeypatch.setattr("sys.argv", ["export", "engine", *map(str, arguments)])
    return cli.run("export", "", {"engine": to_engine})


def test_without_a_gpu_the_command_says_so(
    half: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--onnx", half) == 1
    said = capsys.readouterr().err
    assert said == (
        "python -m export: GPU 0 cannot be opened (no driver): `nvidia-smi` must list it\n"
    )


def test_a_missing_file_is_told_before_a_missing_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--onnx", tmp_path / "missing.onnx") == 1
    assert "missing.onnx does not exist" in capsys.readouterr().err


def test_an_engine_does_not_take_the_place_of_its_onnx(
    half: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--onnx", half, "--rtx", "--attention", "plugin") == 1
    assert "TensorRT-RTX takes no plugins" in capsys.readouterr().err
    assert command(monkeypatch, "--onnx", half, "--out", half) == 1
    assert f"--out {half} is the file that it is made from: name another" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"not a protobuf at all", b""])
def test_what_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nano.onnx"
    path.write_bytes(content)
    Manifest(variant="nano", taxonomy="mfnet", precision="fp32", sha256=sha256(path)).write(path)
    with pytest.raises(ArtefactError, match=r"nano\.onnx is no ONNX .*: `segmif export onnx`"):
        to_engine.export(path, tmp_path / "nano.engine", Build(profile=Profile()), MACHINE)
    with pytest.raises(ArtefactError, match=r"nano\.onnx is no ONNX"):
        quantize(path, tmp_path / "nano.int8.onnx", tmp_path, 1)


def builder_with(timings: dict[bytes, bool]) -> Any:
    """A TensorRT that opens and takes (True), or opens only, the timing caches of those bytes."""
    module, anything = fake_tensorrt(), MagicMock()
    config = anything.create_builder_config.return_value
    config.create_timing_cache = lambda held: (
        SimpleNamespace(held=held, serialize=lambda: b"new") if held in timings else None
    )
    config.set_timing_cache = lambda cache, ignore_mismatch: timings[cache.held]
    anything.build_serialized_network.return_value = b"engine"
    anything.create_network.return_value.num_layers = 0
    module.Builder = lambda logger: anything
    module.IProgressMonitor = object
    for name in ("NetworkDefinitionCreationFlag", "OnnxParser", "ProfilingVerbosity"):
        setattr(module, name, MagicMock())
    return module


@pytest.mark.parametrize(
    ("held", "message"),
    [(b"", ""), (b"ours", ""), (b"foreign", "no timings"), (b"damaged", "no timings")],
)
def test_timings_that_do_not_fit_are_measured_anew(
    half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], held: bytes, message: str
) -> None:
    cache = tmp_path / "timing.cache"
    cache.write_bytes(held)
    module = builder_with({b"": True, b"ours": True, b"foreign": False})
    build = Build(profile=Profile(), timing_cache=cache, aux_streams=0)
    assert to_engine.serialize(module, onnx.load(half), build) == b"engine"
    assert module.Builder(None).create_builder_config().max_aux_streams == 0
    said = capsys.readouterr().out
    assert message in said and bool(said) == bool(message)
    assert cache.read_bytes() == b"new"


WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
runpy.run_module("export", run_name="__main__")
"""


def test_engines_need_no_torch() -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "engine", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "--attention" in done.stdout, done.stderr


def test_profiles_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="1 <= min <= opt <= max"):
        Profile(batch=(1, 8, 4))
    with pytest.raises(ValueError, match="multiples of 32"):
        Profile(height=(32, 480, 500))


def build_for_rtx(onnx_file: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    """Build an engine for small frames in a process of its own."""
    sizes = ["--batch=1 1 2", "--height=64 96 128", "--width=64 96 128"]
    words = [word for size in sizes for word in size.replace("=", " ").split()]
    command = [sys.executable, "-m", "export", "engine", "--rtx", *words]
    files = [f"--onnx={onnx_file}", f"--out={out}"]
    return subprocess.run([*command, *files], capture_output=True, text=True)


def test_an_engine_for_rtx_cards_is_built_without_one(half: Path, tmp_path: Path) -> None:
    """TensorRT-RTX has the parser and the builder of TensorRT 11 and needs no GPU for either."""
    trt = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    done = build_for_rtx(half, out := tmp_path / "rtx.engine")
    assert done.returncode == 0, done.stderr
    *lines, built = done.stdout.splitlines()
    assert out.stat().st_size > 100_000 and "attention: native" in built
    facts = Manifest.read(out).engine
    assert (facts["tensorrt"], facts["device"]) == (f"tensorrt_rtx {trt.__version__}", "RTX")
    percents = [int(line.split()[0]) for line in lines]
    assert percents == sorted(set(percents)) and 50 < percents[-1] <= 100


def test_what_the_parser_cannot_read_is_said(half: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    model = onnx.load(half)
    del model.functions[:]  # nobody knows the attention any more
    onnx.save_model(model, bare := tmp_path / "bare.onnx")
    replace(Manifest.read(half), sha256=sha256(bare)).write(bare)
    done = build_for_rtx(bare, tmp_path / "bare.engine")
    assert done.returncode == 1
    assert "cannot read this ONNX" in done.stderr
