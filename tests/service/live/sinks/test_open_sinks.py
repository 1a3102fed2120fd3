"""Sinks by the words and the settings that state them; lines of JSON and folders of pictures."""

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr, ValidationError

from segmif.imaging import codecs
from service.live.sinks import rotation
from service.live.sinks.open_sinks import open_sinks, parse_sink
from service.live.sinks.settings import (
    SETTINGS,
    ImagesSettings,
    JsonlSettings,
    McapSettings,
    SinkSettings,
    StreamSettings,
    VideoSettings,
)
from service.live.sinks.sink import SinkError
from tests.service.live.sinks.conftest import KilledAfter, Results


@pytest.mark.parametrize(
    ("word", "settings"),
    [
        ("out.mkv", VideoSettings(path=Path("out.mkv"))),
        ("-", JsonlSettings(path=Path("-"))),
        ("pairs.jsonl", JsonlSettings(path=Path("pairs.jsonl"))),
        ("folder/", ImagesSettings(path=Path("folder"))),
        ("out.mcap", McapSettings(path=Path("out.mcap"))),
        ("/dev/video9", StreamSettings(url=SecretStr("/dev/video9"))),
        ("rtsp://a:b@c/d", StreamSettings(url=SecretStr("rtsp://a:b@c/d"))),
    ],
)
def test_a_word_stands_for_a_sink(word: str, settings: SinkSettings) -> None:
    assert parse_sink(word) == settings


