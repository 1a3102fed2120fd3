"""Files as cameras, converters and attackers write them, through the service's own entry point."""

import io
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from segmif.client import Client, pack
from segmif.imaging import codecs
from segmif.imaging.png import chunk
from segmif.wire.binary_pair import RawAnswer
from tests.conftest import HOT
from tests.segmif.imaging.test_headers import with_scans
from tests.segmif.imaging.test_tiff import grey

SIZE = 90, 122
Y, X = np.mgrid[: SIZE[0], : SIZE[1]]
VISIBLE = np.dstack([2 * X, 2 * Y, X + Y]).astype(np.uint8)
LEVELS = (X + Y + 30).astype(np.uint8)
COUNTS = 29_000 + 6 * LEVELS.astype(np.uint16)


def tiff(pixels: NDArray[Any], **tags: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **{"photometric": "minisblack"} | tags)
    return file.getvalue()


def thumbnail_first(pixels: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page, kind in ((pixels[::4, ::4], 1), (pixels, 0)):
            writer.write(page, subfiletype=kind, photometric="minisblack", metadata=None)
    return file.getvalue()


def deep(bits: int, said: bool) -> bytes:
    """The visible frame with that many bits in 16, and perhaps sBIT."""
    samples = (VISIBLE.astype(np.uint16) << (bits - 8)) + 1
    data = codecs.encode_png(samples.astype(np.uint16))
    return data[:33] + (chunk(b"sBIT", bytes([bits] * 3)) if said else b"") + data[33:]


def of_few_colours(bits: int) -> bytes:
    """What Pillow writes for a frame of one colour out of few."""
    image = Image.new("P", SIZE[::-1])
    image.putpalette([200, 100, 50] * 2**bits)
    file = io.BytesIO()
    image.save(file, "PNG", bits=bits)
    return file.getvalue()


def cross_hair() -> bytes:
    marked = np.dstack([LEVELS] * 3)
    marked[45, 61] = (255, 0, 0)
    return codecs.encode_jpeg(marked, 100)


def post(client: httpx.Client, **files: bytes) -> httpx.Response:
    usual = {"visible": codecs.encode_png(VISIBLE), "infrared": codecs.encode_png(LEVELS)}
    return client.post("/fuse-segment?return=fused", files=usual | files)


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_deep_visible_frame_keeps_its_colour(client: httpx.Client, bits: int, said: bool) -> None:
    answer = post(client, visible=deep(bits, said))
    np.testing.assert_array_equal(codecs.decode_visible(answer.content), VISIBLE)


@pytest.mark.parametrize(
    ("visible", "right"),
    [
        (codecs.encode_png(LEVELS), np.dstack([LEVELS] * 3)),
        (of_few_colours(1), np.full_like(VISIBLE, (200, 100, 50))),
        (of_few_colours(2), np.full_like(VISIBLE, (200, 100, 50))),
        (of_few_colours(4), np.full_like(VISIBLE, (200, 100, 50))),
        (thumbnail_first(LEVELS), np.dstack([LEVELS] * 3)),
        (tiff(VISIBLE, photometric="rgb"), VISIBLE),
    ],
    ids=["grey", "1 bit", "2 bit", "4 bit", "thumbnail", "tiff"],
)
def test_visible_frames_are_read_right(
    client: httpx.Client, visible: bytes, right: NDArray[np.uint8]
) -> None:
    answer = post(client, visible=visible)
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(codecs.decode_visible(answer.content), right)


@pytest.mark.parametrize("grey", [True, False])
def test_the_report_tells_a_grey_visible_frame(client: httpx.Client, grey: bool) -> None:
    files = {"visible": codecs.encode_png(LEVELS if grey else VISIBLE)}
    files["infrared"] = codecs.encode_png(LEVELS)
    answer = client.post("/fuse-segment", files=files, headers={"Accept": "application/json"})
    assert answer.json()["report"]["visible_grey"] == grey


def by_client(client: httpx.Client) -> NDArray[np.uint8]:
    with Client(str(client.base_url)) as service:
        fused = service.fuse(LEVELS, LEVELS).fused
    assert fused is not None
    return fused


def by_raw_body(client: httpx.Client) -> NDArray[np.uint8]:
    headers = dict.fromkeys(("Content-Type", "Accept"), "application/octet-stream")
    answer = client.post("/fuse-segment", content=pack(LEVELS, LEVELS), headers=headers)
    return np.frombuffer(RawAnswer.from_bytes(answer.content).picture, np.uint8)


def by_tensors(client: httpx.Client) -> NDArray[np.uint8]:
    tensor = {"datatype": "UINT8", "shape": [1, *SIZE], "data": LEVELS.ravel().tolist()}
    inputs = [tensor | {"name": name} for name in ("visible", "infrared")]
    asked = {"inputs": inputs, "outputs": [{"name": "fused"}]}
    answer = client.post("/v2/models/nano/infer", json=asked).json()
    return np.asarray(answer["outputs"][0]["data"], np.uint8)


@pytest.mark.parametrize("way", [by_client, by_raw_body, by_tensors])
def test_a_grey_camera_is_a_camera_by_every_way_in(
    client: httpx.Client, way: Callable[[httpx.Client], NDArray[np.uint8]]
) -> None:
    np.testing.assert_array_equal(way(client).reshape(VISIBLE.shape), np.dstack([LEVELS] * 3))


@pytest.mark.parametrize(
    ("infrared", "scene"),
    [
        (codecs.encode_png(COUNTS), COUNTS),
        (tiff(COUNTS), COUNTS),
        (tiff(65_535 - COUNTS, photometric="miniswhite"), COUNTS),
        (tiff(255 - LEVELS, photometric="miniswhite"), LEVELS),
        (thumbnail_first(COUNTS), COUNTS),
        (cross_hair(), LEVELS),
    ],
    ids=["png", "tiff", "white is 0", "8 bit, white is 0", "thumbnail", "cross-hair"],
)
def test_the_same_scene_is_as_hot_in_every_file(
    client: httpx.Client, infrared: bytes, scene: codecs.Pixels
) -> None:
    answer = client.post(
        "/fuse-segment",
        files={"visible": codecs.encode_png(VISIBLE), "infrared": infrared},
        headers={"Accept": "application/json"},
    )
    hot = float((codecs.infrared_levels(scene).pixels > HOT).mean())
    assert hot > 0.01
    persons = next(c for c in answer.json()["report"]["classes"] if c["name"] == "person")
    assert persons["share"] == pytest.approx(hot, rel=0.02)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: tiff(np.zeros(SIZE, np.float32)), "depth", "16 bits, such as temperatures"),
        (lambda: tiff(np.zeros((7_000, 7_000), np.float32), compression="zlib"), "too_large", ""),
        (lambda: tiff(np.zeros((1_900, 1_900)), compression="zlib"), "depth", "send counts"),
        (lambda: tiff(COUNTS, extratags=[(274, 3, 1, 6, True)]), "unsupported_type", "turned"),
        (lambda: tiff(COUNTS, bigtiff=True), "unsupported_type", "save it as a classic TIFF"),
        (lambda: grey(8, bytes(32), 8, 4, (256, 4, (8_000,))), "damaged", "256 twice"),
        (lambda: with_scans(20_000), "unsupported_type", "more than 64 scans; save it anew"),
        (lambda: codecs.encode_jpeg(VISIBLE), "channels", "without false colours"),
    ],
)
def test_what_cannot_be_read_right_is_refused_from_its_header_with_a_remedy(
    client: httpx.Client, make: Callable[[], bytes], kind: str, words: str
) -> None:
    data = make()
    start = time.monotonic()
    answer = post(client, infrared=data)
    assert time.monotonic() - start < 5  # some took twenty seconds to decode
    told = answer.json()
    assert (told["kind"], told["part"]) == (kind, "infrared")
    assert words in told["detail"]
