"""The entry points beside the main one, and the service as its user starts it: without torch."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import tomli
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from segmif.classes import MFNET
from segmif.client import pack
from segmif.imaging import codecs
from segmif.manifest import Manifest, sha256
from segmif.wire.binary_pair import RawAnswer
from service.__main__ import main
from service.api.pages import WEB
from service.server.reload import AT_START_ONLY
from service.settings import DEFAULT_WEIGHTS, Settings
from tests.conftest import stand_in_model
from tests.service.conftest import free_port, wait_until_ready

ROOT = Path(__file__).parents[3]
START_WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
runpy.run_module("service", run_name="__main__", alter_sys=True)
"""


def test_classes_are_those_of_the_weights(client: httpx.Client) -> None:
    told = client.get("/classes").json()
    assert told["taxonomy"] == "mfnet"
    assert [entry["name"] for entry in told["classes"]] == list(MFNET.names)
    assert [tuple(entry["color"]) for entry in told["classes"]] == list(MFNET.palette)


def test_every_shipped_sample_can_be_fetched_and_fused(client: httpx.Client) -> None:
    samples = client.get("/samples").json()
    assert {sample["name"] for sample in samples} >= {"day", "night", "glare"}
    for sample in samples:
        files = {part: client.get(sample[part]).content for part in ("visible", "infrared")}
        assert client.post("/fuse-segment", files=files).status_code == 200


def test_the_pages_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    for page in ("/", "/docs"):
        answer = client.get(page)
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        links = re.findall(r'(?:src|href)="(web/[^"]+)"', answer.text)
        assert len(links) >= 2
        assert all(client.get(link).status_code == 200 for link in links)
    for path in WEB.glob("*.*"):
        assert not re.search(r"https?://", path.read_text()), path.name


def test_openapi_names_the_errors_and_forms_of_the_main_door(client: httpx.Client) -> None:
    answers = client.get("/openapi.json").json()["paths"]["/fuse-segment"]["post"]["responses"]
    assert set(answers["200"]["content"]) == {
        "multipart/mixed",
        "image/png",
        "image/jpeg",
        "image/webp",
        "application/octet-stream",
        "application/json",
    }
    for status in ("406", "413", "415", "422", "500", "503"):
        assert set(answers[status]["content"]) == {"application/problem+json"}


def test_unknown_paths_are_problems_too(client: httpx.Client) -> None:
    for answer in (
        client.get("/nothing"),
        client.get("/fuse-segment"),
        client.get("/samples/x.png"),
        client.get("/samples/%00.png"),
        client.get("/web/%00"),
        client.get("/web/" + "x" * 5000),
    ):
        assert answer.status_code in (404, 405)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


def test_an_unsafe_request_id_is_replaced(client: httpx.Client) -> None:
    answer = client.get("/livez", headers={"X-Request-ID": 'a b"c'})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


