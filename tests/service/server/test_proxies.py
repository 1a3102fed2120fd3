"""Behind a proxy: who the client is, and at which address it finds the service."""

import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tomli
from websockets.sync.client import connect
from websockets.typing import Origin

from segmif.client import pack
from segmif.imaging import codecs
from segmif.wire.binary_pair import RawAnswer
from service.__main__ import main

Start = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module")
def proxied(start: Start) -> Iterator[httpx.Client]:
    """A service that trusts this machine and a network as proxies."""
    with start(trusted_proxies="127.0.0.1, 10.0.0.0/8, 2001:db8::/32") as client:
        yield client


def frames() -> tuple[Any, Any]:
    ramp = np.linspace(20, 220, 32 * 32).reshape(32, 32).astype(np.uint8)
    return np.dstack([ramp] * 3), ramp


def pair() -> dict[str, bytes]:
    visible, infrared = frames()
    return {"visible": codecs.encode_png(visible), "infrared": codecs.encode_png(infrared)}


def client_in_log(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, headers: Any
) -> str | None:
    caplog.clear()
    with caplog.at_level(logging.INFO, "service.access"):
        assert client.get("/classes", headers=headers).status_code == 200
        limit = time.monotonic() + 20  # the line follows the answer
        while not (told := [each for each in caplog.records if each.name == "service.access"]):
            assert time.monotonic() < limit
            time.sleep(0.01)
    (record,) = told
    fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
    return str(fields["client"])


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({}, "127.0.0.1"),
        ({"X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
        ({"X-Forwarded-For": "1.2.3.4, 198.51.100.7, 10.1.2.3"}, "198.51.100.7"),
        ([("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "198.51.100.7")], "198.51.100.7"),
        ({"X-Forwarded-For": "198.51.100.7:4711"}, "198.51.100.7"),
        ({"X-Forwarded-For": "[2001:DB9::7]:4711, 2001:db8::1"}, "2001:db9::7"),
        ({"X-Forwarded-For": "10.0.0.1, 10.0.0.2"}, "10.0.0.1"),
        ({"X-Forwarded-For": "198.51.100.7, unknown, 10.0.0.2"}, "10.0.0.2"),
        ({"X-Forwarded-For": "<script>"}, "127.0.0.1"),
        ({"X-Forwarded-For": ", ,"}, "127.0.0.1"),
        ({"X-Forwarded-For": "9" * 4000}, "127.0.0.1"),
        ({"X-Forwarded-For": "1.1.1.1," * 900 + "198.51.100.7"}, "198.51.100.7"),
        ({"Forwarded": 'for="[2001:db9::7]:4711";proto=https, for=10.0.0.2'}, "2001:db9::7"),
        ({"Forwarded": "For=198.51.100.7;by=10.0.0.2"}, "198.51.100.7"),
        ({"Forwarded": "for=1.2.3.4", "X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    proxied: httpx.Client, caplog: pytest.LogCaptureFixture, headers: Any, client: str
) -> None:
    assert client_in_log(proxied, caplog, headers) == client


def test_nothing_that_others_say_of_themselves_is_believed(
    client: httpx.Client, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    said = {
        "X-Forwarded-For": "198.51.100.7",
        "Forwarded": "for=198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "rig.example",
        "X-Forwarded-Prefix": "/cameras",
    }
    assert client_in_log(client, caplog, said) == "127.0.0.1"
    assert "servers" not in client.get("/openapi.json", headers=said).json()
    own = {"Origin": "https://rig.example"}
    assert client.get("/classes", headers=said | own).status_code == 403
    with start(trusted_proxies="127.0.0.1", proxy_headers="forwarded") as service:
        assert client_in_log(service, caplog, {"X-Forwarded-For": "1.2.3.4"}) == "127.0.0.1"


def test_clients_of_a_proxy_have_streams_of_their_own(proxied: httpx.Client) -> None:
    def flags(client: str) -> str:
        given = {"X-Forwarded-For": client}
        answer = proxied.post("/fuse-segment?stream=rig", files=pair(), headers=given)
        assert answer.status_code == 200
        return str(answer.headers.get("x-pair-flags", ""))

    assert flags("198.51.100.1") == flags("198.51.100.2") == ""
    assert "frozen" in flags("198.51.100.1")


def test_the_public_address_is_that_of_the_proxy(proxied: httpx.Client, start: Start) -> None:
    said = {"X-Forwarded-Prefix": "/cameras/front", "X-Forwarded-Proto": "https"}
    told = proxied.get("/openapi.json", headers=said).json()
    assert told["servers"] == [{"url": "/cameras/front"}]
    assert "servers" not in proxied.get("/openapi.json").json()  # the document is not kept
    own = said | {"X-Forwarded-Host": "rig.example", "Origin": "https://rig.example"}
    assert proxied.get("/classes", headers=own).status_code == 200
    with start(root_path="/segmif/") as client:
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/segmif"}]
        for path in ("/classes", "/segmif/classes", "/segmif/", "/segmif", "/segmif/web/page.js"):
            assert client.get(path).status_code == 200, path
        for path in ("/segmif/segmif/classes", "/segmifclasses"):
            assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/livez/", "/classes/", "/fuse-segment/", "/web", "/v2/"])
def test_no_answer_sends_a_client_elsewhere(proxied: httpx.Client, path: str) -> None:
    answer = proxied.get(path, headers={"X-Forwarded-Proto": "https"})
    assert answer.status_code == 404 and "location" not in answer.headers


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SEGMIF_TRUSTED_PROXIES", "10.0.0.0/8, nginx", "'nginx' is neither an address nor"),
        ("SEGMIF_TRUSTED_PROXIES", "10.0.0.0/99", "neither an address nor a network"),
        ("SEGMIF_ALLOWED_ORIGINS", "rig.example", "is no origin such as https://"),
        ("SEGMIF_ALLOWED_ORIGINS", "https://rig.example/page", "is no origin"),
        ("SEGMIF_ALLOWED_HOSTS", "https://rig.example", "is no name such as"),
        ("SEGMIF_ROOT_PATH", "/a/../b", "is no path such as /segmif"),
        ("SEGMIF_HOST", "/run/segmif.sock", "Unix sockets are not served"),
        ("SEGMIF_HOST", "unix:/run/segmif.sock", "Unix sockets are not served"),
        ("SEGMIF_HOST", "127.0.0.1:8000", "the port is a setting of its own"),
        ("SEGMIF_TOKEN", "", "the token is empty"),
    ],
)
def test_addresses_that_are_none_are_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert main(["serve"]) == 2
    assert words in capsys.readouterr().err


def test_lists_among_the_settings_are_printed_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGMIF_TRUSTED_PROXIES", "10.0.0.0/8,::1")
    monkeypatch.setenv("SEGMIF_ALLOWED_HOSTS", "rig.example")
    assert main(["serve", "--print-config"]) == 0
    text = capsys.readouterr().out
    told = tomli.loads(text)
    assert told["trusted_proxies"] == ["10.0.0.0/8", "::1/128"]
    monkeypatch.delenv("SEGMIF_TRUSTED_PROXIES")
    monkeypatch.delenv("SEGMIF_ALLOWED_HOSTS")
    (tmp_path / "config.toml").write_text(text)
    assert main(["serve", "--print-config", "--config", str(tmp_path / "config.toml")]) == 0
    assert tomli.loads(capsys.readouterr().out) == told


NGINX = """
pid {folder}/pid;
error_log {folder}/log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 32m;
    location /cameras/ {{
      proxy_pass http://127.0.0.1:{behind}/;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Prefix /cameras;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $http_connection;
    }}
    location /old/ {{ proxy_pass http://127.0.0.1:{behind}/; }}
  }}
}}
"""


@contextmanager
def behind_nginx(client: httpx.Client, folder: Path) -> Iterator[httpx.Client]:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if not nginx:
        pytest.skip("nginx is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, behind=client.base_url.port))
    command = [nginx, "-c", str(config), "-p", str(folder), "-g", "daemon off;"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            transport = httpx.HTTPTransport(retries=10)
            url = f"http://localhost:{port}"
            with httpx.Client(base_url=url, transport=transport, timeout=20) as outside:
                yield outside
        finally:
            process.terminate()


def test_through_nginx_under_a_prefix(proxied: httpx.Client, tmp_path: Path) -> None:
    with behind_nginx(proxied, tmp_path) as outside:
        page = outside.get("/cameras/")
        assert page.status_code == 200
        for link in ("web/page.js", "web/page.css", "samples", "docs", "openapi.json"):
            assert f'"{link}"' in page.text + outside.get("/cameras/docs").text or link == "samples"
            assert outside.get(f"/cameras/{link}").status_code == 200
        assert outside.get("/cameras/openapi.json").json()["servers"] == [{"url": "/cameras"}]
        own = {"Origin": f"http://localhost:{outside.base_url.port}"}
        files = pair()
        assert outside.post("/cameras/fuse-segment", files=files, headers=own).status_code == 200
        socket_url = f"ws://localhost:{outside.base_url.port}"
        with connect(f"{socket_url}/cameras/stream", origin=Origin(own["Origin"])) as wire:
            wire.send(pack(*frames()))
            answer = wire.recv(20)
            assert isinstance(answer, bytes) and RawAnswer.from_bytes(answer).status == 200
        dropped = outside.get(
            "/old/stream", headers={"Connection": "Upgrade", "Upgrade": "websocket"}
        )
        assert dropped.status_code == 426 and "proxy" in dropped.json()["detail"]
