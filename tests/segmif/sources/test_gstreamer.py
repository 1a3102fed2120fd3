"""Pipelines of GStreamer, in a child whose Python sees Debian's bindings."""

import subprocess
import sys

import pytest

DEBIAN = "/usr/lib/python3/dist-packages"
CHILD = f"""
import sys, threading, time
sys.path.append({DEBIAN!r})
import gi
gi.require_version("GstApp", "1.0")
if len(sys.argv) == 1:
    sys.exit()
from segmif.sources.open_source import open_source
from segmif.sources.options import SourceOptions
source = open_source(sys.argv[1], sys.argv[2], SourceOptions(timeout_s=1))
began = time.monotonic()
if sys.argv[3:]:
    threading.Timer(0.3, source.close).start()
for frame in source.frames():
    print(frame.pixels.shape, frame.pixels.dtype, frame.stamp_from)
assert time.monotonic() - began < 5
"""
TEST = "gst:videotestsrc num-buffers=3 ! video/x-raw,width=70,height=48,format="


@pytest.fixture(autouse=True, scope="module")
def bindings() -> None:
    """Skip without GStreamer's bindings."""
    if subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=False).returncode:
        pytest.skip("no bindings of GStreamer for this Python")


def child(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("part", "form", "shown"),
    [
        ("visible", "RGB", "(48, 70, 3) uint8 arrival"),
        ("infrared", "GRAY16_LE", "(48, 70) uint16 arrival"),
        ("infrared", "GRAY8", "(48, 70) uint8 arrival"),
    ],
)
def test_frames_of_a_pipeline(part: str, form: str, shown: str) -> None:
    done = child(TEST + form, part)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == shown


def test_a_pipeline_that_gives_nothing_is_closed_soon() -> None:
    slow = "gst:videotestsrc is-live=true ! video/x-raw,format=RGB,framerate=1/20"
    done = child(slow, "visible", "close")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("gst:nosuch password=hush", 'is no pipeline: no element "nosuch"'),
        ("gst:filesrc location=/no/such ! fakesink password=hush", "is no pipeline"),
        ("gst:filesrc location=/no/such ! decodebin", "an element failed"),
    ],
)
def test_what_is_no_pipeline_says_so(pipeline: str, said: str) -> None:
    done = child(pipeline, "visible")
    assert said in done.stderr
    assert "hush" not in done.stderr
