"""A rig with one camera lost goes on with the other one, says so, and takes it back."""

import itertools
import json
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from segmif.imaging.codecs import encode_jpeg
from segmif.runtime import Runtime
from segmif.sources.frame import Part, SourceFrame
from segmif.thermal.gain_control import GainRule
from service.live.events.view import View
from service.live.live_result import LiveResult
from service.live.lost_camera import LostCamera
from service.live.pair_queue import LivePair, PairQueue
from service.pipeline.decode import Decoded
from service.pipeline.half_size import halved
from service.pipeline.infer import infer
from service.pipeline.objects import ObjectRules
from service.pipeline.pair_rules import PairRules
from service.pipeline.prepare import align_pair
from service.pipeline.result import Result
from service.pipeline.result_objects import with_objects
from service.pipeline.stage_times import StageTimes
from service.schemas.pair_options import PairOptions
from tests.conftest import HOT
from tests.segmif.sources.senders import RtspCamera, mjpeg_server
from tests.service.live.sinks.conftest import runtime  # noqa: F401  a fixture
from tests.service.live.test_run import ask, done, running, socket_url, wait_until

MS = 1_000_000
SYNTHETIC = "synthetic:64x48@25"
OTHER = {"visible": "infrared", "infrared": "visible"}


def state(client: httpx.Client) -> dict[str, Any]:
    (rig,) = client.get("/live").json()["rigs"]
    assert isinstance(rig, dict)
    return rig


def counts(client: httpx.Client, lost: str) -> tuple[int, int]:
    """Results of both cameras, and of the one that is left."""
    rig = state(client)
    alone: int = rig["flagged"].get(f"{lost}_missing", 0)
    return rig["pairs"].get("ok", 0) - alone, alone


@pytest.mark.parametrize("lost", ["visible", "infrared"])
def test_a_rig_goes_on_with_the_camera_that_is_left(
    lost: Part, stand_in_weights: Path, tmp_path: Path
) -> None:
    camera, left = RtspCamera("me", "x"), OTHER[lost]
    with camera.serving() as port:
        sources = {lost: f"rtsp://me:x@127.0.0.1:{port}/x", left: SYNTHETIC}
        flags = [word for part in OTHER for word in (f"--{part}", sources[part])]
        flags += ["--alone-after", "1", "--out", "pairs.jsonl", "--out", "pairs.mkv"]
        with running(stand_in_weights, tmp_path / "log", *flags) as (process, client):
            wait_until(lambda: done(client, "rig") > 5, process)
            camera.down.set()
            wait_until(lambda: counts(client, lost)[1] > 10, process)
            with connect(socket_url(client, "rig")) as socket:
                header, parts = ask(socket)
            metrics = client.get("/metrics").text
            before, _ = counts(client, lost)
            camera.down.clear()
            wait_until(lambda: counts(client, lost)[0] > before + 5, process)
    assert header["state"]["lone"] == left
    assert header["report"]["pair"]["sensors"] == [left]
    assert header["report"][lost] is None
    assert header[f"{lost}_ns"] is None
    assert {"visible", "infrared", "fused", "mask"} <= parts.keys()
    assert f'segmif_live_flagged_pairs_total{{flag="{lost}_missing",rig="rig"}}' in metrics
    log = (tmp_path / "log").read_text()
    assert f"{lost} gives nothing new; {left} goes on alone" in log
    assert "both cameras give pictures again" in log
    lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    alone = [line for line in lines if line[lost] is None]
    assert len(alone) > 10
    assert all(f"{lost}_missing" in line["report"]["pair"]["flags"] for line in alone)
    assert any(line[lost] for line in lines[lines.index(alone[0]) :])
    assert sorted(tmp_path.glob("pairs*.mkv")) == [tmp_path / "pairs.mkv"]
    with av.open(str(tmp_path / "pairs.mkv")) as container:
        times = [frame.time for frame in container.decode(video=0) if frame.time is not None]
    assert times == sorted(set(times))
    assert len(times) >= len(lines) - 1


@pytest.mark.parametrize(("after_s", "lone"), [("1", "visible"), ("0", None)])
def test_a_camera_that_repeats_one_picture_is_left_out_unless_that_is_turned_off(
    after_s: str, lone: str | None, stand_in_weights: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    with mjpeg_server(itertools.repeat(encode_jpeg(noise))) as address:
        flags = "--visible", SYNTHETIC, "--infrared", address, "--alone-after", after_s
        with running(stand_in_weights, tmp_path / "log", *flags) as (process, client):
            wait_until(lambda: done(client, "rig") > 60, process)
            rig = state(client)
    assert rig["lone"] == lone
    assert ("infrared_missing" in rig["flagged"]) == (lone is not None)
    assert rig["flagged"]["infrared_frozen"]


def frame(stamp_ms: int, level: int = 0) -> SourceFrame:
    return SourceFrame(np.full((4, 4), level, np.uint8), stamp_ms * MS)


@pytest.mark.anyio
async def test_stamps_rise_when_the_visible_camera_comes_back() -> None:
    now = [0.0]
    queue = PairQueue(0, 20 * MS, lost=LostCamera(1, ["visible", "infrared"], lambda: now[0]))
    pairs: list[LivePair] = []
    for at in range(60):  # the visible camera is away from 0.4 s to 3.2 s
        now[0], stamp = at / 10, 100 * at
        for part, there in (("infrared", True), ("visible", not 4 <= at < 32)):
            if there:
                late_ms = 200 if part == "visible" else 0
                queue.look(part, frame(stamp - late_ms, at))  # type: ignore[arg-type]
                await queue.put(part, frame(stamp - late_ms, at))  # type: ignore[arg-type]
        while queue._pairs:
            pairs.append(await queue.get())  # type: ignore[arg-type]
    lone = [pair.lone for pair in pairs]
    assert lone.count("infrared") == 19
    assert lone[-1] is None
    frames = [pair.visible or pair.infrared for pair in pairs]
    stamps = [each.stamp_ns for each in frames if each]
    assert stamps == sorted(set(stamps))
    counts = queue.unpaired, queue.counts
    assert sum(queue.unpaired.values()) > 0, counts
    assert queue.counts.alone == {"infrared": 19}
    for part in ("visible", "infrared"):
        await queue.end(part)  # type: ignore[arg-type]
    pairs_made = queue.counts.paired + queue.counts.late
    assert 32 - queue.unpaired["visible"] == pairs_made - 19  # each frame is in one count
    assert 60 - queue.unpaired["infrared"] == pairs_made


def test_infrared_alone_at_half_size_has_boxes_in_the_pixels_of_its_view(
    runtime: Runtime,  # noqa: F811
) -> None:
    heat = np.full((64, 96), 40, np.uint8)
    heat[16:48, 30:60] = HOT + 20
    times, options = StageTimes(), PairOptions(sensors="infrared")
    prepared = align_pair(Decoded(None, heat), PairRules(10**6), times, options)
    found = {}
    for name, each in {"whole": prepared, "half": halved(prepared)}.items():
        result = Result(
            infer(runtime, each.pair, times), each, runtime, GainRule(), times, name, None
        )
        found[name] = with_objects(result, ObjectRules(), None).objects
        assert View(LiveResult("rig", 0, None, None, result), {}).size == (64, 96)
    whole, half = (found[name].found[0] for name in ("whole", "half"))  # type: ignore[union-attr]
    assert half.box == pytest.approx(whole.box, abs=2)
    assert half.area == pytest.approx(whole.area, rel=0.1)
