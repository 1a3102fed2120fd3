"""A candidate network beside the one in service: it sees pairs, is compared, and never answers."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from segmif.imaging import codecs
from segmif.manifest import Manifest, sha256
from segmif.runtime import open_runtime
from service.__main__ import main
from service.live.rig_settings import LiveSettings, RigSettings
from service.live.sinks.open_sinks import parse_sink
from service.scheduler import shadow as shadow_phase
from service.scheduler.model_loading import Candidate
from service.settings import Settings
from tests.conftest import HOT, stand_in_model
from tests.service.api.test_fuse_segment import Held
from tests.service.conftest import Serve, free_port, wait_until_ready
from tests.service.server.test_service import ROOT, post_pair

LESS_HOT = 100


@pytest.fixture
def candidate(stand_in_weights: Path, tmp_path: Path) -> Path:
    """The stand-in, which takes more for a person."""
    path = tmp_path / "candidate.onnx"
    onnx.save(stand_in_model(hot=LESS_HOT), path)
    replace(Manifest.read(stand_in_weights), sha256=sha256(path)).write(path)
    return path


@dataclass(frozen=True)
class Service:
    """As its user starts it, with all that it is told in a file."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    settings: Path

    @property
    def flags(self) -> tuple[object, ...]:
        """By which a command changes and reloads it."""
        server = "--server", self.client.base_url
        return "--config", self.settings, "--pid", self.process.pid, *server


@pytest.fixture(scope="module")
def service(stand_in_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests, each of which ends without a candidate."""
    settings = tmp_path_factory.mktemp("service") / "settings.toml"
    stated = f'# of the rig at the gate\nweights = "{stand_in_weights}"\nmax_pending = 8\n'
    settings.write_text(stated)
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    with (
        subprocess.Popen([*command, "--config", str(settings)], cwd=ROOT) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        try:
            wait_until_ready(client)
            yield Service(process, client, settings)
        finally:
            process.kill()


def shadow(*words: object) -> int:
    return main(["shadow", *map(str, words)], "segmif")


def wait_for(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.02)


def compared(client: httpx.Client) -> int:
    return int(client.get("/shadow").json()["pairs"]["compared"])


def test_a_bad_candidate_is_refused_in_words_and_the_service_goes_on(
    service: Service, candidate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, manifest = service.client, Manifest.read(candidate)
    other = {"name": "mine", "names": ["nothing", "robot"], "palette": [[0, 0, 0], [9, 9, 9]]}
    replace(manifest, taxonomy=other).write(candidate)
    assert shadow("start", candidate, *service.flags) == 1
    assert "has the classes nothing, robot" in capsys.readouterr().err

    candidate.write_bytes(b"damaged")
    replace(manifest, sha256=sha256(candidate)).write(candidate)
    assert shadow("start", candidate, *service.flags) == 1
    assert "cannot load candidate.onnx" in capsys.readouterr().err
    assert client.get("/shadow").json()["state"] == "refused"
    post_pair(client)
    assert shadow("drop", *service.flags) == 0
    assert client.get("/shadow").json()["state"] == "off"
    assert shadow("promote", *service.flags) == 1
    assert "names no candidate" in capsys.readouterr().err


def test_a_candidate_is_tried_and_promoted_by_commands_alone(
    service: Service, candidate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = service.client
    assert client.get("/shadow").json()["state"] == "off"
    assert shadow("start", candidate, "--share", 1, *service.flags) == 0
    answer = post_pair(client)
    wait_for(lambda: compared(client) == 1)

    found = client.get("/shadow").json()
    infrared = infrared_of_sample(client)
    more = float(((infrared > LESS_HOT) & (infrared <= HOT)).mean())
    assert found["differing_share"] == pytest.approx(more, abs=1e-6) and more > 0.01
    change = {"serving": "unlabelled", "candidate": "person", "share": round(more, 6)}
    assert found["changes"] == [change]
    assert found["largest"][0]["request_id"] == answer.headers["x-request-id"]
    assert found["candidate_ms"]["worst"] > 0
    assert 'segmif_shadow_pairs_total{outcome="compared"} 1.0' in client.get("/metrics").text
    assert shadow("report", "--server", client.base_url) == 0
    assert "unlabelled became person" in capsys.readouterr().out

    service.process.send_signal(signal.SIGHUP)  # for another reason: what was found stays
    wait_for(lambda: client.get("/shadow").json()["reloads"] == found["reloads"] + 1)
    assert compared(client) == 1

    assert shadow("promote", *service.flags) == 0
    assert sha256(candidate) in client.get("/metrics").text
    assert client.get("/shadow").json()["state"] == "off"
    kept = service.settings.read_text()
    assert "# of the rig at the gate" in kept and "max_pending = 8" in kept
    assert str(candidate) in kept and "shadow" not in kept


def infrared_of_sample(client: httpx.Client) -> NDArray[np.uint8]:
    sample = client.get("/samples").json()[0]
    pixels = codecs.decode_infrared(client.get(sample["infrared"]).content)
    assert pixels.dtype == np.uint8
    return pixels.astype(np.uint8)


def test_a_slow_candidate_keeps_no_answer_waiting(
    stand_in_weights: Path, candidate: Path, serve: Serve
) -> None:
    held = Held(open_runtime(candidate, threads=1))
    held.go.set()
    with serve(
        Settings(weights=stand_in_weights),
        open_runtime(stand_in_weights, threads=1),
        candidate=Candidate(1.0, held),
    ) as client:
        wait_for(lambda: client.get("/shadow").json()["state"] == "comparing")
        held.go.clear()
        for _ in range(4):
            post_pair(client)
        held.go.set()
        wait_for(lambda: compared(client) == 2)  # the first and the newest
        assert client.get("/shadow").json()["pairs"] == {"compared": 2, "dropped": 2, "failed": 0}


def test_pairs_with_a_large_difference_are_collected(
    stand_in_weights: Path,
    candidate: Path,
    tmp_path: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadow_phase, "LOWEST", 0)  # a busy machine gives it nothing else
    out, frames = tmp_path / "kept", "synthetic:96x64@5"
    rig = RigSettings(
        name="gate", visible=frames, infrared=frames, sinks=(parse_sink(f"collect:{out}"),)
    )
    with serve(
        Settings(weights=stand_in_weights),
        open_runtime(stand_in_weights, threads=1),
        candidate=Candidate(1.0, open_runtime(candidate, threads=1)),
        rigs=LiveSettings(rigs=(rig,)),
    ) as client:
        wait_for(lambda: any("differs" in path.read_text() for path in reports(out)))
        found = client.get("/shadow").json()
    assert re.fullmatch(r"gate-\d+", found["largest"][0]["request_id"])
    read = [json.loads(path.read_text()) for path in reports(out)]
    kept = [report for report in read if report["reasons"] == ["differs"]]
    assert all(0.01 < report["differing_share"] <= 1 for report in kept)
    assert all((out / "visible" / f"{path.stem}.png").is_file() for path in reports(out))


def reports(out: Path) -> list[Path]:
    return sorted((out / "report").glob("*.json"))
