"""`segmif doctor`: green on a plain machine, and a remedy for what fails."""

import json
import socket
import time

import pytest

from segmif import doctor
from segmif.__main__ import main


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
    def missing() -> doctor.Finding:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(doctor, "check_decoders", missing)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["doctor", "--port", f"{port}"]) == 1
    text = capsys.readouterr().out
    assert f"failed  port          port {port}: Address already in use" in text
    assert "-> segmif serve --port" in text
    assert "numpy is missing" in text and "-> pip install" in text


def test_a_check_that_hangs_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_python", lambda: time.sleep(5))
    found = doctor.examine(0, limit_s=0.2)["Python"]
    assert found.state == "failed" and "not done" in found.detail


def test_requirements_below_their_floor_are_named() -> None:
    assert doctor._wanting(("numpy", ">=99.1")).endswith("at least 99.1 is needed")
    assert doctor._wanting(("no-such-package", "")) == "no-such-package is missing"
    assert not doctor._wanting(("numpy", "<99,>=2.2"))
