"""Checks of `segmif doctor` for `segmif run`: cameras, streams and recordings; all are optional."""

import grp
import os
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

from segmif.finding import Finding
from segmif.install import install_command

DECODERS = ("h264", "hevc", "mjpeg", "ffv1")
ENCODERS = ("libx264", "ffv1")  # without the first one recordings are MPEG-4
RECORDINGS = ("mcap", "rosbags", "cptv")
DEVICES = Path("/dev")
DRIVERS = Path("/sys/class/video4linux")  # names of devices, which need not be opened for it
NO_DEVICES = "no /dev/video*; network cameras and recordings need none"
PLUG_IN = "plug a camera in; a container needs --device /dev/video0"


def check_videos() -> Finding:
    """PyAV, its FFmpeg, and the codecs that sources and recordings need."""
    try:
        av = import_module("av")
    except ImportError:
        missing = "PyAV is not installed; videos, streams and cameras need it"
        return Finding("note", missing, install_command("live"))
    lacking = [f"no decoder {name}" for name in DECODERS if not _has_codec(name, "r")]
    lacking += [f"no encoder {name}" for name in ENCODERS if not _has_codec(name, "w")]
    here = f"PyAV {av.__version__} with FFmpeg {av.ffmpeg_version_info}"
    if lacking:
        return Finding("note", f"{here}; {', '.join(lacking)}", install_command("live"))
    known = f"decoders {', '.join(DECODERS)}; encoders {', '.join(ENCODERS)}"
    return Finding("ok", f"{here}; {known}")


def check_cameras() -> Finding:
    """The V4L2 devices, and whether this user may open them."""
    found = sorted(DEVICES.glob("video[0-9]*"))
    if not found:
        return Finding("note", NO_DEVICES, PLUG_IN)
    closed = [device for device in found if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        names = ", ".join(map(str, closed))
        return Finding("note", f"{names}: this user may not open it", _way_in(closed[0]))
    return Finding("ok", ", ".join(map(_named, found)))


def check_gstreamer() -> Finding:
    """GStreamer's bindings, for sources of the form gst:PIPELINE."""
    try:
        gi = import_module("gi")
        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        return Finding("ok", str(import_module("gi.repository.Gst").version_string()))
    except (ImportError, ValueError):
        remedy = (
            "install python3-gi and gir1.2-gst-plugins-base-1.0, and make them visible to this "
            "Python"
        )
        return Finding("note", "no bindings of GStreamer: no gst:PIPELINE as a source", remedy)


def check_recordings() -> Finding:
    """The packages that read and write bags, MCAP and CPTV."""
    here, missing = [], []
    for name in RECORDINGS:
        try:
            here.append(f"{name} {version_of(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("note", f"not here: {', '.join(missing)}", install_command("live"))
    return Finding("ok", ", ".join(here))


def _has_codec(name: str, mode: str) -> bool:
    try:
        import_module("av").Codec(name, mode)
    except ValueError:  # PyAV's errors of unknown codecs are among them
        return False
    return True


def _named(device: Path) -> str:
    """A device with what its driver calls it."""
    with suppress(OSError):
        name = (DRIVERS / device.name / "name").read_text(encoding="utf-8", errors="replace")
        return f"{device} ({name.strip()})"
    return str(device)


def _way_in(device: Path) -> str:
    """How this user gets to open a device."""
    number = device.stat().st_gid
    group = str(number)
    with suppress(KeyError):  # a container often lacks the group of its host
        group = grp.getgrgid(number).gr_name
    return f"`sudo usermod -aG {group} $USER`, then log in again; a container: --group-add {number}"
