"""
An image as its user starts it: read-only, without rights, as nobody. `make image-check`.

IMAGE names it, ENGINE is docker or whatever takes docker's words, with its flags.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.docker

SAMPLE = Path(__file__).parents[2] / "service" / "web" / "samples" / "night"
ENGINE = shlex.split(os.environ.get("ENGINE", "docker"))
IMAGE = os.environ.get("IMAGE", "segmif:cpu")
GUARDED = ["--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
TOKEN = {"Authorization": "Bearer secret"}


def engine(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ENGINE, *words], capture_output=True, text=True, timeout=120)


@pytest.fixture(autouse=True)
def image() -> None:
    if shutil.which(ENGINE[0]) is None:
        pytest.skip(f"{ENGINE[0]} is not installed: ENGINE names another container engine")
    if engine("image", "inspect", IMAGE).returncode:
        pytest.skip(f"there is no image {IMAGE}: make image-cpu, or say IMAGE=")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def name(port: int) -> Iterator[str]:
    name = f"segmif-check-{port}"
    yield name
    engine("rm", "--force", name)


def last_line(name: str) -> str:
    return engine("logs", name).stderr.splitlines()[-1]


def wait_until_ready(client: httpx.Client) -> float:
    begin = time.monotonic()
    while time.monotonic() < begin + 120:
        try:
            if client.get("/readyz").status_code == 200:
                return time.monotonic() - begin
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("not ready after two minutes")


def test_it_serves_read_only_drains_and_starts_again(name: str, port: int) -> None:
    variables = ["--env=SEGMIF_TOKEN=secret", f"--env=SEGMIF_PORT={port}"]
    begun = engine("run", "--detach", f"--name={name}", *GUARDED, *variables, IMAGE)
    assert begun.returncode == 0, begun.stderr
    files = {part: (SAMPLE / f"{part}.png").read_bytes() for part in ("visible", "infrared")}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        first = wait_until_ready(client)
        assert engine("exec", name, "python", "/opt/segmif/healthy.py").returncode == 0
        assert (
            engine("exec", name, "python", "-c", "import os; print(os.getuid())").stdout
            == "10001\n"
        )
        assert engine("exec", name, "python", "-c", "import torch").returncode == 1
        assert engine("exec", name, "touch", "/opt/segmif/x").returncode == 1
        assert client.post("/fuse-segment", files=files).status_code == 401
        answer = client.post("/fuse-segment", files=files, headers=TOKEN)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("multipart/mixed")

        engine("stop", "--time=30", name)
        state = engine("inspect", "--format={{.State.ExitCode}}", name).stdout.strip()
        log = engine("logs", name).stderr
        assert state == "0" and "Application shutdown complete" in log, (state, log)

        engine("start", name)
        again = wait_until_ready(client)
        assert client.post("/fuse-segment", files=files, headers=TOKEN).status_code == 200
    sys.stdout.write(f"{IMAGE}: ready after {first:.1f} s, again after {again:.1f} s\n")


def test_without_a_token_it_says_so_and_ends(name: str) -> None:
    ended = engine("run", f"--name={name}", *GUARDED, IMAGE)
    assert ended.returncode == 2
    assert "SEGMIF_TOKEN" in last_line(name)


def test_a_taken_port_is_said(name: str) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        variables = ["--env=SEGMIF_TOKEN=secret", f"--env=SEGMIF_PORT={port}"]
        ended = engine("run", f"--name={name}", *GUARDED, *variables, IMAGE)
    assert ended.returncode == 69
    assert f"port {port}" in last_line(name)


def test_it_can_be_stopped_while_it_loads(name: str, port: int) -> None:
    variables = ["--env=SEGMIF_TOKEN=secret", f"--env=SEGMIF_PORT={port}"]
    engine("run", "--detach", f"--name={name}", *GUARDED, *variables, IMAGE)
    begin = time.monotonic()
    engine("stop", "--time=10", name)
    assert time.monotonic() - begin < 8
    assert engine("inspect", "--format={{.State.ExitCode}}", name).stdout.strip() == "0"


def test_rigs_record_into_a_volume_as_the_images_user(name: str, port: int) -> None:
    variables = ["--env=SEGMIF_TOKEN=secret", f"--env=SEGMIF_PORT={port}"]
    volume = f"--volume={name}:/var/lib/segmif"
    cameras = ["--visible", "synthetic:96x64@10", "--infrared", "synthetic:96x64@10"]
    words = ["run", *cameras, "--out", "/var/lib/segmif/lines.jsonl"]
    try:
        engine("run", "--detach", f"--name={name}", *GUARDED, volume, *variables, IMAGE, *words)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=TOKEN) as client:
            wait_until_ready(client)
            end = time.monotonic() + 60
            while not any(rig["pairs"].get("ok") for rig in client.get("/live").json()["rigs"]):
                assert time.monotonic() < end, engine("logs", name).stderr
                time.sleep(0.1)
        engine("stop", "--time=60", name)
        assert engine("inspect", "--format={{.State.ExitCode}}", name).stdout.strip() == "0"
        read = ["--entrypoint=cat", IMAGE, "/var/lib/segmif/lines.jsonl"]
        assert engine("run", "--rm", volume, *read).stdout.startswith('{"rig":"rig"')
    finally:
        engine("rm", "--force", name)
        engine("volume", "rm", name)
