"""A service within what a container or shell leaves to it, and how it ends."""

import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from segmif.imaging import codecs
from segmif.machine import cpu_quota
from segmif.manifest import Manifest, sha256
from service.__main__ import main
from service.server.process_limits import OWN_DESCRIPTORS, fitted
from service.settings import Settings
from tests.conftest import stand_in_model
from tests.service.conftest import free_port, hear_ctrl_c

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"cpu.max": "400000 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/gone\n", {"cpu.max": "200000 100000"}, 2.0),
        ("0::/../other\n", {"cpu.max": "200000 100000"}, 2.0),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/\n", {"cpu.max": ""}, None),
        ("4:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1"}, None),
        (
            "4:cpu,cpuacct:/d\n3:memory:/d\n",
            {"cpu/d/cpu.cfs_quota_us": "300000", "cpu/d/cpu.cfs_period_us": "100000"},
            3.0,
        ),
        ("", {"cpu.max": "100000 100000"}, None),
    ],
)
def test_the_quota_of_a_container_is_read(
    tmp_path: Path, own: str, files: dict[str, str], quota: float | None
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    assert cpu_quota(tmp_path / "groups", tmp_path / "own") == quota


@contextmanager
def started(
    weights: Path, *flags: str, limit: int | None = None, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    def lower() -> None:
        hear_ctrl_c()
        if limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--threads", "1"]
    with subprocess.Popen(
        [*command, "--weights", str(weights), *flags],
        cwd=ROOT,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lower,
    ) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def until_alive(url: str) -> None:
    limit = time.monotonic() + 40
    while True:
        with suppress(httpx.TransportError):  # with verify each would read all authorities
            assert httpx.get(f"{url}/livez", verify=False).status_code == 200
            return
        assert time.monotonic() < limit
        time.sleep(0.05)


def until_ready(url: str) -> None:
    until_alive(url)
    limit = time.monotonic() + 40
    while not httpx.get(f"{url}/readyz", verify=False).is_success:
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_few_descriptors_are_said_and_connections_beyond_them_are_answered(
    stand_in_weights: Path,
) -> None:
    with started(stand_in_weights, limit=80) as (process, url):
        until_ready(url)
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        wires = [socket.create_connection(address, timeout=20) for _ in range(90)]
        try:
            assert httpx.get(f"{url}/livez", verify=False).status_code == 200
            told = [answered(wire) for wire in wires]
        finally:
            for wire in wires:
                wire.close()
        until_ready(url)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=40)
    assert sum(status in (b"200", b"503") for status in told) >= 32
    assert "80 files open (ulimit -n): max_connections is 32 instead of 512" in said
    assert "Traceback" not in said and "Too many open files" not in said


def answered(wire: socket.socket) -> bytes:
    """The status that a connection gets; empty if it was closed to make room."""
    try:
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return wire.recv(100)[9:12]
    except OSError:
        return b""


def test_the_soft_limit_is_raised_where_it_may_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = [(64, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    assert fitted(Settings()).max_connections == 512
    assert limits[-1] == (512 + OWN_DESCRIPTORS, 4096)
    limits.append((64, 64))
    with caplog.at_level(logging.WARNING):
        lowered = fitted(Settings(port=1))
    assert (lowered.max_connections, lowered.port) == (16, 1)
    assert lowered.limits["form"].connections == 16
    assert "ulimit -n" in caplog.text


def test_ctrl_c_ends_the_service_in_one_line(stand_in_weights: Path) -> None:
    with started(stand_in_weights) as (process, url):
        until_ready(url)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "Traceback" not in said and said.splitlines()[-1] == "stopped"


INTERRUPTED = """
import sys
from segmif import cli
def interrupt(*given, **named): raise KeyboardInterrupt
class Command:
    __doc__ = "Does it."
    add_arguments = staticmethod(lambda parser: None)
    main = staticmethod(interrupt)
sys.argv = ["x", "do"]
sys.exit(cli.run("x", None, {"do": Command}))
"""


SLOW_PACKAGE = """
import time
print("importing", flush=True)
try:
    time.sleep(60)
except BaseException:
    pass  # as an import may: what comes up in it is lost
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("fastapi", ("service", "serve", "--port", "0")),
        ("numpy", ("service", "infer", "--help")),
        ("onnx", ("export", "onnx", "--help")),
        ("torch", ("training", "train", "--config", "training/configs/nano.toml")),
        ("numpy", ("calibration", "solve", "--help")),
    ],
)
def test_a_signal_ends_a_program_that_still_imports(
    tmp_path: Path, package: str, words: tuple[str, ...], number: int
) -> None:
    (tmp_path / f"{package}.py").write_text(SLOW_PACKAGE)
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    ) as process:
        try:
            assert process.stdout and process.stdout.readline() == "importing\n"
            process.send_signal(number)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, said) == (128 + number, "stopped\n")


def test_ctrl_c_ends_every_command_in_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (130, "python -m x: stopped\n")


def test_ctrl_c_ends_infer_in_one_line(stand_in_weights: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("visible", "infrared"):
        (tmp_path / name).mkdir()
        shape = (480, 640, 3) if name == "visible" else (480, 640)
        whole = codecs.encode_png(rng.integers(0, 256, shape, np.uint8))
        for number in range(300):
            (tmp_path / name / f"{number}.png").write_bytes(whole)
    command = [sys.executable, "-m", "service", "infer", "--weights", str(stand_in_weights)]
    for name in ("visible", "infrared", "out"):
        command += [f"--{name}", str(tmp_path / name)]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    ) as process:
        limit = time.monotonic() + 40
        while not list((tmp_path / "out").glob("mask/*.png")):
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "Traceback" not in said and said.splitlines()[-1] == "stopped"
    assert len(list((tmp_path / "out").glob("mask/*.png"))) < 300


def endless() -> onnx.ModelProto:
    """A network of the contract whose fused frame comes out of a loop without an end."""
    model = stand_in_model()
    ports = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("frame", TensorProto.UINT8, None),
    ]
    given = [
        helper.make_tensor_value_info("still_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("same", TensorProto.UINT8, None),
    ]
    nodes = [
        helper.make_node("Identity", ["on"], ["still_on"]),
        helper.make_node("Identity", ["frame"], ["same"]),
    ]
    body = helper.make_graph(nodes, "body", ports, given)
    loop = helper.make_node("Loop", ["", "yes", "visible"], ["fused"], body=body)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    given_by = {node.output[0]: node for node in model.graph.node}
    given_by["fused"].CopyFrom(loop)
    return model


def save(model: onnx.ModelProto, path: Path) -> None:
    onnx.save(model, path)
    manifest = Manifest(variant="nano", taxonomy="mfnet", precision="fp32", sha256=sha256(path))
    manifest.write(path)


def test_a_network_that_hangs_ends_the_service_in_words(tmp_path: Path) -> None:
    save(endless(), tmp_path / "w.onnx")
    with started(tmp_path / "w.onnx", SEGMIF_SELF_TEST_S="2") as (process, url):
        until_alive(url)
        assert httpx.get(f"{url}/readyz", verify=False).json()["kind"] == "not_ready"
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "did not come through within 2 s (SEGMIF_SELF_TEST_S): the network hangs" in said
    assert "Traceback" not in said


def test_a_network_that_hangs_is_not_taken_up_on_sighup(tmp_path: Path) -> None:
    save(stand_in_model(), tmp_path / "w.onnx")
    lines = []
    with started(tmp_path / "w.onnx", SEGMIF_SELF_TEST_S="2") as (process, url):
        until_ready(url)
        save(endless(), tmp_path / "w.onnx")
        process.send_signal(signal.SIGHUP)
        assert process.stderr
        for line in process.stderr:
            lines.append(line)
            if "nothing is renewed" in line:
                break
        assert "the network hangs" in lines[-1]
        assert httpx.get(f"{url}/readyz", verify=False).is_success
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)
        assert process.returncode in (0, -signal.SIGTERM)


def test_a_network_that_hangs_ends_infer_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(endless(), tmp_path / "w.onnx")
    monkeypatch.setenv("SEGMIF_SELF_TEST_S", "0.5")
    for name in ("visible", "infrared"):
        (tmp_path / name).mkdir()
    folders = [f"--{name}={tmp_path / name}" for name in ("visible", "infrared", "out")]
    assert main(["infer", "--weights", str(tmp_path / "w.onnx"), *folders]) == 1
    assert "the network hangs" in capsys.readouterr().err


def test_json_lines_hold_the_limits(stand_in_weights: Path) -> None:
    with started(stand_in_weights, "--log", "json") as (process, url):
        until_alive(url)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=40)
    told = [json.loads(line)["message"] for line in said.splitlines() if line.startswith("{")]
    assert any("cores" in line and "connections" in line for line in told)
