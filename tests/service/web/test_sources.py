"""Moving sources of the page: two video files that it steps through, and a camera."""

import re
from pathlib import Path

import av
import httpx
import numpy as np
from playwright.sync_api import expect

from tests.service.web.conftest import Open, fused

FRAMES, RATE = 20, 10  # a second: two seconds
INFRARED = "[data-part=infrared]"
SIZE = "64 \N{MULTIPLICATION SIGN} 48"


def write_video(path: Path, level: int) -> None:
    """A grey video that grows brighter by two levels a frame."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libvpx", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(FRAMES):
            ramp = np.linspace(level, level + 60, 64).astype(np.uint8) + 2 * number
            pixels = np.dstack([np.tile(ramp, (48, 1))] * 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def test_the_page_steps_through_two_videos(
    client: httpx.Client, open_page: Open, tmp_path: Path
) -> None:
    for name, level in (("visible.webm", 60), ("infrared.webm", 120)):
        write_video(tmp_path / name, level)
    page = fused(open_page(str(client.base_url)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    both = [tmp_path / "visible.webm", tmp_path / "infrared.webm"]
    page.set_input_files(INFRARED + " input", both)
    expect(page.locator("#clock")).to_have_text("2.0 of 2.0 s")
    expect(page.locator("#play")).to_have_text("Play")  # at the end
    fused(page)
    assert re.findall(r"64 . 48", page.inner_text("#facts")) == [SIZE, SIZE]
    pairs = [url for url in asked if "/fuse-segment" in url]
    assert len(pairs) >= 2 and all("stream=page-" in url for url in pairs)
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Pause")
    page.click("#play")
    page.wait_for_load_state("networkidle")  # no more pairs


def test_a_camera_beside_a_file(client: httpx.Client, open_page: Open) -> None:
    page = fused(open_page(str(client.base_url), permissions=["camera"]))
    with page.expect_response(lambda answer: "stream=page-" in answer.url) as answered:
        page.click("[data-part=visible] .camera")
    assert answered.value.status == 200
    fused(page)
    assert "fake" in page.inner_text("[data-part=visible] .name")
    page.click("#play")


def test_what_is_no_video_is_named(client: httpx.Client, open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "broken.webm").write_bytes(b"nothing")
    page = fused(open_page(str(client.base_url)))
    page.set_input_files("[data-part=visible] input", tmp_path / "broken.webm")
    expect(page.locator("#message")).to_have_text(
        "Broken.webm is no video that this browser can play."
    )
