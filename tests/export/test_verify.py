"""Verify lets rounding pass and nothing else."""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export import verify as program
from export.__main__ import COMMANDS
from export.quantize import quantize
from export.tolerance import Deviation
from segmif import cli
from segmif.folders import pairing_of
from segmif.imaging import codecs
from segmif.manifest import Manifest

WEIGHTS = Path(__file__).parents[2] / "weights"
SAMPLES = Path(__file__).parents[2] / "service" / "web" / "samples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, half: Path) -> Path:
    """`nano`, its ONNX files, that of another network in FP16, and two labelled pairs."""
    folder = tmp_path_factory.mktemp("verify")
    nano = WEIGHTS / "nano.onnx"
    for source, name in (
        (nano.with_suffix(".safetensors"), "ours.safetensors"),
        (nano, "ours.onnx"),
        (half, "ours.fp16.onnx"),
    ):
        Manifest.read(source).save(folder / name, source.read_bytes())
    other = onnx.load(half)
    for tensor in other.graph.initializer:
        if tensor.name == "core.encoder.stages.1.0.expand.0.weight":
            weight = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(-weight, tensor.name))
    Manifest.read(half).save(folder / "other.fp16.onnx", other.SerializeToString())
    for kind in ("visible", "infrared", "label"):
        (folder / kind).mkdir()
    random = np.random.default_rng(0)
    part = np.s_[200:270, 280:370]  # of scenes: in noise the network is sure of everything
    for name in ("day", "night"):
        visible = codecs.read_visible(SAMPLES / name / "visible.png")[part]
        infrared = codecs.read_infrared(SAMPLES / name / "infrared.png")[part]
        codecs.write_png(folder / "visible" / f"{name}.png", np.ascontiguousarray(visible))
        codecs.write_png(folder / "infrared" / f"{name}.png", np.ascontiguousarray(infrared))
        labels = random.integers(0, 9, infrared.shape, np.uint8)
        codecs.write_png(folder / "label" / f"{name}.png", labels)
    return folder


def verify(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *artefacts: str, data: str = ""
) -> tuple[int, list[dict[str, float]]]:
    out = folder / "found.json"
    arguments = [*(str(folder / name) for name in artefacts), "--data", str(folder / data)]
    weights = str(folder / "ours.safetensors")
    monkeypatch.setattr(
        "sys.argv", ["export", "verify", *arguments, "--weights", weights, "--json", str(out)]
    )
    code = cli.run("export", "", COMMANDS)
    return code, json.loads(out.read_text()) if out.is_file() else []


def test_files_of_the_network_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, found = verify(folder, monkeypatch, "ours.onnx", "ours.fp16.onnx")
    assert code == 0
    single, half = found[2], found[3]
    assert single["fused_differs"] < half["fused_differs"] < 0.2
    assert half["mean_iou"] is not None


def test_a_file_of_another_network_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = verify(folder, monkeypatch, "other.fp16.onnx")
    assert code == 1
    assert "other.fp16.onnx" in capsys.readouterr().out


FINE = Deviation(
    name="an engine",
    pixels=480 * 640,
    fused_differs=0.05,
    fused_mean=0.05,
    fused_most=4,
    psnr_db=60.0,
    labels_differ=0.001,
    confidence_mean=0.4,
    metrics={},
    mean_iou=0.0,
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"labels_differ": 0.003}, "labels differ by 0.003, at most 0.002"),
        ({"fused_mean": 0.2}, r"grey levels \(mean\) differ by 0.2"),
        ({"psnr_db": 45.0}, "PSNR 45.0 dB"),
        ({"mean_iou": -0.01}, "mean IoU loses 0.01"),
        ({"confidence_mean": float("nan")}, "confidence"),
    ],
)
def test_an_engine_is_judged_by_what_is_noticed(change: dict[str, Any], words: str) -> None:
    """Sums in FP16 exceed the rounding of torch, and are right all the same."""
    found, plain = replace(FINE, **change), replace(FINE, labels_differ=1e-4, fused_mean=0.01)
    assert found.exceeds(plain)
    faults = found.noticeable()
    assert bool(faults) == bool(words) and all(re.search(words, each) for each in faults)


@pytest.mark.parametrize(("pixels", "explained"), [(1, True), (2, False)])
def test_one_pixel_of_a_small_frame_may_round_differently(pixels: int, explained: bool) -> None:
    plain = replace(FINE, pixels=64 * 96, confidence_mean=0.0)
    found = replace(plain, confidence_mean=pixels / plain.pixels)
    assert bool(found.exceeds(plain)) != explained


def test_eight_bits_are_measured_and_not_said_to_be_within_rounding(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quantize(folder / "ours.onnx", folder / "ours.int8.onnx", folder, 2)
    code, found = verify(folder, monkeypatch, "ours.int8.onnx")
    said = capsys.readouterr().out
    assert code == 0 and len(found) == 3
    assert "eight bits, not checked here" in said and "within" not in said
    code, _ = verify(folder, monkeypatch, "ours.int8.onnx", "ours.onnx")
    assert code == 0
    assert "1 checked, all within their bounds, 2 pairs" in capsys.readouterr().out


def test_a_folder_without_pairs_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = verify(folder, monkeypatch, "ours.onnx", data="visible")
    assert code == 1
    assert "has no pair" in capsys.readouterr().err


def test_what_does_not_run_here_is_told_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "exact_reference", lambda *_: pytest.fail("float64 was computed"))
    code, _ = verify(folder, monkeypatch, "ours.onnx", "ours.trt")
    assert code == 1
    assert "ours.trt is of an unknown kind" in capsys.readouterr().err
    arguments = ["--data", str(folder), "--weights", str(folder / "ours.safetensors")]
    flags = [str(folder / "ours.onnx"), *arguments, "--json", str(folder / "none/found.json")]
    monkeypatch.setattr("sys.argv", ["export", "verify", *flags])
    assert cli.run("export", "", COMMANDS) == 1
    assert f"make the folder {folder / 'none'} first" in capsys.readouterr().err


def test_frames_of_other_names_are_paired_and_a_lone_one_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, prefix in (("visible", "rgb_"), ("infrared", "ir_")):
        (tmp_path / part).mkdir()
        frame = next((folder / part).iterdir())
        (tmp_path / part / f"{prefix}7{frame.suffix}").write_bytes(frame.read_bytes())
        (tmp_path / part / f"{prefix}{part}{frame.suffix}").write_bytes(frame.read_bytes())
    parser = argparse.ArgumentParser()
    program.add_arguments(parser)
    words = ["--weights", "w", "--data", str(tmp_path), "a.onnx", "--patterns", "rgb_*", "ir_*"]
    args = parser.parse_args(words)
    frames = program.read_frames(args.data, args.frames, pairing_of(args))
    assert len(frames) == 1
    said = capsys.readouterr().err
    assert "rgb_visible" in said and "ir_infrared" in said