@contextmanager
def started(
    weights: Path, port: int | None = None, *flags: str, trusting: ssl.SSLContext | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Run the service as its user does, without torch, until it is ready."""
    port = port or free_port()
    command = [sys.executable, "-c", START_WITHOUT_TORCH, "serve", "--port", str(port)]
    command += ["--weights", str(weights), "--threads", "1", *flags]
    url = f"http{'s' if trusting else ''}://127.0.0.1:{port}"
    with (
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"SEGMIF_SHARED_MEMORY": "1"}
        ) as process,
        httpx.Client(base_url=url, timeout=20, verify=trusting or True) as client,
    ):
        try:
            wait_until_ready(client)
            yield process, client
        finally:
            process.kill()


def post_pair(client: httpx.Client) -> httpx.Response:
    sample = client.get("/samples").json()[0]
    files = {part: client.get(sample[part]).content for part in ("visible", "infrared")}
    return client.post("/fuse-segment", files=files).raise_for_status()


def test_it_serves_without_torch_and_stops_when_told(stand_in_weights: Path) -> None:
    with started(stand_in_weights) as (process, client):
        assert post_pair(client).headers["content-type"].startswith("multipart/mixed")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)


def post_all(posters: ThreadPoolExecutor, client: httpx.Client) -> list[Future[httpx.Response]]:
    """Have twelve large pairs posted at once; returns when all are accepted, some unanswered."""
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1500, 3)).astype(np.uint8)
    files = {
        "visible": codecs.encode_png(noise),
        "infrared": codecs.encode_png(np.ascontiguousarray(noise[..., 0])),
    }
    answers = [
        posters.submit(httpx.post, f"{client.base_url}/fuse-segment", files=files, timeout=60)
        for _ in range(12)
    ]
    while (pending := counted(client, "segmif_pending")) + counted(client, OK) < len(answers):
        time.sleep(0.01)
    assert pending > 0
    return answers


def test_what_was_accepted_before_sigterm_is_answered(stand_in_weights: Path) -> None:
    with started(stand_in_weights) as (process, client), ThreadPoolExecutor(12) as posters:
        answers = post_all(posters, client)
        process.send_signal(signal.SIGTERM)
        assert {answer.result().status_code for answer in answers} == {200}
        assert process.wait(10) in (0, -signal.SIGTERM)


def test_what_a_socket_gave_before_sigterm_is_answered(stand_in_weights: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1500, 3)).astype(np.uint8)
    with started(stand_in_weights) as (process, client):
        url = str(client.base_url).replace("http", "ws").rstrip("/")
        with connect(f"{url}/stream?live=false&picture=png", max_size=None) as given:
            for _ in range(4):
                given.send(pack(noise, np.ascontiguousarray(noise[..., 0])))
            wait_for(lambda: counted(client, "segmif_pending") == 4)
            process.send_signal(signal.SIGTERM)
            answers = [RawAnswer.from_bytes(bytes(given.recv(20))) for _ in range(4)]  # type: ignore[arg-type]
            assert [(told.sequence, told.status) for told in answers] == [
                (n, 200) for n in range(4)
            ]
            with pytest.raises(ConnectionClosed, match=r"1012.*pairs taken: 4"):
                given.recv(20)
        assert process.wait(10) in (0, -signal.SIGTERM)


HANG = """
import time
from segmif.runtime import onnxruntime_
onnxruntime_.OnnxNetwork.run = lambda *pair, **asked: time.sleep(1000)
"""


FAIL_THEN_HANG = """
import time
from segmif.runtime import onnxruntime_
usual, calls = onnxruntime_.OnnxNetwork.run, []
def run(*pair, **asked):
    calls.append(pair)
    if len(calls) == 2:
        raise RuntimeError("once")
    return time.sleep(1000) if len(calls) > 2 else usual(*pair, **asked)
onnxruntime_.OnnxNetwork.run = run
"""


def test_a_network_that_hangs_after_it_has_failed_ends_the_service(stand_in_weights: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", FAIL_THEN_HANG + START_WITHOUT_TORCH]
    command += ["serve", "--port", str(port), "--weights", str(stand_in_weights)]
    told = os.environ | {"SEGMIF_DRAIN_S": "1", "SEGMIF_SELF_TEST_S": "3"}
    with (
        subprocess.Popen(command, cwd=ROOT, env=told) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        try:
            wait_until_ready(client)
            with pytest.raises(httpx.HTTPStatusError, match="500"):
                post_pair(client)
            assert process.wait(30) == 1
        finally:
            process.kill()


def test_a_network_that_hangs_does_not_keep_the_process(stand_in_weights: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", HANG + START_WITHOUT_TORCH, "serve", "--port", str(port)]
    with (
        subprocess.Popen(
            [*command, "--weights", str(stand_in_weights)],
            cwd=ROOT,
            env=os.environ | {"SEGMIF_DRAIN_S": "1"},
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        try:
            wait_for(lambda: alive(client))
            assert client.get("/readyz").status_code == 503
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 1
        finally:
            process.kill()


def alive(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/livez").is_success
    return False


def test_killed_under_load_it_starts_again_and_leaves_nothing_behind(
    stand_in_weights: Path,
) -> None:
    port, folder = free_port(), stand_in_weights.parent
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with ThreadPoolExecutor(12) as posters:
        with started(stand_in_weights, port) as (process, client):
            region = Path("/dev/shm") / client.post("/shared-memory?bytes=1000").json()["name"]
            assert region.exists()
            answers = post_all(posters, client)
            process.kill()
        ends = [answer.exception() or answer.result() for answer in answers]
    lost = [end for end in ends if isinstance(end, httpx.TransportError)]
    whole = [end for end in ends if isinstance(end, httpx.Response)]
    assert lost  # half an answer is no answer
    assert {end.status_code for end in whole} <= {200}
    with started(stand_in_weights, port) as (process, client):
        assert len(post_pair(client).content) > 1000
        limit = time.monotonic() + 20
        while region.exists():  # Python's tracker of shared memory frees what a dead process made
            assert time.monotonic() < limit, region
            time.sleep(0.05)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def engine_of(client: httpx.Client) -> str:
    """The line of the metrics that tells which network answers."""
    text = client.get("/metrics", headers={"Authorization": "Bearer new"}).text
    return next(line for line in text.splitlines() if line.startswith("segmif_engine_info"))


def test_sighup_renews_network_and_settings_without_a_request_lost(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    weights, config = tmp_path / "w.onnx", tmp_path / "config.toml"
    weights.write_bytes(stand_in_weights.read_bytes())
    manifest = Manifest.read(stand_in_weights)
    manifest.write(weights)
    config.write_text("max_pending = 16")
    flags = ("--config", str(config))
    with started(weights, None, *flags) as (process, client), ThreadPoolExecutor(12) as posters:
        last = engine_of(client)
        answers = post_all(posters, client)
        onnx.save(stand_in_model(hot=100), weights)
        replace(manifest, sha256=sha256(weights)).write(weights)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: engine_of(client) != last)
        assert {answer.result().status_code for answer in answers} == {200}

        last = engine_of(client)
        weights.write_bytes(b"no network")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        post_pair(client)
        assert engine_of(client) == last

        onnx.save(stand_in_model(hot=100), weights)
        config.write_text('token = "new"\nhand_out_pairs = true')
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: client.get("/classes").status_code == 401)
        client.headers["Authorization"] = "Bearer new"
        assert client.get("/classes").is_success
        assert client.get("/streams/rig/pair").json()["kind"] == "no_pair"


HANG_UP_WHILE_STARTING = """
import runpy, signal, sys, time

def hang_up(event, arguments):
    global moment
    if moment in (event, *map(str, arguments)):
        moment = None
        signal.raise_signal(signal.SIGHUP)

def open_rig(*arguments):
    if moment == "open_rig":
        hang_up(moment, ())
        time.sleep(4)  # so that the reload comes to the rigs before this one is open
    return opened(*arguments)

moment = sys.argv.pop(1)
if moment == "open_rig":
    from service.live import rigs
    opened, rigs.open_rig = rigs.open_rig, open_rig
sys.addaudithook(hang_up)
runpy.run_module("service", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("command", "moment"),
    [
        ("serve", "fastapi"),  # which is imported
        ("serve", "socket.bind"),  # the network is loaded
        ("run", "fastapi"),
        ("run", "open_rig"),
    ],
)
def test_sighup_before_the_service_is_ready_reloads_it_then(
    stand_in_weights: Path, tmp_path: Path, command: str, moment: str
) -> None:
    """systemd and operators may reload early."""
    port, log = free_port(), tmp_path / "log"
    words = [command, "--port", str(port), "--weights", str(stand_in_weights), "--threads", "1"]
    if command == "run":
        words += ["--visible", "synthetic:96x64@20", "--infrared", "synthetic:96x64@20"]
        words += ["--out", str(tmp_path / "lines.jsonl")]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", HANG_UP_WHILE_STARTING, moment, *words], cwd=ROOT, stderr=errors
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        try:
            wait_for(lambda: process.poll() is not None or "renewed; weights" in log.read_text())
            assert process.poll() is None, log.read_text()
            wait_until_ready(client)
            wait_for(lambda: command == "serve" or any(tmp_path.glob("*.jsonl")))
        finally:
            process.terminate()
            process.wait(20)
    assert "cannot be read" not in log.read_text()  # as a rig that is opened twice


def issue(key: Path, certificate: Path) -> ssl.SSLContext:
    """Write a new certificate; gives what trusts no other."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(certificate)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return trusting


def test_sighup_renews_the_certificate(stand_in_weights: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    first = issue(key, certificate)
    with started(stand_in_weights, None, *flags, trusting=first) as (process, client):

        def accepted_by(trusting: ssl.SSLContext) -> bool:
            with suppress(httpx.ConnectError):
                return httpx.get(f"{client.base_url}/livez", verify=trusting).is_success
            return False

        second = issue(key, certificate)
        assert not accepted_by(second)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: accepted_by(second))
        assert client.get("/livez").is_success  # on the connection of before
        key.write_text("no key")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert accepted_by(second) and not accepted_by(first)


def test_sighup_renews_the_limits_of_connections(stand_in_weights: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("head_timeout_s = 60")
    flags = ("--config", str(config))
    with started(stand_in_weights, None, *flags) as (process, client):
        address = (client.base_url.host, client.base_url.port or 0)
        config.write_text('head_timeout_s = 0.2\nmax_body_bytes = 999\ntoken = "new"')
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: client.get("/classes").status_code == 401)
        with socket.create_connection(address, timeout=20) as slow:
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        with connect(
            str(client.base_url).replace("http", "ws").rstrip("/") + "/stream",
            additional_headers={"Authorization": "Bearer new"},
        ) as stream:
            stream.send(bytes(1000))
            with pytest.raises(ConnectionClosed, match="1009"):
                stream.recv(20)


def test_what_takes_a_restart_is_documented() -> None:
    text = (ROOT / "docs" / "guides" / "operate.md").read_text()
    told = text.partition("**SIGHUP**")[2].partition("\n- **")[0]
    assert re.findall(r"`(\w+)`", told) == list(AT_START_ONLY)
    assert set(AT_START_ONLY) <= Settings.model_fields.keys()


def test_within_a_bound_on_memory_large_pairs_are_put_off_and_others_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEGMIF_MEMORY_MIB", "700")
    headers = {"Content-Type": "application/octet-stream"}
    stripes = np.tile(np.arange(2000, dtype=np.uint8), (1900, 1))

    def post(size: int) -> tuple[int, str | None]:
        frame = stripes[:size, :size]
        body = pack(np.dstack([frame] * 3), frame)
        answer = client.post("/fuse-segment", content=body, headers=headers, timeout=60)
        return answer.status_code, answer.headers.get("Retry-After")

    with started(DEFAULT_WEIGHTS) as (_, client), ThreadPoolExecutor(6) as posters:
        answers = list(posters.map(post, [1900, 64] * 6))
        assert set(answers[::2]) == {(503, "1")}
        assert set(answers[1::2]) <= {(200, None), (503, "1")}
        assert post(64) == (200, None)
        assert client.get("/metrics").status_code == client.get("/readyz").status_code == 200


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_flags_go_before_the_environment_and_that_before_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, printed = tmp_path / "config.toml", tmp_path / "printed.toml"
    file.write_text('port = 1\nmax_batch = 2\ndepth_m = 3\ntoken = "secret"\ngain = "clahe"')
    monkeypatch.setenv("SEGMIF_MAX_BATCH", "4")
    monkeypatch.setenv("SEGMIF_PORT", "5")
    assert main(["serve", "--config", str(file), "--port", "6", "--print-config"]) == 0
    text = capsys.readouterr().out
    told = tomli.loads(text)
    assert [told[n] for n in ("port", "max_batch", "depth_m", "gain")] == [6, 4, 3.0, "clahe"]
    assert "secret" not in text
    printed.write_text(text)
    monkeypatch.delenv("SEGMIF_MAX_BATCH")
    monkeypatch.delenv("SEGMIF_PORT")
    assert main(["serve", "--config", str(printed), "--print-config"]) == 0
    assert tomli.loads(capsys.readouterr().out) == told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_pendng = 3", "max_pendng is no setting; is max_pending meant?"),
        ("port = 99999", "port: Input should be less than or equal to 65535"),
        ("port", "is not TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    assert main(["serve", "--config", str(file)]) == 2
    assert said in capsys.readouterr().err


OK = 'segmif_requests_total{outcome="ok",route="/fuse-segment"}'


def counted(client: httpx.Client, metric: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(metric + " "))


def test_weights_that_are_not_there_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--weights", str(tmp_path / "no.onnx")]) == 2
    assert "no.onnx does not exist" in capsys.readouterr().err
