"""
GStreamer's RTSP server, which takes a stream of H.264 and writes it to a file.

Run it with Debian's Python: `/usr/bin/python3 rtsp_server.py PORT USER PASSWORD FILE`. It says
`listening` once it does.
"""

import sys
from importlib import import_module
from typing import Any


def main(port: str, user: str, password: str, path: str) -> None:
    gi: Any = import_module("gi")
    for name in ("Gst", "GstRtsp", "GstRtspServer"):
        gi.require_version(name, "1.0")
    GLib, Gst, GstRtsp, Server = (
        import_module(f"gi.repository.{name}")
        for name in ("GLib", "Gst", "GstRtsp", "GstRtspServer")
    )
    Gst.init(None)
    server = Server.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    auth, token = Server.RTSPAuth(), Server.RTSPToken()
    token.set_string(Server.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "camera")
    auth.add_basic(Server.RTSPAuth.make_basic(user, password), token)
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
    server.set_auth(auth)
    factory = Server.RTSPMediaFactory()
    factory.set_transport_mode(Server.RTSPTransportMode.RECORD)
    factory.set_launch(
        "( rtph264depay name=depay0 ! video/x-h264,stream-format=byte-stream "
        f"! filesink buffer-mode=unbuffered sync=false async=false location={path} )"
    )
    factory.add_role_from_structure(
        Gst.Structure.new_from_string(
            "camera, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        )
    )
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
