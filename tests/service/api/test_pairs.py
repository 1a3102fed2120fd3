"""Two sensors, two clocks: skew, frames that show nothing or nothing new, and 16-bit infrared."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.imaging import codecs
from segmif.imaging.codecs import Pixels
from segmif.manifest import Manifest
from segmif.runtime import Runtime, open_runtime
from service.settings import Settings

HEIGHT, WIDTH = 64, 96
RAMP = np.linspace(20, 220, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)
GREY = np.full((HEIGHT, WIDTH), 120, np.uint8)


def plate(noise: float, vignette: float = 0, at: int = 7_000) -> NDArray[np.uint16]:
    """A closed shutter: noise, and less light towards the corners of the lens."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    spread = np.random.default_rng(0).normal(0, noise, (HEIGHT, WIDTH))
    return np.asarray((at - vignette * (x * x + y * y) / 2 + spread).round(), np.uint16)


class Listening:
    """A runtime that keeps what it was given last."""

    name = "listening"

    def __init__(self, runtime: Runtime) -> None:
        self.manifest: Manifest = runtime.manifest
        self.outputs: tuple[str, ...] = runtime.outputs
        self.default_tint: float | None = runtime.default_tint
        self.runtime = runtime
        self.visible: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.infrared: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def run(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        *,
        tint: NDArray[np.float32] | None = None,
        confidence: bool = False,
    ) -> tuple[NDArray[np.uint8], ...]:
        self.visible, self.infrared = visible[0], infrared[0]
        return self.runtime.run(visible, infrared, tint=tint, confidence=confidence)

    def trim(self) -> None:
        self.runtime.trim()

    def close(self) -> None:
        self.runtime.close()


class Camera:
    """Posts pairs to one service, and tells the report beside the answer."""

    def __init__(self, client: httpx.Client, heard: Listening) -> None:
        self.client = client
        self.heard = heard

    def post(
        self, visible: Pixels | None, infrared: Pixels | None, **ask: Any
    ) -> tuple[httpx.Response, dict[str, Any]]:
        frames = {"visible": visible, "infrared": infrared}
        files = {
            name: (name, codecs.encode_png(pixels))
            for name, pixels in frames.items()
            if pixels is not None
        }
        files["meta"] = ("meta.json", json.dumps(ask).encode())
        answer = self.client.post("/fuse-segment", files=files)
        return answer, report_of(answer) if answer.status_code == 200 else answer.json()


def report_of(answer: httpx.Response) -> dict[str, Any]:
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts: Any = message_from_bytes(head + answer.content).get_payload()
    told: dict[str, Any] = json.loads(parts[2].get_payload(decode=True))
    return told


@pytest.fixture(scope="module")
def start(serve: Any, stand_in_weights: Path) -> Callable[..., AbstractContextManager[Camera]]:
    @contextmanager
    def open_camera(**settings: Any) -> Any:
        heard = Listening(open_runtime(stand_in_weights, threads=1))
        chosen = Settings.model_validate({"weights": stand_in_weights} | settings)
        with serve(chosen, heard) as client:
            while client.get("/readyz").status_code != 200:  # the golden pair is heard too
                time.sleep(0.01)
            yield Camera(client, heard)

    return open_camera


@pytest.fixture(scope="module")
def camera(start: Any) -> Any:
    with start() as opened:
        yield opened


def moved(pixels: NDArray[Any], by: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.roll(pixels, by, axis=1))


