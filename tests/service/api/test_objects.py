"""Objects of a mask in answers: on request, with tracks in a stream, by the operator's rules."""

import json
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from segmif.imaging import codecs
from segmif.wire.binary_pair import RawAnswer
from tests.conftest import HOT
from tests.service.conftest import Start

HEIGHT, WIDTH = 64, 96
ACCEPT = {"Accept": "application/json"}
NOTHING = {"found": [], "left_out": 0, "unknown": None}
GROUND = np.kron(np.random.default_rng(1).integers(40, 90, (16, 24), np.uint8), np.ones((8, 8)))
STEP_NS = 200_000_000


def frames(left: int) -> dict[str, bytes]:
    """A tall person and a small one; the tall one stands `left` pixels from the left."""
    visible = np.random.default_rng(left).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    infrared = np.full((HEIGHT, WIDTH), 40, np.uint8)
    infrared[10:50, left : left + 12] = HOT + 9
    infrared[2:9, 80:90] = HOT + 5
    return {"visible": codecs.encode_png(visible), "infrared": codecs.encode_png(infrared)}


def objects(client: httpx.Client, left: int, **query: Any) -> dict[str, Any] | None:
    answer = client.post("/fuse-segment", files=frames(left), params=query, headers=ACCEPT)
    found: dict[str, Any] | None = answer.raise_for_status().json()["report"]["objects"]
    return found


def test_objects_are_listed_for_who_asks(client: httpx.Client) -> None:
    assert objects(client, 20) is None
    assert objects(client, 20, objects=True) == {
        "found": [
            {
                "id": 2,
                "name": "person",
                "box": [20, 10, 12, 40],
                "area": 480,
                "centroid": [25.5, 29.5],
                "confidence": 1.0,
                "track": None,
                "range_m": None,
                "range_std_m": None,
            },
            {
                "id": 2,
                "name": "person",
                "box": [80, 2, 10, 7],
                "area": 70,
                "centroid": [84.5, 5.0],
                "confidence": 1.0,
                "track": None,
                "range_m": None,
                "range_std_m": None,
            },
        ],
        "left_out": 0,
        "unknown": None,
    }


def test_an_object_of_a_stream_keeps_its_track_while_it_overlaps(client: httpx.Client) -> None:
    seen = [objects(client, left, objects=True, stream="yard") for left in (10, 18, 26, 60)]
    tracks = [[each["track"] for each in found["found"]] for found in seen if found]
    assert tracks == [[1, 2], [1, 2], [1, 2], [3, 2]]  # 34 pixels are no overlap
    other = objects(client, 10, objects=True, stream="gate")
    assert other and [each["track"] for each in other["found"]] == [1, 2]


def test_a_socket_has_them_as_well(client: httpx.Client) -> None:
    url = f"ws://127.0.0.1:{client.base_url.port}/stream?live=false&objects=true"
    found = []
    with connect(url) as socket:
        for left in (10, 14):
            head = bytearray(64)
            files = list(frames(left).values())
            head[:8] = b"SGMF\x01\x00\x40\x00"
            head[8] = head[9] = 1
            for at, file in zip((24, 40), files, strict=True):
                head[at : at + 4] = len(file).to_bytes(4, "little")
            socket.send(bytes(head) + b"".join(files))
            message = socket.recv(20)
            assert isinstance(message, bytes)
            report = json.loads(RawAnswer.from_bytes(message).report)
            found.append([each["track"] for each in report["objects"]["found"]])
    assert found == [[1, 2], [1, 2]]


def test_the_operator_says_what_an_object_is(start: Start) -> None:
    with start(object_min_area=71) as client:
        found = objects(client, 20, objects=True)
        assert found and [each["area"] for each in found["found"]] == [480]
    with start(object_classes=("car",)) as client:
        assert objects(client, 20, objects=True) == NOTHING


def test_many_small_regions_are_bounded_and_the_rest_is_counted(start: Start) -> None:
    infrared = np.full((HEIGHT, WIDTH), 40, np.uint8)
    infrared[::2, ::2] = HOT + 9  # no two of them touch
    files = frames(20) | {"infrared": codecs.encode_png(infrared)}
    with start(object_min_area=1) as client:
        answer = client.post("/fuse-segment?objects=true", files=files, headers=ACCEPT)
    found = answer.json()["report"]["objects"]
    assert len(found["found"]) == 64 and found["left_out"] == HEIGHT * WIDTH // 4 - 64


def test_a_class_that_there_is_not_is_refused_at_the_start(
    stand_in_weights: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.commands.cli import main

    monkeypatch.setenv("SEGMIF_OBJECT_CLASSES", "person,persn")
    assert main(["serve", "--weights", str(stand_in_weights)]) == 2
    assert "object_classes: there is no class 'persn'" in capsys.readouterr().err


def panned(number: int, width: int = 160) -> dict[str, bytes]:
    """A camera that pans past a lamp that stands, and an animal that walks; both are warm."""
    ground, left = GROUND.astype(np.uint8), 2 * number
    heat = ground // 3 + 40
    heat[20:32, 60:72] = 150
    heat[70:84, 30 + 4 * number : 50 + 4 * number] = 150
    view = slice(None, 112), slice(left, left + width)
    visible = np.repeat(ground[view][..., None], 3, axis=2)
    return {
        "visible": codecs.encode_png(np.ascontiguousarray(visible)),
        "infrared": codecs.encode_png(np.ascontiguousarray(heat[view])),
    }


def unknown(client: httpx.Client, number: int, width: int = 160, **query: Any) -> Any:
    stamps = {"visible_ns": number * STEP_NS, "infrared_ns": number * STEP_NS}
    params: dict[str, Any] = {"objects": True, "stream": "yard"} | stamps | query
    files = panned(number, width)
    answer = client.post("/fuse-segment", files=files, params=params, headers=ACCEPT)
    return answer.raise_for_status().json()["report"]["objects"]["unknown"]


def test_what_moves_and_has_no_class_is_listed_if_the_operator_asks(start: Start) -> None:
    with start(object_unknown=True) as client:
        seen = [unknown(client, number) for number in range(10)]
        assert seen[0] == [] and seen[1] == []
        assert all(len(each) == 1 for each in seen[5:])  # within a second
        for number, (animal,) in enumerate(seen[5:], 5):
            assert animal["track"] == seen[5][0]["track"]
            assert abs(animal["box"][0] - (30 + 2 * number)) <= 2
            assert abs(animal["box"][1] - 70) <= 2
        assert unknown(client, 10, objects=True, stream="gate") == []  # another stream
    with start() as client:
        assert [unknown(client, number) for number in range(6)] == [None] * 6


def test_a_camera_that_changes_its_size_is_looked_at_anew(start: Start) -> None:
    with start(object_unknown=True) as client:
        for number in range(12):
            width = 160 if number < 4 else 120
            seen = unknown(client, number, width)
        assert len(seen) == 1  # the animal again
