"""What cameras really send: counts without measurement, telemetry, other units and clocks."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.geometry.rig import Homography, write_rig
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from segmif.thermal.camera_profile import CameraProfile, Cameras, Crop
from service.pipeline.align import RigAligner
from service.pipeline.pair_checks import SENSORS
from service.settings import Settings
from tests.service.api.test_every_form import (
    COUNTS,
    VISIBLE,
    Send,
    form,
    in_json,
    raw,
    shared_memory,
    socket,
    tensors,
)
from tests.service.api.test_pairs import Camera, Listening, plate
from tests.service.conftest import Serve

FORMS = [form, in_json, raw, socket, shared_memory, tensors]
SAMPLES = Path("service/web/samples")
SECOND = 1_000_000_000


def sample(name: str, sensor: str) -> NDArray[np.uint8]:
    read = codecs.read_visible if sensor == "visible" else codecs.read_infrared
    return read(SAMPLES / name / f"{sensor}.png")


STREET = sample("night", "visible")
HEAT = (29_000 + 6 * sample("night", "infrared").astype(np.uint16)).astype(np.uint16)


def turned(counts: NDArray[np.uint16], border: int = 0) -> NDArray[np.uint16]:
    height, width = counts.shape
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), 3, 1)
    return np.asarray(cv2.warpAffine(counts, turn, (width, height), borderValue=border), np.uint16)


def put(counts: NDArray[np.uint16], place: Any, value: int) -> NDArray[np.uint16]:
    changed = counts.copy()
    changed[place] = value
    return changed


def quantized(span: int) -> NDArray[np.uint16]:
    """The scene in counts of a tenth of a kelvin or coarser."""
    levels = HEAT.astype(float) - HEAT.min()
    return np.asarray((2_900 + levels / levels.max() * span).round(), np.uint16)


def foggy() -> NDArray[np.uint16]:
    noise = np.random.default_rng(0).normal(0, 4, HEAT.shape)
    return np.asarray((29_000 + (HEAT - 29_000.0) / 30 + noise).round(), np.uint16)


def stamped(*pairs: tuple[int, int]) -> list[dict[str, int]]:
    return [{"visible_ns": visible, "infrared_ns": infrared} for visible, infrared in pairs]


@pytest.fixture(scope="module")
def start(serve: Any, stand_in_weights: Path) -> Callable[..., AbstractContextManager[Camera]]:
    @contextmanager
    def open_camera(rig_aligner: RigAligner | None = None, **settings: Any) -> Any:
        heard = Listening(open_runtime(stand_in_weights, threads=1))
        chosen = Settings.model_validate({"weights": stand_in_weights} | settings)
        with serve(chosen, heard, rig_aligner) as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.01)
            yield Camera(client, heard)

    return open_camera


@pytest.fixture(scope="module")
def camera(start: Any) -> Any:
    with start() as opened:
        yield opened


@pytest.fixture(scope="module")
def client(serve: Serve, stand_in_weights: Path) -> Iterator[httpx.Client]:
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("infrared", "share"),
    [
        (HEAT, 0),
        (turned(HEAT), 0.025),
        (turned(HEAT, 65_535), 0.025),
        (put(HEAT, np.s_[-6:], 65_535), 0.0125),
        (put(HEAT, np.s_[::9, ::10], 0), 0.0112),
        (put(HEAT, np.s_[200:280, 300:380], 65_535), 0),  # something hot, saturated
    ],
)
def test_counts_without_measurement_do_not_steer_the_gain(
    camera: Camera, infrared: NDArray[np.uint16], share: float
) -> None:
    _, report = camera.post(STREET, infrared)
    assert report["pair"]["flags"] == (["infrared_invalid"] if share else [])
    gain = report["gain"]
    assert gain["invalid_share"] == pytest.approx(share, abs=2e-3)
    low, high = np.percentile(HEAT, [1, 99])
    assert abs(gain["low"] - low) + abs(gain["high"] - high) < 0.05 * (high - low)


@pytest.mark.parametrize("infrared", [quantized(8), quantized(32), foggy()])
def test_a_scene_of_few_counts_is_no_shutter(camera: Camera, infrared: NDArray[np.uint16]) -> None:
    _, report = camera.post(STREET, infrared)
    assert report["pair"]["flags"] == []
    assert camera.heard.infrared.std() > 20


@pytest.mark.parametrize("send", FORMS)
def test_what_is_stated_of_a_camera_holds_for_every_form(client: httpx.Client, send: Send) -> None:
    counts = put(COUNTS, np.s_[20:24, 30:40], 9_000)
    stated = {
        "infrared_crop": "0,0,0,2",
        "infrared_polarity": "black_hot",
        "infrared_invalid": "9000",
        "infrared_kelvin_per_count": 0.04,
    }
    [(status, report)] = send(client, [(VISIBLE, counts)], stated)
    assert status == 200
    assert report["infrared"] == {"width": 96, "height": 62}
    assert report["gain"]["invalid_share"] == pytest.approx(40 / (96 * 62), abs=1e-5)
    assert report["cameras"]["infrared"] == {
        "crop": [0, 0, 0, 2],
        "polarity": "black_hot",
        "invalid": [9000],
        "kelvin_per_count": 0.04,
    }
    [(status, problem)] = send(client, [(VISIBLE, counts)], {"infrared_crop": "0,0,0,64"})
    assert status == 422 and "leaves nothing of a frame of 96x64" in str(problem)


@pytest.mark.parametrize("send", FORMS)
def test_swapped_bytes_are_refused_or_put_in_order(client: httpx.Client, send: Send) -> None:
    swapped = COUNTS.byteswap()
    [(status, problem)] = send(client, [(VISIBLE, swapped)], {})
    assert status == 422 and "state infrared_byte_order=swapped" in str(problem)
    stated = {"infrared_byte_order": "swapped"}
    [(_, mended), (_, plain)] = (
        send(client, [(VISIBLE, counts)], ask)[0]
        for counts, ask in ((swapped, stated), (COUNTS, {}))
    )
    assert mended["gain"] == plain["gain"]


@pytest.mark.parametrize("send", FORMS)
def test_stamps_that_repeat_or_go_back_are_flagged_by_every_form(
    client: httpx.Client, send: Send
) -> None:
    told: list[list[str]] = []
    for at in (100, 133, 133, 120, 166):
        ask = {"stream": f"clock-{send.__name__}", "visible_ns": at * 10**6}
        noise = np.random.default_rng(len(told)).integers(0, 9, COUNTS.shape)
        [(_, report)] = send(client, [(VISIBLE, (COUNTS + noise).astype(np.uint16))], ask)
        told.append([flag for flag in report["pair"]["flags"] if flag != "visible_frozen"])
    assert told == [[], [], ["visible_repeated"], ["visible_late"], []]


def test_the_pairs_of_a_batch_share_a_stamp_that_the_next_batch_may_not_repeat(
    client: httpx.Client,
) -> None:
    told: list[list[list[str]]] = []
    for at, visible_first in ((100, 0), (200, 2), (200, 4), (150, 6)):
        visible = np.stack([VISIBLE // 8 * 7 + visible_first + place for place in range(2)])
        heat = np.stack([COUNTS + visible_first + place for place in range(2)]).astype(np.uint16)
        inputs = [
            {
                "name": name,
                "datatype": each.dtype.name.upper(),
                "shape": [*each.shape],
                "data": each.tolist(),
            }
            for name, each in (("visible", visible), ("infrared", heat))
        ]
        ask = {"stream": "batches", "visible_ns": at * 10**6, "infrared_ns": at * 10**6}
        asked = {"inputs": inputs, "parameters": ask}
        answer = client.post("/v2/models/nano/infer", json=asked).json()
        reports = json.loads(answer["parameters"]["reports"])
        assert all(report["pair"]["skew"] == "within" for report in reports)
        told.append([report["pair"]["flags"] for report in reports])
    of_both = [[f"{sensor}_{fault}" for sensor in SENSORS] for fault in ("repeated", "late")]
    assert told == [[[], []], [[], []], [of_both[0], []], [of_both[1], []]]


def test_settings_stand_over_the_rig_file_and_a_request_over_both(
    start: Any, tmp_path: Path
) -> None:
    stated = Cameras(infrared=CameraProfile(polarity="black_hot", crop=Crop(bottom=4), bits=14))
    rig = Homography((96, 64), (96, 62), np.eye(3), frames=stated)
    write_rig(tmp_path / "rig.yaml", rig)
    rig_aligner = RigAligner(tmp_path / "rig.yaml", np.inf)
    with start(rig_aligner, infrared_crop="0,0,0,2") as camera:
        _, report = camera.post(VISIBLE, COUNTS)
        assert report["cameras"]["infrared"]["crop"] == [0, 0, 0, 2]
        black_hot = camera.heard.infrared[:62].astype(int)
        _, report = camera.post(VISIBLE, COUNTS, infrared_polarity="white_hot")
        assert report["cameras"]["infrared"]["polarity"] == "white_hot"
        np.testing.assert_allclose(255 - black_hot, camera.heard.infrared[:62], atol=1)


def test_rows_of_telemetry_are_hinted_at_and_cut(camera: Camera) -> None:
    visible = np.ascontiguousarray(STREET[::4, ::4])
    picture = np.ascontiguousarray(HEAT[::4, ::4])
    with_rows = np.vstack([picture, np.full((2, 160), 51, np.uint16)])
    _, report = camera.post(visible, with_rows)
    assert report["pair"]["flags"] == ["infrared_telemetry"]
    _, report = camera.post(visible, with_rows, infrared_crop="0,0,0,2")
    assert report["pair"]["flags"] == [] and report["alignment"] == "none"


def test_a_visible_frame_of_12_bits_keeps_its_colours(camera: Camera) -> None:
    deep = STREET.astype(np.uint16) * 16
    _, report = camera.post(deep, HEAT)
    assert report["pair"]["flags"] == ["visible_bits_guessed"]
    np.testing.assert_allclose(camera.heard.visible.astype(int), STREET, atol=1)
    _, report = camera.post(deep, HEAT, visible_bits=12)
    assert report["pair"]["flags"] == []


@pytest.mark.parametrize(
    ("at", "flags"),
    [
        # a recording that begins anew, and one that goes on after a gap
        (
            stamped(*[(t * SECOND, t * SECOND) for t in (50, 51, 3, 4)]),
            ["visible_jump", "infrared_jump"],
        ),
        (
            stamped(*[(t * SECOND // 10, t * SECOND // 10) for t in (500, 501, 900, 901)]),
            ["visible_jump", "infrared_jump"],
        ),
        # one frame late, the next in time
        (
            stamped(*[(t * 10**6, t * 10**6) for t in (500, 533, 520, 566)]),
            ["visible_late", "infrared_late"],
        ),
        # microseconds given as nanoseconds: of one camera, and of both, beside the time of day
        (stamped((1_700_000_000 * SECOND, 1_700_000_000 * 10**6)), ["infrared_unit"]),
        (stamped((0, 0)), []),
    ],
)
def test_clocks_that_cannot_be_right_are_flagged(
    camera: Camera, at: list[dict[str, int]], flags: list[str]
) -> None:
    told: list[str] = []
    for number, stamps in enumerate(at):
        moved = np.ascontiguousarray(np.roll(STREET, number, axis=1))
        heat = np.ascontiguousarray(np.roll(HEAT, number, axis=1))
        _, report = camera.post(moved, heat, stream=f"clock{at[-1]['visible_ns']}", **stamps)
        told += [flag for flag in report["pair"]["flags"] if flag != "skewed"]
    assert told == flags


@pytest.mark.parametrize("unit", [1, 10**3, 10**6])
def test_stamps_of_now_in_another_unit_are_told_by_the_time_of_day(
    camera: Camera, unit: int
) -> None:
    now = int(time.time() * SECOND) // (SECOND // unit)
    _, report = camera.post(STREET, HEAT, visible_ns=now, infrared_ns=now)
    assert report["pair"]["flags"] == ["visible_unit", "infrared_unit"]
    now = time.time_ns()
    _, report = camera.post(STREET, HEAT, visible_ns=now, infrared_ns=now)
    assert report["pair"]["flags"] == []


def test_memory_begins_anew_after_a_jump(camera: Camera) -> None:
    told = []
    for at, number in ((10, 0), (11, 1), (2, 1), (3, 1)):
        visible, heat = np.roll(STREET, number, axis=1), np.roll(HEAT, number, axis=1)
        _, report = camera.post(visible, heat, stream="loop", visible_ns=at * SECOND)
        told.append(report["pair"]["flags"])
    assert told == [[], [], ["visible_jump"], ["visible_frozen", "infrared_frozen"]]


def test_a_plate_is_a_shutter_whatever_a_count_is_worth(camera: Camera) -> None:
    visible = np.ascontiguousarray(STREET[: plate(1).shape[0], : plate(1).shape[1]])
    for noise, vignette in ((0, 0), (0.4, 2), (3, 40), (20, 300)):
        _, report = camera.post(visible, plate(noise, vignette))
        assert report["pair"]["flags"] == ["infrared_shutter"], (noise, vignette)
