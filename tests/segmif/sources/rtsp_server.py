"""
GStreamer's RTSP server with the stream `/x`: `/usr/bin/python3 rtsp_server.py PORT LAUNCH`.

LAUNCH is a pipeline in brackets with a payloader `pay0`. It says `listening` once it does.
"""

import sys
from importlib import import_module
from typing import Any


def main(port: str, launch: str) -> None:
    gi: Any = import_module("gi")
    for name in ("Gst", "GstRtspServer"):
        gi.require_version(name, "1.0")
    GLib, Gst, Server = (
        import_module(f"gi.repository.{name}") for name in ("GLib", "Gst", "GstRtspServer")
    )
    Gst.init(None)
    server, factory = Server.RTSPServer(), Server.RTSPMediaFactory()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory.set_launch(launch)
    factory.set_shared(True)
    server.get_mount_points().add_factory("/x", factory)
    server.attach(None)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
