"""What cameras really send keeps its picture, and what is wrong with it is flagged."""

import json
from typing import Any

import httpx
import pytest

from tests.hostile.generators.scenes import COUNTS, SCENES, VISIBLE, Scene, as_files
from tests.hostile.service_process import Service

PERSON = 2  # in the mfnet taxonomy, which the stand-in network has


def ask(service: Service, visible: Any, infrared: Any, said: dict[str, Any]) -> httpx.Response:
    meta = {"meta": json.dumps(said).encode()}
    return httpx.post(
        f"http://127.0.0.1:{service.port}/fuse-segment",
        files=as_files(visible, infrared) | meta,
        headers={"Accept": "application/json"},
        timeout=20,
    )


def persons(report: dict[str, Any]) -> float:
    return float(next(c["share"] for c in report["classes"] if c["id"] == PERSON))


@pytest.fixture(scope="module")
def plain(service: Service) -> dict[str, Any]:
    """The report on the counts as they are."""
    report: dict[str, Any] = ask(service, VISIBLE, COUNTS, {}).json()["report"]
    assert persons(report) > 0.01
    return report


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_what_a_camera_sends_keeps_its_picture_or_is_flagged(
    service: Service, plain: dict[str, Any], scene: Scene
) -> None:
    for visible, infrared, said in scene.pairs():
        answer = ask(service, visible, infrared, {"stream": scene.name, "return": "mask"} | said)
    if scene.refused:
        assert answer.status_code == 422 and scene.refused in answer.json()["detail"], answer.text
        return
    assert answer.status_code == 200, answer.text
    report = answer.json()["report"]
    assert set(report["pair"]["flags"]) == scene.flags
    low, high = scene.invalid
    if gain := report["gain"]:
        assert low <= gain["invalid_share"] <= high
    if scene.like_counts:
        span = plain["gain"]["high"] - plain["gain"]["low"]
        for end in ("low", "high"):
            assert abs(gain[end] - plain["gain"][end]) < 0.05 * span
        assert persons(report) == pytest.approx(persons(plain), rel=0.15)
