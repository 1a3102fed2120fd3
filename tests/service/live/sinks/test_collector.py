"""Pairs that are worth labelling are kept within bounds, once, in a folder that training reads."""

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmif.files import write_bytes
from segmif.imaging.codecs import read_infrared, read_visible
from segmif.runtime import Runtime
from service.live.live_result import LiveResult
from service.live.open_rig import check_rig
from service.live.rig_settings import LiveSettings, RigSettings
from service.live.sinks import collect_rules, collector
from service.live.sinks.open_sinks import open_sinks, parse_sink
from service.live.sinks.settings import CollectSettings
from service.live.sinks.sink import Sink, SinkError
from service.schemas.scene_objects import SceneObjects, UnknownObject
from tests.service.live.sinks.made_results import PERIOD_NS, START_NS, make_results
from training.data.datasets import open_set


def opened(folder: Path, *, lossless: bool = False, **settings: float) -> Sink:
    stated = {"path": folder, "random_share": 0, **settings}
    (sink,) = open_sinks([CollectSettings.model_validate(stated)], "a", lossless=lossless)
    return sink


def with_confidence(result: LiveResult, confidence: int) -> LiveResult:
    """The same, with this confidence everywhere."""
    labels = result.result.prediction.labels
    prediction = replace(result.result.prediction, confidence=np.full_like(labels, confidence))
    return replace(result, result=replace(result.result, prediction=prediction))


