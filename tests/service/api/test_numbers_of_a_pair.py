"""The views visible, infrared and counts: the numbers of a pair as it was seen."""

import struct
from typing import Any

import httpx
import numpy as np
import pytest

from segmif.imaging import codecs
from segmif.runtime import open_runtime
from segmif.thermal.gain_control import to_8bit
from segmif.thermal.gain_window import Window
from service.settings import Settings
from tests.service.api.test_rig import BASELINE_M, FOCAL_PX, Serving, two_cameras
from tests.service.api.test_rig import start as start

random = np.random.default_rng(1)
VISIBLE = random.integers(0, 256, (64, 96, 3), np.uint8)
# A slope under the noise: noise alone would be taken for a closed shutter.
SLOPE = np.linspace(7000, 8900, 48)
COUNTS = (SLOPE + random.integers(0, 100, (32, 48))).astype(np.uint16)


def post(client: httpx.Client, infrared: Any, wanted: str, **query: Any) -> httpx.Response:
    files = {"visible": codecs.encode_png(VISIBLE), "infrared": codecs.encode_png(infrared)}
    accept = query.pop("accept", "image/png")
    return client.post(
        "/fuse-segment",
        files=files,
        params={"return": wanted} | query,
        headers={"Accept": accept},
    )


def plane(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return codecs.decode_infrared(response.content)


def test_counts_come_as_they_were_through_the_same_resize(client: httpx.Client) -> None:
    twice = np.repeat(np.repeat(COUNTS, 2, axis=0), 2, axis=1)
    np.testing.assert_array_equal(plane(post(client, COUNTS, "counts")), twice)
    levels = (COUNTS >> 8).astype(np.uint8)
    given = plane(post(client, levels, "counts", infrared_polarity="black_hot"))
    assert given.dtype == np.uint8
    np.testing.assert_array_equal(given, twice >> 8)


def test_infrared_and_visible_are_what_the_network_saw(serve: Any, stand_in_weights: Any) -> None:
    settings = Settings(weights=stand_in_weights, gain="fixed", gain_low=7000, gain_high=9000)
    seen = codecs.resize(to_8bit(COUNTS, Window(7000, 9000)), 64, 96)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        np.testing.assert_array_equal(plane(post(client, COUNTS, "infrared")), seen)
        visible = post(client, COUNTS, "visible")
    np.testing.assert_array_equal(codecs.decode_visible(visible.content), VISIBLE)


def test_counts_follow_the_rig(start: Serving) -> None:
    depth_m = 4.0
    shift = FOCAL_PX / 2 * BASELINE_M / depth_m  # infrared pixels: exactly one
    assert shift == 1.0
    with start(two_cameras(), depth_m) as client:
        counts = plane(post(client, COUNTS, "counts"))
        same = plane(post(client, COUNTS, "counts", depth_m=depth_m))
    np.testing.assert_array_equal(counts, same)
    # Visible pixel 2x + 1/2 looks at infrared pixel x - 1; both halves round to it.
    np.testing.assert_array_equal(counts[10::2, 10::2], COUNTS[5:, 4:-1])
    assert not counts[:, 0].any()  # no infrared camera sees it


@pytest.mark.parametrize("view", ["visible", "infrared", "counts"])
def test_the_raw_form_has_no_room_for_them(client: httpx.Client, view: str) -> None:
    refused = post(client, COUNTS, f"{view},mask", accept="application/octet-stream")
    assert (refused.status_code, refused.json()["kind"]) == (406, "not_acceptable")
    assert "multipart/mixed, application/json" in refused.json()["detail"]


def test_counts_of_a_missing_frame_are_refused_in_words(client: httpx.Client) -> None:
    refused = client.post(
        "/fuse-segment",
        files={"visible": codecs.encode_png(VISIBLE)},
        params={"return": "counts", "sensors": "visible"},
    )
    assert refused.status_code == 422
    assert "the pair has no infrared frame" in refused.json()["detail"]


def test_counts_beside_others_keep_their_depth(client: httpx.Client) -> None:
    body = post(client, COUNTS, "mask,infrared,counts", accept="multipart/mixed").content
    start = body.index(b"\x89PNG", body.index(b'name="counts"'))
    assert struct.unpack(">IIBB", body[start + 16 : start + 26]) == (96, 64, 16, 0)
