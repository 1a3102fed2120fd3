"""
Serves encoded videos by RTSP and prints when each frame of the first is sent.

Run by a Python that has GStreamer's bindings, such as Debian's (`make servers`):
`/usr/bin/python3 benchmarks/live/rtsp_server.py PORT visible.mp4 infrared.mp4`. A stream is named
like its file, such as `/visible`; nothing is encoded here. A line is `FRAME_PTS_NS UNIX_NS`.
"""

import sys
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( filesrc location={file} ! qtdemux ! h264parse config-interval=-1 "
    "! identity name=clock sync=true ! rtph264pay name=pay0 pt=96 )"
)


def main(port: str, *files: str) -> None:
    """Serve until the process is ended."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer(service=port)
    server.set_address("127.0.0.1")
    for number, file in enumerate(files):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(PIPELINE.format(file=file))
        factory.set_shared(True)
        factory.connect("media-configure", watch if number == 0 else configure)
        server.get_mount_points().add_factory(f"/{Path(file).stem}", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


def configure(factory: object, media: GstRtspServer.RTSPMedia) -> None:
    """Send at once: a sink of GStreamer else holds what is live for 20 ms more."""
    media.connect("new-state", undelay)


def undelay(media: GstRtspServer.RTSPMedia, state: int) -> None:
    """Take the delay from each sink of a stream, once it has them."""
    if state == int(Gst.State.PLAYING):
        sinks = media.get_element().get_parent().iterate_recurse()
        sinks.foreach(send_at_once)


def send_at_once(element: Gst.Element) -> None:
    """Take the delay from a sink; other elements have none."""
    if element.find_property("processing-deadline"):
        element.set_property("processing-deadline", 0)


def watch(factory: object, media: GstRtspServer.RTSPMedia) -> None:
    """Print the time at which each frame passes the clock."""
    configure(factory, media)
    pad = media.get_element().get_by_name("clock").get_static_pad("src")
    pad.add_probe(Gst.PadProbeType.BUFFER, log)


def log(pad: object, probe: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
    """Print one frame."""
    print(probe.get_buffer().pts, time.time_ns(), flush=True)
    return Gst.PadProbeReturn.OK


if __name__ == "__main__":
    main(*sys.argv[1:])
