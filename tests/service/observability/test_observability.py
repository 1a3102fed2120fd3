"""What an operator sees: readiness that means something, counters, log lines, traces."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.sync.client import connect

from segmif.client import pack
from segmif.imaging import codecs
from segmif.manifest import Manifest
from segmif.runtime import Runtime, open_runtime
from segmif.wire.binary_pair import RawAnswer
from service.observability import hardware
from service.settings import Settings

Serve = Callable[..., AbstractContextManager[httpx.Client]]
ROOT = Path(__file__).parents[3]


def pair() -> dict[str, bytes]:
    ramp = np.linspace(20, 220, 32 * 32).reshape(32, 32).astype(np.uint8)
    return {
        "visible": codecs.encode_png(np.dstack([ramp] * 3)),
        "infrared": codecs.encode_png(ramp),
    }


def readiness(client: httpx.Client, wanted: int) -> httpx.Response:
    limit = time.monotonic() + 20
    while (answer := client.get("/readyz")).status_code != wanted:
        assert time.monotonic() < limit, answer.text
        time.sleep(0.02)
    return answer


class Worn:
    """A runtime that is off by some levels, or breaks after some runs."""

    name = "worn"

    def __init__(self, runtime: Runtime, levels: int = 0, runs: int = 1000) -> None:
        self.manifest: Manifest = runtime.manifest
        self.outputs: tuple[str, ...] = runtime.outputs
        self.default_tint: float | None = runtime.default_tint
        self.runtime = runtime
        self.levels = levels
        self.runs = runs

    def run(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        *,
        tint: NDArray[np.float32] | None = None,
        confidence: bool = False,
    ) -> tuple[NDArray[np.uint8], ...]:
        self.runs -= 1
        if self.runs < 0:
            raise RuntimeError("the device is lost")
        fused, *others = self.runtime.run(visible, infrared, tint=tint, confidence=confidence)
        off = np.clip(fused.astype(np.int16) + self.levels, 0, 255).astype(np.uint8)
        return off, *others

    def trim(self) -> None:
        self.runtime.trim()

    def close(self) -> None:
        self.runtime.close()


@pytest.mark.parametrize(("levels", "wanted"), [(1, 200), (10, 503)])
def test_a_network_far_from_its_reference_never_becomes_ready(
    serve: Any,
    stand_in_weights: Path,
    levels: int,
    wanted: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtime = Worn(open_runtime(stand_in_weights, threads=1), levels)
    reference = open_runtime(stand_in_weights, threads=1)
    with serve(Settings(weights=stand_in_weights), runtime, None, reference) as client:
        if wanted == 503:
            limit = time.monotonic() + 20
            while "did not come out right" not in client.get("/readyz").text:
                assert time.monotonic() < limit
                time.sleep(0.02)
        readiness(client, wanted)
    assert not [record for record in caplog.records if record.name == "service.app"]  # no fault


def test_a_network_that_breaks_is_taken_out_of_ready(serve: Any, stand_in_weights: Path) -> None:
    runtime = Worn(open_runtime(stand_in_weights, threads=1), runs=2)
    with serve(Settings(weights=stand_in_weights), runtime) as client:
        readiness(client, 200)
        assert client.post("/fuse-segment", files=pair()).status_code == 200
        assert client.post("/fuse-segment", files=pair()).json()["kind"] == "engine_failed"
        told = readiness(client, 503).json()
        assert told["kind"] == "not_ready"
        assert "device is lost" not in json.dumps(told)


def test_a_failure_on_a_socket_is_in_the_log_too(
    serve: Any, stand_in_weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = Worn(open_runtime(stand_in_weights, threads=1), runs=1)
    with serve(Settings(weights=stand_in_weights), runtime) as client:
        readiness(client, 200)
        url = str(client.base_url).replace("http", "ws").rstrip("/")
        with connect(f"{url}/stream", additional_headers={"X-Request-ID": "drive-7"}) as socket:
            assert socket.response and socket.response.headers["x-request-id"] == "drive-7"
            socket.send(pack(pair()["visible"], pair()["infrared"]))
            told = RawAnswer.from_bytes(bytes(socket.recv(20, decode=False)))
        assert (told.status, json.loads(told.report)["request_id"]) == (500, "drive-7-0")
    [record] = [record for record in caplog.records if record.name == "service.api.websocket"]
    assert "drive-7-0" in record.getMessage() and record.exc_info


def test_counters_name_outcomes_and_take_no_label_from_a_client(client: httpx.Client) -> None:
    for number in range(3):
        client.post("/fuse-segment", files=pair(), params={"stream": f"rig-{number}"})
        client.get(f"/{number}/secret")
        client.post("/fuse-segment", files=pair() | {"visible": b"junk"})
    text = client.get("/metrics").text
    assert "rig-1" not in text
    assert "secret" not in text
    for line in (
        'segmif_requests_total{outcome="ok",route="/fuse-segment"}',
        'segmif_requests_total{outcome="unsupported_type",route="/fuse-segment"}',
        'segmif_requests_total{outcome="http",route="none"}',
        *(
            f'segmif_stage_seconds_count{{stage="{stage}"}}'
            for stage in ("receive", "decode", "align", "queue", "infer", "encode")
        ),
        "segmif_batch_pairs_count",
        "segmif_pending 0.0",
        "segmif_ready 1.0",
        "segmif_engine_info{",
    ):
        assert line in text


class FakeNvml(ModuleType):
    """NVML with one GPU that does not measure its power."""

    NVMLError = RuntimeError

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlInit": None,
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "gpu",
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=3, total=8),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=40),
        }

        def ask(*_: object) -> Any:
            if name not in answers:
                raise RuntimeError(f"{name} is not supported")
            return answers[name]

        return ask


def test_sensors_are_told_as_far_as_they_answer(
    serve: Any, stand_in_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "thermal/thermal_zone0/type": "cpu-thermal",
        "thermal/thermal_zone0/temp": "48500",
        "thermal/thermal_zone1/type": "off",  # has no temperature
        "hwmon/hwmon3/name": "ina3221",
        "hwmon/hwmon3/in1_label": "VDD_IN",
        "hwmon/hwmon3/in1_input": "5000",
        "hwmon/hwmon3/curr1_input": "2200",
        "hwmon/hwmon3/in7_label": "sum of shunt voltages",
        "hwmon/hwmon4/name": "fan",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(hardware, "SYSFS", tmp_path)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("pynvml"))
    settings = Settings(weights=stand_in_weights)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        lines = client.get("/metrics").text.splitlines()
    found = {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if "sensor=" in line}
    assert found == {
        'segmif_temperature_celsius{sensor="cpu-thermal"}': 48.5,
        'segmif_temperature_celsius{sensor="gpu0"}': 61,
        'segmif_power_watts{sensor="VDD_IN"}': 11,
        'segmif_gpu_memory_used_bytes{sensor="gpu0"}': 3,
        'segmif_gpu_memory_bytes{sensor="gpu0"}': 8,
        'segmif_gpu_busy_ratio{sensor="gpu0"}': 0.4,
    }


def test_log_lines_are_json_with_the_request_they_belong_to(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--log", "json"]
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            [*command, "--weights", str(stand_in_weights)], cwd=ROOT, stderr=sink
        ) as process,
    ):
        try:
            address = wait_for(log, "message", "answers at").split("answers at ")[1].split()[0]
            with httpx.Client(base_url=address, timeout=20) as client:
                readiness(client, 200)
                client.post("/fuse-segment", files=pair(), headers={"X-Request-ID": "frame-17"})
            told = json.loads(wait_for(log, "request_id", "frame-17", whole=True))
        finally:
            process.terminate()
    assert told["logger"] == "service.access"
    assert told["route"] == "/fuse-segment"
    assert (told["status"], told["outcome"]) == (200, "ok")
    assert told["ms"] > 0


def wait_for(log: Path, name: str, words: str, whole: bool = False) -> str:
    """The field of the first line that has these words in it, or the whole line."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        for line in log.read_text().splitlines():
            value = str(json.loads(line).get(name, "")) if line.endswith("}") else ""
            if words in value:
                return line if whole else value
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def test_spans_continue_the_clients_trace(serve: Any, stand_in_weights: Path) -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    trace.set_tracer_provider(provider)
    settings = Settings(weights=stand_in_weights)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        assert client.post("/fuse-segment", files=pair(), headers=headers).status_code == 200
        url = str(client.base_url).replace("http", "ws").rstrip("/")
        headers = {"traceparent": f"00-{trace_id[::-1]}-00f067aa0ba902b7-01"}
        with connect(f"{url}/stream", additional_headers=headers) as socket:
            socket.send(pack(pair()["visible"], pair()["infrared"]))
            socket.recv(20)
    stages = {"receive", "decode", "align", "queue", "infer", "encode"}
    found: Any = {
        span.name: span
        for span in exported.get_finished_spans()
        if span.context and f"{span.context.trace_id:032x}" == trace_id
    }
    whole = found["POST /fuse-segment"]
    assert f"{whole.parent.span_id:016x}" == "00f067aa0ba902b7"
    for stage in stages:
        span = found[stage]
        assert span.parent.span_id == whole.context.span_id
        assert whole.start_time <= span.end_time <= whole.end_time
    on_socket = [
        span.name
        for span in exported.get_finished_spans()
        if span.context and f"{span.context.trace_id:032x}" == trace_id[::-1]
    ]
    assert stages <= set(on_socket)
