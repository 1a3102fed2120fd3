"""`segmif doctor` on cameras, streams and recordings: none is needed, each has its remedy."""

import json
import os
import sys
from pathlib import Path

import pytest

from segmif import camera_checks, doctor
from segmif.__main__ import main

CHECKS = ("videos", "cameras", "GStreamer", "recordings")


def test_what_run_needs_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert set(CHECKS) <= checks.keys()
    assert checks["videos"]["state"] == checks["recordings"]["state"] == "ok"
    for word in ("PyAV", "FFmpeg", "h264", "ffv1", "libx264"):
        assert word in checks["videos"]["detail"]


def test_a_base_install_is_green_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "LIMIT_S", 60.0)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "gi", None)
    monkeypatch.setattr(camera_checks, "RECORDINGS", ("no-such-package",))
    monkeypatch.setattr(camera_checks, "DEVICES", tmp_path)
    found = doctor.examine(0)
    assert {found[name].state for name in CHECKS} == {"note"}
    assert "[live]" in found["videos"].remedy and "[live]" in found["recordings"].remedy
    assert "python3-gi" in found["GStreamer"].remedy and "--device" in found["cameras"].remedy


def test_a_codec_that_ffmpeg_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_checks, "ENCODERS", ("no_such_codec", "ffv1"))
    found = camera_checks.check_videos()
    assert found.state == "note" and "no encoder no_such_codec" in found.detail


def test_a_camera_that_this_user_may_not_open_names_its_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    camera = tmp_path / "video0"
    camera.touch()
    monkeypatch.setattr(camera_checks, "DEVICES", tmp_path)
    assert camera_checks.check_cameras().state == "ok"
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may open anything
    found = camera_checks.check_cameras()
    assert found.state == "note" and str(camera) in found.detail
    assert f"--group-add {camera.stat().st_gid}" in found.remedy and "usermod" in found.remedy
