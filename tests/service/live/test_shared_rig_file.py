"""A rig file that several rigs read is moved by hand: all go on with it, their sinks as well."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI

from segmif.geometry.rig import Rig, read_rig
from segmif.runtime import open_runtime
from service.app import create_app
from service.live.rig_settings import LiveSettings, RigSettings
from service.live.sinks.open_sinks import parse_sink
from service.pipeline.align import RigAligner
from service.settings import Settings
from tests.service.live.test_ros_topics import K, read_bag, rig_file

CAMERA, NAMES = "synthetic:96x64@5", ("gate", "yard", "door")
RIGHT_PX = 9


async def wait_for_pairs(app: FastAPI, sha256: str) -> None:
    """Until the newest pair of each rig was aligned by the rig file with this SHA-256."""
    with anyio.fail_after(60):
        for name in NAMES:
            while not aligned_by(app, name, sha256):  # noqa: ASYNC110  a rig tells nobody
                await anyio.sleep(0.05)


def aligned_by(app: FastAPI, name: str, sha256: str) -> bool:
    rig = app.state.rigs.get(name)
    last = rig.last if rig else None
    return bool(last and last.report["rig"]["sha256"] == sha256)


def turns(found: dict[str, list[Any]]) -> list[float]:
    """Degrees by which the published transforms turn the infrared camera."""
    turned = [each.transforms[0].transform.rotation for each in found["/tf_static"]]
    return [math.degrees(2 * math.atan2(one.y, one.w)) for one in turned]


@pytest.mark.anyio
async def test_all_who_read_a_rig_file_go_on_with_the_new_one(
    stand_in_weights: Path, tmp_path: Path, fake_ros: Callable[..., Any]
) -> None:
    rclpy = fake_ros(records=str(tmp_path / "ros"))
    path = rig_file(tmp_path)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    stated: dict[str, Any] = {"visible": CAMERA, "infrared": CAMERA, "alone_after_s": 0}
    rigs = (
        RigSettings(name="gate", rig=path, **stated),
        RigSettings(
            name="yard",
            rig=link,
            depth_m=20,
            sinks=(parse_sink("ros2:"), parse_sink(f"{tmp_path}/yard.mcap")),
            **stated,
        ),
        RigSettings(name="door", sinks=(parse_sink(f"{tmp_path}/door.mcap"),), **stated),
    )
    settings = Settings(weights=stand_in_weights, decode_processes=0, memory=False, save_rig=True)
    app = create_app(
        settings,
        open_runtime(stand_in_weights, threads=1),
        RigAligner(path, math.inf),
        rigs=LiveSettings(rigs=rigs),
    )
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        await wait_for_pairs(app, hashlib.sha256(path.read_bytes()).hexdigest())
        answer = await client.post(f"/live/gate/nudge?right={RIGHT_PX}")
        assert answer.is_success, answer.text
        await wait_for_pairs(app, answer.json()["sha256"])
        still = await client.post("/live/gate/nudge")
        assert still.status_code == 422 and "how many pixels" in still.text
        again = await client.post("/live/yard/nudge?down=1")  # it is no stranger's file
        assert again.is_success, again.text
        await wait_for_pairs(app, again.json()["sha256"])
    rclpy.network.finish()
    rig = read_rig(path)
    assert link.is_symlink() and isinstance(rig, Rig)
    assert rig.source.endswith("moved by hand by 9 px to the right and 1 px down")
    assert rig.source.count("moved by hand") == 1
    moved = -2 + math.degrees(math.atan2(RIGHT_PX, K[0, 0]))
    for recording in ("ros", "yard.mcap", "door.mcap"):
        found, _ = read_bag(tmp_path / recording)
        before, *_, after = turns(found)
        assert (before, after) == pytest.approx((-2, moved), abs=0.1)
