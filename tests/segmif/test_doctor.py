"""`segmif doctor`: green on a plain machine, and a remedy for what fails."""

import json
import socket
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from packaging.requirements import Requirement

from segmif import doctor
from segmif.__main__ import main
from segmif.finding import Finding


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that runs other tests beside is slow, not broken."""
    monkeypatch.setattr(doctor, "LIMIT_S", 60.0)


def test_a_machine_with_a_cpu_alone_is_green(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert main(["doctor", "--json", "--port", f"{port}"]) == 0
    said = json.loads(capsys.readouterr().out)
    states = {check["name"]: check["state"] for check in said["checks"]}
    assert said["ok"] and states["ONNX Runtime"] == states["port"] == states["packages"] == "ok"
    assert all(check["remedy"] for check in said["checks"] if check["state"] == "failed")


def test_a_failed_check_has_its_remedy_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Finding:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(doctor, "check_decoders", missing)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["doctor", "--port", f"{port}"]) == 1
    text = capsys.readouterr().out
    assert f"failed  port          port {port}: Address already in use" in text
    assert "-> segmif serve --port" in text
    assert "numpy is missing" in text and "-> pip install" in text


@pytest.mark.parametrize("stated", ["abc", "99999"])
def test_a_port_of_the_environment_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stated: str
) -> None:
    monkeypatch.setenv("SEGMIF_PORT", stated)
    with pytest.raises(SystemExit, match="2"):
        main(["doctor"])
    said = capsys.readouterr().err
    assert f"SEGMIF_PORT: '{stated}' is no whole number from 0 to 65535" in said


def test_the_network_of_the_environment_is_the_one_that_is_tried(
    stand_in_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMIF_WEIGHTS", str(stand_in_weights))
    assert f"{stand_in_weights.name} answers" in doctor.check_onnxruntime(gpu=False).detail
    monkeypatch.setenv("SEGMIF_WEIGHTS", "missing.onnx")
    found = doctor.check_onnxruntime(gpu=False)
    assert found.state == "failed" and "missing.onnx" in found.detail
    assert "SEGMIF_WEIGHTS must name" in found.remedy


@pytest.mark.parametrize(("load", "state"), [(0.0, "failed"), (1e6, "note")])
def test_a_check_that_hangs_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch, load: float, state: str
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(doctor, "check_python", lambda: time.sleep(5))
    found = doctor.examine(0, limit_s=0.2)["Python"]
    assert found.state == state and "not done" in found.detail


def test_requirements_below_their_floor_are_named() -> None:
    assert doctor._wanting(Requirement("numpy>=99.1")).endswith("at least 99.1 is needed")
    assert doctor._wanting(Requirement("numpy<2,>=1.2")).endswith("less than 2 is needed")
    assert doctor._wanting(Requirement("no-such-package")) == "no-such-package is missing"
    assert not doctor._wanting(Requirement("numpy<99,>=2.2"))


def test_requirements_are_those_of_the_base_or_of_an_extra() -> None:
    base, client = ({each.name for each in doctor._requirements(extra)} for extra in ("", "client"))
    assert {"numpy", "pyseccomp"} <= base and client == {"httpx"}


class Talks(BaseHTTPRequestHandler):
    """Answers every GET, or says what is no HTTP."""

    def do_GET(self) -> None:
        assert isinstance(self.server, HTTPServer)
        if self.path == "/livez" and self.server.server_name != "odd":
            self.send_response(200)
            self.end_headers()
        else:
            self.wfile.write(b"220 mail.example ESMTP\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("name", "state"), [("service", "ok"), ("odd", "failed")])
def test_a_port_that_is_taken_says_by_whom(
    name: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    with HTTPServer(("127.0.0.1", 0), Talks) as server:
        server.server_name = name
        Thread(target=server.handle_request).start()
        found = doctor.check_port(server.server_port)
    assert found.state == state
    assert ("a service answers" in found.detail) == (state == "ok")