@pytest.mark.parametrize(
    ("later_ms", "verdict", "flags"), [(16, "within", []), (-17, "beyond", ["skewed"])]
)
def test_skew_is_measured_and_judged_against_half_a_frame(
    camera: Camera, later_ms: int, verdict: str, flags: list[str]
) -> None:
    now = 1_700_000_000_000_000_000  # too large for a float: must stay whole until subtracted
    stamps: dict[str, Any] = {"visible_ns": now, "infrared_ns": now + later_ms * 1_000_000}
    answer, report = camera.post(COLOURS, RAMP, **stamps)
    assert report["pair"]["skew_ms"] == later_ms
    assert report["pair"]["skew"] == verdict
    assert report["pair"]["flags"] == flags
    assert answer.headers.get("x-pair-flags", "") == ", ".join(flags)
    _, untold = camera.post(COLOURS, RAMP)
    assert untold["pair"]["skew"] == "unknown"


@pytest.mark.parametrize(
    ("visible", "infrared", "flag", "left"),
    [
        (COLOURS // 100, RAMP, "visible_black", "infrared"),
        (COLOURS // 32 + 249, RAMP, "visible_saturated", "infrared"),
        (COLOURS, RAMP // 100, "infrared_black", "visible"),
        (COLOURS, np.full_like(RAMP, 255), "infrared_saturated", "visible"),
        (COLOURS, GREY, "infrared_shutter", "visible"),
        (COLOURS, np.full((HEIGHT, WIDTH), 16_383, np.uint16), "infrared_saturated", "visible"),
        (COLOURS, plate(noise=2), "infrared_shutter", "visible"),
        (COLOURS, plate(noise=12, vignette=150), "infrared_shutter", "visible"),
    ],
)
def test_a_frame_that_shows_nothing_is_flagged_and_kept_from_the_network(
    camera: Camera, visible: Pixels, infrared: Pixels, flag: str, left: str
) -> None:
    answer, report = camera.post(visible, infrared)
    assert report["pair"]["flags"] == [flag]
    assert report["pair"]["sensors"] == [left]
    assert answer.headers["x-pair-flags"] == flag
    assert (camera.heard.visible.max() > 0) == (left == "visible")
    assert (camera.heard.infrared.max() > 0) == (left == "infrared")
    refused, problem = camera.post(visible, infrared, degraded="refuse")
    assert (refused.status_code, problem["kind"]) == (422, "degraded")
    assert flag in problem["detail"]


def test_a_camera_that_says_its_shutter_is_closed_is_believed(camera: Camera) -> None:
    _, report = camera.post(COLOURS, RAMP, shutter=True)
    assert report["pair"]["flags"] == ["infrared_shutter"]


def test_a_frame_that_repeats_in_its_stream_is_frozen(camera: Camera) -> None:
    flags = [
        camera.post(moved(COLOURS, at), moved(RAMP, at // 2), stream=stream)[1]["pair"]["flags"]
        for at, stream in ((0, "a"), (1, "a"), (1, "b"), (2, "a"), (2, "a"))
    ]
    both = ["visible_frozen", "infrared_frozen"]
    assert flags == [[], ["infrared_frozen"], [], [], both]
    _, alone = camera.post(moved(COLOURS, 2), moved(RAMP, 1))
    assert alone["pair"]["flags"] == []


def test_one_sensor_answers_alone_when_the_rig_says_so(camera: Camera) -> None:
    _, report = camera.post(COLOURS, None, sensors="visible")
    assert report["pair"] == {
        "stream": None,
        "sensors": ["visible"],
        "skew_ms": None,
        "skew": "unknown",
        "flags": ["infrared_missing"],
    }
    assert report["infrared"] is None
    _, report = camera.post(None, RAMP, sensors="infrared")
    assert report["pair"]["flags"] == ["visible_missing"]
    assert camera.heard.infrared[:HEIGHT, :WIDTH].tolist() == RAMP.tolist()
    for sent, ask, kind in (
        ((COLOURS, None), {}, "missing_part"),
        ((COLOURS, RAMP), {"sensors": "visible"}, "bad_parameter"),
        ((COLOURS, None), {"sensors": "visible", "degraded": "refuse"}, "degraded"),
        ((COLOURS // 100, None), {"sensors": "visible"}, "degraded"),
    ):
        refused, problem = camera.post(*sent, **dict[str, Any](ask))
        assert (refused.status_code, problem["kind"]) == (422, kind)


def test_what_meta_gets_wrong_is_named(camera: Camera) -> None:
    for ask, words in (
        ({"deadline": 5}, "deadline"),
        ({"stream": "../etc"}, "stream"),
        ({"visible_ns": 1.5}, "visible_ns"),
    ):
        refused, problem = camera.post(COLOURS, RAMP, **ask)
        assert (refused.status_code, problem["kind"]) == (422, "bad_parameter")
        assert words in problem["detail"]
    for meta in (b"\xff", b"[" * 100_000, b"[]", b'{"stream": "rig"' + b" " * 70_000 + b"}"):
        files = {"visible": b"v", "infrared": b"i", "meta": meta}
        assert camera.client.post("/fuse-segment", files=files).json()["kind"] == "bad_parameter"


def scene(counts: int, at: int = 7_000) -> NDArray[np.uint16]:
    """A scene of exactly so many distinct counts in a row."""
    return (at + np.arange(HEIGHT * WIDTH) % counts).reshape(HEIGHT, WIDTH).astype(np.uint16)


@pytest.mark.parametrize("gain", ["percentile", "fixed", "clahe"])
def test_1500_distinct_counts_do_not_become_7_levels(start: Any, gain: str) -> None:
    settings: dict[str, Any] = {"gain": gain}
    if gain == "fixed":
        settings |= {"gain_low": 7_000, "gain_high": 8_499}
    with start(**settings) as camera:
        _, report = camera.post(COLOURS, scene(1_500))
        assert report["gain"]["method"] == gain
        assert len(np.unique(scene(1_500))) == 1_500
        assert len(np.unique(scene(1_500) >> 8)) == 7  # what a decoder to 8 bit leaves
        levels = camera.heard.infrared[:HEIGHT, :WIDTH]
        assert len(np.unique(levels)) > 200
        if gain != "clahe":  # which orders counts within a tile only
            order = np.argsort(scene(1_500), axis=None, kind="stable")
            assert (np.diff(levels.ravel()[order].astype(int)) >= 0).all()


def test_gain_of_a_stream_follows_slowly_and_starts_anew_in_a_new_scene(camera: Camera) -> None:
    lows = []
    for number, at in enumerate((7_000, 7_100, 20_000)):
        _, report = camera.post(moved(COLOURS, number), scene(1_500, at), stream="gain")
        lows.append(report["gain"]["low"])
        assert report["gain"]["smoothing"] == 0.9
    assert lows[1] == pytest.approx(lows[0] + 10)
    assert lows[2] == pytest.approx(lows[0] + 13_000)


def test_a_fixed_gain_without_its_counts_does_not_start() -> None:
    with pytest.raises(ValueError, match="needs the counts of black and white"):
        Settings(gain="fixed", gain_low=7_000)


def test_a_pair_that_lies_apart_is_mended_where_asked_and_sure(camera: Camera) -> None:
    folder = Path("service/web/samples/day")
    full = codecs.decode_visible((folder / "visible.png").read_bytes(), codecs.MAX_PIXELS)
    heat = codecs.decode_infrared((folder / "infrared.png").read_bytes(), codecs.MAX_PIXELS)
    visible, infrared = (  # a small pair takes a fifth of the time
        np.asarray(cv2.resize(image, (192, 128), interpolation=cv2.INTER_AREA), np.uint8)
        for image in (full, heat)
    )
    apart = moved(infrared, 4)
    _, report = camera.post(visible, apart, refine=True)
    told = report["refinement"]
    assert told["residual_px"] == pytest.approx(4, abs=0.4)
    assert told["applied"]
    inner = np.s_[:, 8:-8]  # what was rolled over the edge is gone
    off = np.abs(camera.heard.infrared[inner].astype(int) - infrared[inner]).mean()
    assert off < np.abs(apart[inner].astype(int) - infrared[inner]).mean() / 3
    _, report = camera.post(visible, apart)
    assert report["refinement"] is None
    np.testing.assert_array_equal(camera.heard.infrared, apart)
    unlike = np.ascontiguousarray(apart[::-1])
    _, report = camera.post(visible, unlike, refine=True)
    assert report["refinement"]["confidence"] < 0.5
    assert not report["refinement"]["applied"]
    np.testing.assert_array_equal(camera.heard.infrared, unlike)


def test_the_pairs_of_a_stream_keep_infrared_in_place(camera: Camera) -> None:
    folder = Path("service/web/samples/day")
    full = codecs.decode_visible((folder / "visible.png").read_bytes(), codecs.MAX_PIXELS)
    heat = codecs.decode_infrared((folder / "infrared.png").read_bytes(), codecs.MAX_PIXELS)
    visible, infrared = (
        np.asarray(cv2.resize(image, (320, 256), interpolation=cv2.INTER_AREA), np.uint8)
        for image in (full, heat)
    )
    apart, inner = moved(infrared, 8), np.s_[:, 16:-16]
    asked: dict[str, Any] = {"stream": "apart", "registration": True}
    for closed in (False, False, True, False):
        answer, report = camera.post(visible, apart, shutter=closed, **asked)
        if closed:
            assert report["registration"] is None
            continue
        told = report["registration"]
        assert told["standing"] == "found" and told["applied"] and told["confidence"] > 0.9
        assert told["shift_px"] == pytest.approx((8, 0), abs=1)
        off = np.abs(camera.heard.infrared[inner].astype(int) - infrared[inner]).mean()
        assert off < np.abs(apart[inner].astype(int) - infrared[inner]).mean() / 2
    assert told["reset"] == "shutter"
    _, report = camera.post(visible, infrared, stream="together", registration=True)
    assert not report["registration"]["applied"]
    np.testing.assert_array_equal(camera.heard.infrared, infrared)
    for stated, why in (({}, "name it with stream="), ({"stream": "a", "refine": True}, "one of")):
        answer, problem = camera.post(visible, apart, registration=True, **stated)
        assert answer.status_code == 422 and why in problem["detail"]


def test_the_memory_of_a_stream_says_what_it_rests_on(camera: Camera) -> None:
    second = 1_000_000_000
    closed, jumped = {"shutter": True}, {"visible_ns": 9_000 * second}
    stated: list[dict[str, Any]] = [{}, {}, closed, closed, {}, {}, jumped]
    states: list[Any] = []
    for at, more in enumerate(stated):
        asked = {"stream": "memory", "visible_ns": (1_000 + at) * second} | more
        _, report = camera.post(moved(COLOURS, at), moved(RAMP, at), **asked)
        states.append(report["memory"]["reset"])
        assert "steady" in report["times_ms"]
        assert (report["memory"]["used"] > 0) == (states[-1] is None)
    assert states == ["start", None, "shutter", None, "sensors", None, "jump"]


def test_the_memory_is_off_by_a_switch_and_for_lone_pairs(camera: Camera) -> None:
    for stated in ({}, {"stream": "forgetful", "memory": False}):
        _, report = camera.post(COLOURS, RAMP, **stated)
        assert report["memory"] is None
        assert "steady" not in report["times_ms"]
    answer, problem = camera.post(COLOURS, RAMP, memory=True)
    assert answer.status_code == 422
    assert "name it with stream=" in problem["detail"]


def test_the_operator_may_switch_the_memory_off(start: Any) -> None:
    with start(memory=False) as camera:
        for at, stated in enumerate(({}, {"memory": True}, {"memory": True})):
            _, report = camera.post(moved(COLOURS, at), moved(RAMP, at), stream="a", **stated)
            assert (report["memory"] is None) == (not stated)
        assert report["memory"]["reset"] is None
