"""A page on this machine that shows the newest picture and what is said of it."""

from base64 import b64encode
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from calibration.pictures import Colour
from segmif.images import encode_jpeg
from segmif.loopback import host_name, is_loopback

REFRESH_S = 0.5
STYLE = "body{font:22px system-ui,sans-serif;margin:1rem}img{width:100%}"


class Page:
    """Serves on the loopback address while it is open; port 0 serves nothing."""

    def __init__(self, port: int) -> None:
        """Raises OSError where the port is taken."""
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
                """Requests are no news to the operator."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler) if port else None

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
