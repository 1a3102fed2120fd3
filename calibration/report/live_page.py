"""A page on this machine with the newest picture and sentences below it."""

import sys
from base64 import b64encode
from contextlib import suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from threading import Lock, Thread, Timer
from typing import Any

from segmif.imaging.codecs import encode_jpeg
from segmif.local_host import host_name, is_loopback

from .pictures import Colour

REFRESH_S = 0.5
MAX_CONNECTIONS = 16  # at a time; the oldest is closed for one more
PATIENCE_S = 5.0  # for a request, and for its answer to be read
STYLE = "body{font:22px system-ui,sans-serif;margin:1rem}img{width:100%}"


class BoundedServer(ThreadingHTTPServer):
    """An HTTP server with a thread for each connection, bounded in number and time."""

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self._open: dict[socket, None] = {}  # the oldest first
        self._lock = Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection; ends the oldest if there are too many."""
        with self._lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > MAX_CONNECTIONS else None
        if oldest:
            _end(oldest)
        clock = Timer(PATIENCE_S, _end, [request])
        clock.daemon = True
        clock.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            clock.cancel()
            with self._lock:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error, unless its cause is a closed connection."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _end(connection: socket) -> None:
    with suppress(OSError):
        connection.shutdown(SHUT_RDWR)


class Page:
    """Serves on the loopback address while it is open; port 0 serves nothing."""

    def __init__(self, port: int) -> None:
        """Raises OSError if the port is taken."""
        self._body = b"waiting for frames"
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self._is_for_this_machine():
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Refresh", str(REFRESH_S))
                self.end_headers()
                self.wfile.write(page._body)

            def _is_for_this_machine(self) -> bool:
                """Refuse a name that another page's server points here (DNS rebinding)."""
                hosts = self.headers.get_all("Host", [])
                if all(is_loopback(host_name(host)) for host in hosts):
                    return True
                self.send_error(403, explain="The pictures are for this machine: ask for localhost")
                return False

            def log_message(self, format: str, *values: object) -> None:
                """The operator needs no log of requests."""

        self._server = BoundedServer(port, Handler) if port else None

    def __enter__(self) -> "Page":
        if self._server:
            Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def show(self, picture: Colour, sentences: list[str]) -> None:
        """Show a picture (H, W, 3) RGB over some sentences from the next refresh on."""
        if self._server:
            image = b64encode(encode_jpeg(picture, 80)).decode()
            text = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
            self._body = (
                f"<!doctype html><title>Calibration</title><style>{STYLE}</style>"
                f'<img src="data:image/jpeg;base64,{image}" alt="">{text}'
            ).encode()