@pytest.mark.parametrize("word", ["out.avi", "out", "", "ftp://user:secret@host/x"])
def test_other_words_are_refused_without_their_password(word: str) -> None:
    with pytest.raises(ValueError, match=r"is no sink: expected FILE\.mp4") as refused:
        parse_sink(word)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"kind": "video", "path": "a.mp4", "codec": "ffv1"}, "MP4 cannot hold ffv1"),
        ({"kind": "video", "path": "a.mkv", "container": "mp4"}, "is no mp4"),
        ({"kind": "mcap", "path": "a.mcap", "keep_days": 1}, "need a folder"),
        ({"kind": "stream", "url": "http://a/b"}, "expected rtsp://HOST/PATH"),
        ({"kind": "jsonl", "path": "a", "keep_gb": 1, "max_mb": 600}, "two files of max_mb"),
        (
            {"kind": "jsonl", "path": "a", "keep_days": 1, "max_minutes": None},
            "deletes whole files",
        ),
        ({"kind": "video", "path": "a", "colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    stated: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        SETTINGS.validate_python(stated)


@pytest.mark.parametrize(
    ("package", "word"), [("av", "a.mkv"), ("av", "udp://a:1"), ("mcap", "a.mcap")]
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, package: str, word: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SinkError, match=rf"packages? {package}.*pip install .*\[live\]"):
        open_sinks([parse_sink(word)], "front")


def test_sinks_of_one_place_have_names_of_their_own(tmp_path: Path) -> None:
    """By its name a sink has its drops in the metrics and its error."""
    settings: list[SinkSettings] = [VideoSettings(path=tmp_path)]
    settings += [JsonlSettings(path=tmp_path)] * 3
    sinks = open_sinks(settings, "front")
    names = [f"{name} {tmp_path}" for name in ("video", "jsonl", "jsonl", "jsonl")]
    names[2:] = [f"{names[2]} #2", f"{names[3]} #3"]
    assert [sink.name for sink in sinks] == names
    for sink in sinks:
        sink.close()


def test_lines_of_json_survive_a_kill(
    tmp_path: Path, results: Results, killed_after: KilledAfter
) -> None:
    killed_after(JsonlSettings(path=tmp_path), 3)
    (path,) = tmp_path.iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.name == "front-20260101T000000.123Z.jsonl"
    for line, result in zip(lines, results(3), strict=True):
        assert line["rig"] == "front"
        assert line["sequence"] == result.sequence
        assert result.visible and result.infrared
        assert line["visible"]["stamp_ns"] == result.visible.stamp_ns
        assert line["infrared"]["name"] == result.infrared.name
        assert line["level"] == "full rate"
        assert line["report"]["classes"] == result.report["classes"]


def test_lines_are_rotated(tmp_path: Path, results: Results) -> None:
    (sink,) = open_sinks([JsonlSettings(path=tmp_path / "out.jsonl", max_mb=0.005)], "front")
    for result in results(6):
        sink.write(result)
    sink.close()
    lines = [len(path.read_text().splitlines()) for path in sorted(tmp_path.iterdir())]
    assert len(lines) > 1
    assert sum(lines) == 6


def test_a_recording_that_cannot_be_deleted_does_not_end_the_next(
    tmp_path: Path,
    results: Results,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    of_root = tmp_path / "front-20200101T000000.000Z.jsonl"
    of_root.write_bytes(bytes(5000))
    os.utime(of_root, (0, 0))
    plain = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path == of_root:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        plain(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr("service.live.sinks.rotation.ENFORCE_EVERY_S", 0)  # with each line
    (sink,) = open_sinks([JsonlSettings(path=tmp_path, keep_days=1)], "front")
    for result in results(3):
        sink.write(result)
    sink.close()
    assert len((tmp_path / "front-20260101T000000.123Z.jsonl").read_text().splitlines()) == 3
    assert caplog.text.count("cannot be deleted: Permission denied") == 1


@pytest.mark.parametrize("suffix", ["jsonl", "mkv", "mcap"])
def test_two_processes_that_begin_one_recording_at_once_write_two_files(
    suffix: str, tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find the name free; the other is quicker."""
    (sink,) = open_sinks([parse_sink(str(tmp_path / f"day.{suffix}"))], "front")
    plain = rotation.RecordingFile.__init__

    def late(file: rotation.RecordingFile, path: Path) -> None:
        if path.stem == "day":
            path.write_bytes(b"of the other")
        plain(file, path)

    monkeypatch.setattr(rotation.RecordingFile, "__init__", late)
    for result in results(3):
        sink.write(result)
    sink.close()
    assert sink.dropped == 0
    assert (tmp_path / f"day.{suffix}").read_bytes() == b"of the other"
    assert (tmp_path / f"day-2.{suffix}").stat().st_size > 0


@pytest.mark.parametrize("suffix", ["jsonl", "mkv", "mcap"])
def test_a_recording_that_was_deleted_while_it_is_written_begins_anew(
    suffix: str, tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.sinks.rotation.LOOK_EVERY_S", 0)
    (sink,) = open_sinks([parse_sink(str(tmp_path / f"day.{suffix}"))], "front", lossless=True)
    for number, result in enumerate(results(70)):  # more than two seconds: muxers hold back one
        sink.write(result)
        if number == 0:
            (tmp_path / f"day.{suffix}").unlink()
    sink.close()
    assert (tmp_path / f"day.{suffix}").stat().st_size > 0
    assert sink.dropped == 0


def test_lines_go_to_the_standard_output(
    results: Results, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (sink,) = open_sinks([parse_sink("-")], "front")
    for result in results(2):
        sink.write(result)
    sink.close()
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [0, 1]


@pytest.mark.parametrize("names", ["stamp", "source"])
def test_pictures_are_written_as_infer_does(tmp_path: Path, results: Results, names: str) -> None:
    stated = {"kind": "images", "path": tmp_path / "out", "overlay": True, "names": names}
    (sink,) = open_sinks([SETTINGS.validate_python(stated)], "front")
    (result,) = results(1)
    sink.write(result)
    sink.close()
    name = f"{result.stamp_ns}.png" if names == "stamp" else "000000.png"
    prediction = result.result.prediction
    out = tmp_path / "out"
    np.testing.assert_array_equal(codecs.read_visible(out / "fused" / name), prediction.fused)
    np.testing.assert_array_equal(codecs.read_labels(out / "mask" / name), prediction.labels)
    np.testing.assert_array_equal(codecs.read_visible(out / "overlay" / name), result.overlay)


def test_sinks_that_were_opened_are_closed_if_another_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    settings = [parse_sink("-"), ImagesSettings(path=tmp_path / "file")]
    with pytest.raises(Exception, match=r"no pictures to .*Not a directory"):
        open_sinks(settings, "front")
