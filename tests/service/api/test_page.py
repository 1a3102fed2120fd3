"""The page in a real browser: it works under a prefix, and tells a proxy's answer from ours."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from segmif.runtime import open_runtime
from service.settings import Settings
from tests.service.conftest import Serve


@contextmanager
def in_front(service: httpx.Client, refused: str) -> Iterator[str]:
    """A proxy at /cameras/ that answers in the place of the service to paths that begin so."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.removeprefix("/cameras")
            if path == self.path or path.startswith(refused):
                self.answer(502, "text/html", b"<html>Bad Gateway</html>")
                return
            kept = {name: self.headers[name] for name in ("Content-Type", "Accept", "Origin")}
            headers = {name: value for name, value in kept.items() if value}
            told = service.request(
                self.command, path, content=body, headers=headers | {"Host": self.headers["Host"]}
            )
            self.answer(told.status_code, told.headers["content-type"], told.content)

        do_POST = do_GET

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/cameras/"
    finally:
        server.shutdown()
        server.server_close()


def shown(url: str, folder: Path) -> str:
    """What a page holds once its scripts have run."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
    command += ["--virtual-time-budget=20000", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def test_the_page_works_under_a_prefix(client: httpx.Client, tmp_path: Path) -> None:
    with in_front(client, "/nothing") as url:
        page = shown(f"{url}?sample=day", tmp_path)
    assert '<div id="message" role="alert" hidden="">' in page
    assert 'id="total">' in page and " ms</span>" in page


def test_the_page_tells_the_faults_of_a_pair(
    serve: Serve, stand_in_weights: Path, tmp_path: Path
) -> None:
    invalid = ",".join(str(level) for level in range(60, 76))  # levels of much of the sample
    settings = Settings(weights=stand_in_weights, infrared_invalid=invalid)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        page = shown(f"{client.base_url}?sample=night", tmp_path)
    assert "Faults of this pair: infrared invalid." in page


@pytest.mark.parametrize("refused", ["/fuse-segment", "/classes"])
def test_the_answer_of_a_proxy_is_told_as_that(
    client: httpx.Client, tmp_path: Path, refused: str
) -> None:
    with in_front(client, refused) as url:
        page = shown(f"{url}?sample=day", tmp_path)
    assert "The answer has the status 502 Bad Gateway and is text/html" in page
    assert "perhaps that of a proxy before it." in page
