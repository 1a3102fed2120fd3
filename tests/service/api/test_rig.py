"""A service that knows the rig: unaligned frames in, answers in the visible camera's own pixels."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import connect

from segmif.client import pack
from segmif.geometry.rig import Camera, Homography, Rig, write_rig
from segmif.imaging import codecs
from segmif.runtime import Runtime, open_runtime
from segmif.wire.binary_pair import RawAnswer
from service.__main__ import main
from service.pipeline.align import RigAligner
from service.settings import Settings
from tests.service.server.test_service import started

VISIBLE, INFRARED = (96, 64), (48, 32)  # width, height
BASELINE_M, FOCAL_PX = 0.1, 80.0
HOT, PERSON = 230, 2

Serving = Callable[..., AbstractContextManager[httpx.Client]]


def two_cameras() -> Rig:
    """Infrared half as large, 10 cm to the right, looking the same way."""
    cameras = []
    for (width, height), focal in ((VISIBLE, FOCAL_PX), (INFRARED, FOCAL_PX / 2)):
        K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        cameras.append(Camera(width, height, K, np.zeros(5)))
    T = np.eye(4)
    T[0, 3] = -BASELINE_M
    return Rig(cameras[0], cameras[1], T)


def half_size() -> Homography:
    """The same view in half the pixels."""
    return Homography(VISIBLE, INFRARED, np.diag([0.5, 0.5, 1.0]))


@pytest.fixture
def pair() -> dict[str, tuple[str, bytes]]:
    """Grey, with a hot square of 6 infrared pixels at (20, 10)."""
    visible = np.full((VISIBLE[1], VISIBLE[0], 3), 90, np.uint8)
    visible[::2] = 110
    infrared = np.full((INFRARED[1], INFRARED[0]), 60, np.uint8)
    infrared[10:16, 20:26] = HOT
    return {
        "visible": ("v.png", codecs.encode_png(visible)),
        "infrared": ("i.png", codecs.encode_png(infrared)),
    }


@pytest.fixture
def start(serve: Any, stand_in_weights: Path, tmp_path: Path) -> Serving:
    def serving(rig: Rig | Homography, depth_m: float = np.inf) -> Any:
        write_rig(tmp_path / "rig.yaml", rig)
        runtime: Runtime = open_runtime(stand_in_weights, threads=1)
        rig_aligner = RigAligner(tmp_path / "rig.yaml", depth_m)
        return serve(Settings(weights=stand_in_weights), runtime, rig_aligner)

    return serving


def answer(response: httpx.Response, folder: Path) -> tuple[NDArray[np.intp], dict[str, Any]]:
    """Columns (first, last) of the person in the mask, and the report."""
    assert response.status_code == 200, response.text
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    parts: Any = message_from_bytes(head + response.content).get_payload()
    _, mask, report = parts
    (folder / "mask.png").write_bytes(mask.get_payload(decode=True))
    labels = codecs.read_labels(folder / "mask.png")
    assert labels.shape == (VISIBLE[1], VISIBLE[0])
    columns = np.flatnonzero((labels == PERSON).any(axis=0))
    return columns[[0, -1]], json.loads(report.get_payload(decode=True))


def test_homography_places_infrared(start: Serving, pair: Any, tmp_path: Path) -> None:
    with start(half_size()) as client:
        columns, report = answer(client.post("/fuse-segment", files=pair), tmp_path)
    np.testing.assert_allclose(columns, (40, 51), atol=1)
    assert report["alignment"] == "rig"
    assert report["infrared"] == {"width": INFRARED[0], "height": INFRARED[1]}
    assert report["rig"]["covered"] > 0.95
    assert report["rig"]["near_parallax_px"] is None


def test_depth_moves_infrared_by_the_parallax(start: Serving, pair: Any, tmp_path: Path) -> None:
    near_m = 2.0
    with start(two_cameras()) as client:
        far, told = answer(client.post("/fuse-segment", files=pair), tmp_path)
        near, near_told = answer(
            client.post(f"/fuse-segment?depth_m={near_m}", files=pair), tmp_path
        )
    shift = FOCAL_PX * BASELINE_M / near_m
    np.testing.assert_allclose(near - far, shift, atol=1)
    assert told["rig"]["depth_m"] is None
    assert told["rig"]["far_parallax_px"] == 0
    assert near_told["rig"]["depth_m"] == near_m
    assert near_told["rig"]["far_parallax_px"] == pytest.approx(shift)


def test_a_socket_names_the_depth_once_for_all_its_pairs(
    start: Serving, pair: dict[str, tuple[str, bytes]]
) -> None:
    message = pack(pair["visible"][1], pair["infrared"][1])
    columns, depths_m = [], []
    with start(two_cameras()) as client:
        url = str(client.base_url).replace("http", "ws", 1)
        for query in ("", "&depth_m=2", "&depth_m=4"):
            with connect(f"{url}/stream?live=false{query}") as socket:
                for _ in range(2):
                    socket.send(message)
                    told = RawAnswer.from_bytes(cast(bytes, socket.recv(20)))
                    labels = np.frombuffer(told.labels, np.uint8).reshape(VISIBLE[1], VISIBLE[0])
                    columns.append(int(np.flatnonzero((labels == PERSON).any(axis=0))[0]))
                    depths_m.append(json.loads(told.report)["rig"]["depth_m"])
    assert depths_m == [None, None, 2, 2, 4, 4]
    shifts = [round(FOCAL_PX * BASELINE_M * near) for near in (0, 0, 1 / 2, 1 / 2, 1 / 4, 1 / 4)]
    np.testing.assert_allclose(np.array(columns) - columns[0], shifts, atol=1)


def test_frames_that_the_rig_does_not_know(start: Serving, pair: Any) -> None:
    swapped = {"visible": pair["visible"], "infrared": ("i.png", codecs.encode_png(grey(96, 64)))}
    with start(two_cameras()) as client:
        refused = client.post("/fuse-segment", files=swapped)
        nonsense = client.post("/fuse-segment?depth_m=-1", files=pair)
    assert refused.status_code == nonsense.status_code == 422
    assert "the infrared frame is 96x64, the rig was calibrated at 48x32" in refused.text
    assert "depth_m" in nonsense.json()["detail"]


def test_a_depth_at_which_nothing_is_seen_is_refused(
    start: Serving, pair: Any, tmp_path: Path
) -> None:
    with start(two_cameras()) as client:
        for depth_m in ("0.001", "1e-300", "5e-324"):
            refused = client.post(f"/fuse-segment?depth_m={depth_m}", files=pair)
            assert refused.status_code == 422
            assert "depth_m: the rig brings no picture into the visible" in refused.json()["detail"]
        as_far = client.post("/fuse-segment?depth_m=1e300", files=pair)
        columns, _ = answer(client.post("/fuse-segment", files=pair), tmp_path)
    np.testing.assert_array_equal(answer(as_far, tmp_path)[0], columns)


def test_a_rig_that_shows_nothing_never_serves(start: Serving) -> None:
    away = two_cameras().T_infrared_visible.copy()
    away[:3, :3] = np.diag([-1.0, 1.0, -1.0])  # the cameras look away from one another
    for rig, depth_m in (
        (replace(two_cameras(), T_infrared_visible=away), np.inf),
        (two_cameras(), 1e-3),
        (Homography(VISIBLE, INFRARED, np.diag([1e-4, 1e-4, 1.0])), np.inf),  # one pixel of it
        (Homography(VISIBLE, INFRARED, np.diag([1e4, 1e4, 1.0])), np.inf),
        (Homography(VISIBLE, INFRARED, np.array([[1.0, 0, 900], [0, 1, 0], [0, 0, 1]])), np.inf),
    ):
        with pytest.raises(ValueError, match="brings no picture into the visible view"):
            start(rig, depth_m)


def test_sighup_with_an_absurd_rig_changes_nothing(
    stand_in_weights: Path, tmp_path: Path, pair: Any
) -> None:
    path = tmp_path / "rig.yaml"
    write_rig(path, two_cameras())
    whole = path.read_text()
    absurd = (
        whole.replace("distortion: [0.0, 0.0", "distortion: [1.0e+300, 0.0", 1),
        whole.replace("[1.0, 0.0, 0.0, -0.1]", "[1.0, 0.0, 0.0, -1.0e+300]"),
        "a: &a 1\nb: *a\n",
    )
    with started(stand_in_weights, None, "--rig", str(path)) as (process, client):
        _, report = answer(client.post("/fuse-segment", files=pair), tmp_path)
        for text in absurd:
            assert text != whole
            path.write_text(text)
            process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            _, later = answer(client.post("/fuse-segment", files=pair), tmp_path)
            assert later["rig"]["sha256"] == report["rig"]["sha256"]
        write_rig(path, replace(two_cameras(), source="another"))
        process.send_signal(signal.SIGHUP)
        limit = time.monotonic() + 20
        while later["rig"]["sha256"] == report["rig"]["sha256"]:
            assert time.monotonic() < limit
            _, later = answer(client.post("/fuse-segment", files=pair), tmp_path)


def test_depth_needs_a_rig(client: httpx.Client, pair: Any) -> None:
    refused = client.post("/fuse-segment?depth_m=3", files=pair)
    assert refused.status_code == 422
    assert "started with a rig" in refused.json()["detail"]


def test_folders_go_through_the_rig_too(
    stand_in_weights: Path, tmp_path: Path, pair: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, (_, data) in pair.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "1.png").write_bytes(data)
    write_rig(tmp_path / "rig.yaml", half_size())
    folders = [f"--{part}={tmp_path / part}" for part in ("visible", "infrared", "out")]
    asked = ["infer", *folders, f"--weights={stand_in_weights}", "--threads=1"]
    assert main([*asked, f"--rig={tmp_path / 'rig.yaml'}"]) == 0
    labels = codecs.read_labels(tmp_path / "out" / "mask" / "1.png")
    assert (labels[22:30, 42:50] == PERSON).all()
    assert main([*asked, f"--rig={tmp_path / 'none.yaml'}"]) == 2
    assert "none.yaml" in capsys.readouterr().err


def grey(width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width), 60, np.uint8)


def objects_at(client: httpx.Client, disparity_px: int) -> list[dict[str, Any]]:
    """The objects of a pair with one hot thing that lies off by so many pixels of visible."""
    visible = np.full((VISIBLE[1], VISIBLE[0], 3), 90, np.uint8)
    visible[20:44, 40:56] = 170
    infrared = np.full((INFRARED[1], INFRARED[0]), 60, np.uint8)
    left = (40 - disparity_px) // 2
    infrared[10:22, left : left + 8] = HOT
    files = {"visible": codecs.encode_png(visible), "infrared": codecs.encode_png(infrared)}
    answer = client.post(
        "/fuse-segment?objects=true", files=files, headers={"Accept": "application/json"}
    )
    found: list[dict[str, Any]] = answer.raise_for_status().json()["report"]["objects"]["found"]
    return found


def test_parallax_gives_the_range_of_an_object(start: Serving) -> None:
    with start(two_cameras()) as client:
        (near,), (far,) = objects_at(client, 4), objects_at(client, 0)
    assert near["range_m"] == pytest.approx(FOCAL_PX * BASELINE_M / 4, abs=2 * near["range_std_m"])
    assert near["range_std_m"] < 0.3
    assert far["range_m"] is None  # its disparity is within its error
    with start(half_size()) as client:
        assert objects_at(client, 4)[0]["range_m"] is None
    unsure = replace(two_cameras(), baseline_std_m=0.6 * BASELINE_M)
    with start(unsure) as client:
        assert objects_at(client, 4)[0]["range_m"] is None