def doubtful(result: LiveResult, levels: int = 0) -> LiveResult:
    """The same of another scene, of which the network is not sure."""
    result = with_confidence(result, 100)
    prepared = result.result.prepared
    pair = replace(prepared.pair, infrared=prepared.pair.infrared // 2 + np.uint8(levels))
    return replace(result, result=replace(result.result, prepared=replace(prepared, pair=pair)))


def test_a_doubtful_scene_is_kept_once_with_its_reasons(runtime: Runtime, tmp_path: Path) -> None:
    sink = opened(tmp_path, every_s=0)
    results = [doubtful(result) for result in make_results(runtime, 6)]
    for result in results:
        sink.write(result)
    assert [path.name for path in (tmp_path / "visible").iterdir()] == [f"{START_NS:019d}.png"]
    report = json.loads((tmp_path / f"report/{START_NS:019d}.json").read_text())
    assert report["reasons"] == ["unsure"] and report["rig"] == "front"
    pair = results[0].result.prepared.pair
    frames = open_set("pairs", tmp_path)
    assert frames.names == (f"{START_NS:019d}",)
    np.testing.assert_array_equal(frames.read(0).visible, pair.visible)
    np.testing.assert_array_equal(frames.read(0).infrared, pair.infrared)


def test_what_is_sure_is_kept_by_chance_or_if_its_mask_flickers(
    runtime: Runtime, tmp_path: Path
) -> None:
    calm, chance = opened(tmp_path / "calm"), opened(tmp_path / "chance", random_share=1)
    results = [with_confidence(result, 255) for result in make_results(runtime, 3)]
    for result in results:
        calm.write(result)
        chance.write(result)
    assert not list((tmp_path / "calm/visible").iterdir())
    assert len(list((tmp_path / "chance/visible").iterdir())) == 1
    prediction = results[2].result.prediction
    other = replace(prediction, labels=np.full_like(prediction.labels, 1))
    flipped = replace(results[2], result=replace(results[2].result, prediction=other))
    assert flipped.visible
    calm.write(
        replace(flipped, visible=replace(flipped.visible, stamp_ns=START_NS + 3 * PERIOD_NS))
    )
    (report,) = (tmp_path / "calm/report").iterdir()
    assert json.loads(report.read_text())["reasons"] == ["flicker"]


def test_what_has_no_class_is_kept_if_the_rig_looks_for_it(
    runtime: Runtime, tmp_path: Path
) -> None:
    animal = UnknownObject(
        box=(4, 4, 8, 6), area=40, centroid=(7.5, 6.5), contrast=30, speed=0.1, track=1
    )
    sink = opened(tmp_path, every_s=0)
    for unknown in (None, (), (animal,)):
        (result,) = (with_confidence(result, 255) for result in make_results(runtime, 1))
        objects = SceneObjects(found=(), left_out=0, unknown=unknown)
        sink.write(replace(result, result=replace(result.result, objects=objects)))
        assert len(list((tmp_path / "report").iterdir())) == bool(unknown)
    (report,) = (tmp_path / "report").iterdir()
    assert json.loads(report.read_text())["reasons"] == ["unknown"]


def test_pairs_are_compared_for_what_is_due_alone(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def flickers(before: LiveResult, now: LiveResult) -> bool:
        compared.append(now.sequence)
        return now.sequence == 1

    monkeypatch.setattr(collect_rules, "_flickers", flickers)
    sink = opened(tmp_path, every_s=3.5 * PERIOD_NS / 1e9)
    for result in make_results(runtime, 6):
        sink.write(result)
    assert compared == [1, 5]


def test_the_oldest_make_room_and_a_torn_pair_is_cleared(runtime: Runtime, tmp_path: Path) -> None:
    results = [
        doubtful(result, 20 * number) for number, result in enumerate(make_results(runtime, 6))
    ]
    sink = opened(tmp_path, every_s=0)
    sink.write(results[0])
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.*"))
    for torn in (f"report/{START_NS + 1:019d}.json", f"infrared/{START_NS + 1:019d}.png"):
        (tmp_path / torn).write_bytes(b"torn")
    (tmp_path / "visible/holiday.png").write_bytes(b"not ours")
    sink = opened(tmp_path, every_s=0, keep_gb=2.5 * size / 1e9)
    for result in results[1:]:
        sink.write(result)
    kept = sorted(path.stem for path in (tmp_path / "visible").iterdir())
    assert kept == [*(f"{START_NS + n * PERIOD_NS:019d}" for n in (4, 5)), "holiday"]
    for part in ("infrared", "report"):
        assert sorted(path.stem for path in (tmp_path / part).iterdir()) == kept[:2]
    assert read_infrared(tmp_path / f"infrared/{kept[0]}.png").shape == (64, 96)
    assert read_visible(tmp_path / f"visible/{kept[1]}.png").shape == (64, 96, 3)


def test_frames_of_others_and_labelled_pairs_are_never_deleted(
    runtime: Runtime, tmp_path: Path
) -> None:
    results = [doubtful(r, 20 * number) for number, r in enumerate(make_results(runtime, 4))]
    others = [f"{START_NS:019d}.png", f"{START_NS - PERIOD_NS:019d}.png"]
    for name in others:
        for part in ("visible", "infrared"):
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / name).write_bytes(b"unpacked from a bag")
    sink = opened(tmp_path, every_s=0, keep_gb=1e-9)
    sink.write(results[0])
    labelled = f"{START_NS + 1:019d}.png"  # the stamp itself is taken
    (tmp_path / "label").mkdir()
    (tmp_path / "label" / labelled).write_bytes(b"drawn by hand")
    for result in results[1:]:
        sink.write(result)
    newest = f"{results[-1].stamp_ns:019d}.png"
    for part in ("visible", "infrared"):
        assert {path.name for path in (tmp_path / part).iterdir()} == {*others, labelled, newest}
        for name in others:
            assert (tmp_path / part / name).read_bytes() == b"unpacked from a bag"


def test_a_restart_forgets_no_pair_and_overwrites_none(runtime: Runtime, tmp_path: Path) -> None:
    first, second = (doubtful(result) for result in make_results(runtime, 2))  # look alike
    opened(tmp_path, every_s=0).write(first)
    (tmp_path / "visible/.0123-4567.part").write_bytes(b"killed while writing")
    sink = opened(tmp_path, every_s=0)
    sink.write(second)
    assert [path.name for path in (tmp_path / "visible").iterdir()] == [f"{START_NS:019d}.png"]
    (other,) = make_results(runtime, 1)
    sink.write(doubtful(other, 60))  # of another recording, at the same time
    names = sorted(path.stem for path in (tmp_path / "visible").iterdir())
    assert names == [f"{START_NS + n:019d}" for n in (0, 1)]
    report = json.loads((tmp_path / f"report/{names[1]}.json").read_text())
    assert report["visible"]["stamp_ns"] == START_NS


def test_a_pair_that_met_a_full_disk_is_kept_once_there_is_room(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full: list[str] = []

    def fills_up(path: Path, data: bytes, *, wait_for_disk: bool) -> None:
        if path.parent.name == "visible" and not full:
            full.append(path.name)
            left.extend(each.parent.name for each in tmp_path.rglob(f"{path.stem}.*"))
            raise OSError(errno.ENOSPC, "no room")
        write_bytes(path, data, wait_for_disk=wait_for_disk)

    left: list[str] = []
    monkeypatch.setattr(collector, "write_bytes", fills_up)
    (result,) = make_results(runtime, 1)
    sink = opened(tmp_path, lossless=True)
    sink.write(doubtful(result))
    assert sorted(left) == ["infrared", "report"]  # it failed at the last of the three files
    assert sink.dropped == 0
    for part in ("visible", "infrared", "report"):
        assert [path.stem for path in (tmp_path / part).iterdir()] == [f"{START_NS:019d}"]


def test_nothing_of_a_pair_is_left_on_a_full_disk(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fills_up(path: Path, data: bytes, *, wait_for_disk: bool) -> None:
        if path.parent.name == "visible":
            raise OSError(errno.ENOSPC, "no room")
        write_bytes(path, data, wait_for_disk=wait_for_disk)

    monkeypatch.setattr(collector, "write_bytes", fills_up)
    (result,) = make_results(runtime, 1)
    sink = opened(tmp_path)
    with pytest.raises(SinkError, match="is full: make room"):
        sink.write(doubtful(result))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sink.dropped == 1


def test_a_check_touches_nothing_that_a_running_rig_writes(tmp_path: Path) -> None:
    """SIGHUP checks the rigs while they run, and so does a second command."""
    opened(tmp_path).close()
    written = [tmp_path / f"report/{START_NS:019d}.json", tmp_path / "visible/.0123-4567.part"]
    for path in written:
        path.write_bytes(b"the rest comes soon")
    rig = RigSettings(
        name="a",
        visible="synthetic:96x64@20",
        infrared="synthetic:96x64@20",
        sinks=(CollectSettings(path=tmp_path),),
    )
    check_rig(rig, LiveSettings(rigs=(rig,)))
    assert all(path.exists() for path in written)


def test_a_reason_counts_once_in_a_while(runtime: Runtime, tmp_path: Path) -> None:
    sink = opened(tmp_path, every_s=4 * PERIOD_NS / 1e9)
    for number, result in enumerate(make_results(runtime, 6)):
        sink.write(doubtful(result, 20 * number))
    assert len(list((tmp_path / "visible").iterdir())) == 2


def test_a_rig_collects_what_its_network_is_unsure_of(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    flags = (
        "--visible",
        "synthetic:96x64@20,frames=9",
        "--infrared",
        "synthetic:96x64@20,frames=9",
    )
    command = [sys.executable, "-m", "service", "run", "--weights", str(stand_in_weights), "--once"]
    outs = ("--out", f"collect:{tmp_path / 'cases'}")
    done = subprocess.run([*command, *flags, *outs], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    frames = open_set("pairs", tmp_path / "cases")
    (name,) = frames.names
    assert frames.read(0).infrared.shape == (64, 96)
    report = json.loads((tmp_path / f"cases/report/{name}.json").read_text())
    assert "unsure" in report["reasons"]


def test_the_command_line_names_it() -> None:
    assert parse_sink("collect:cases/yard") == CollectSettings(path=Path("cases/yard"))
    with pytest.raises(ValueError, match="collect:FOLDER for pairs worth labelling"):
        parse_sink("collect:")
