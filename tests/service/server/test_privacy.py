"""The service speaks to nobody of its own accord, and leaves nothing behind."""

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.service.conftest import wait_until_ready

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "service" / "web" / "samples" / "day"
PROGRAMS = ("segmif", "training", "export", "service", "calibration", "benchmarks", "docker")


def test_onnx_runtime_is_imported_where_its_telemetry_is_off() -> None:
    found = set()
    for folder in (*PROGRAMS, "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    names.append(node.module)
                if any(name.split(".")[0] == "onnxruntime" for name in names):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == {"segmif/runtime/onnxruntime_.py"}


def test_the_service_opens_no_connection_of_its_own_and_leaves_home_empty(tmp_path: Path) -> None:
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--threads", "1"]
    if strace := shutil.which("strace"):  # sees what libraries do as well
        calls = "trace=connect,sendto,sendmsg,sendmmsg"
        # -D: signals go to the service, not to strace
        command = [strace, "-D", "-f", "--seccomp-bpf", "-e", calls, "-o", str(trace), *command]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    told = kept | {"HOME": str(home), "ORT_DISABLE_TELEMETRY": ""}
    with (
        subprocess.Popen(command, cwd=ROOT, env=told) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            wait_until_ready(client)
            files = {n: (SAMPLE / f"{n}.png").read_bytes() for n in ("visible", "infrared")}
            assert client.post("/fuse-segment", files=files).is_success
        finally:
            process.terminate()
    assert list(home.rglob("*")) == []
    if strace:
        limit = time.monotonic() + 20
        whole = re.compile(rf"^{process.pid} +\+\+\+ ", re.MULTILINE)
        while not whole.search(calls_made := trace.read_text(errors="replace")):
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert not re.findall(r".*sa_family=AF_INET6?, .*", calls_made)
