"""The viewer: wipe, zoom, classes, palettes, and a read-out of the service's numbers."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from segmif.classes import MFNET, overlay_palette
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from service.settings import Settings
from tests.conftest import HOT, PERSON
from tests.service.conftest import Serve
from tests.service.web.conftest import WITHOUT_SAMPLE, Open, colour_at, fused, give, pixel_on_screen

SIZE = WIDTH, HEIGHT = 80, 60
LOW, HIGH = 29_000, 31_000  # counts shown as black and white
KELVIN_PER_COUNT, KELVIN_AT_ZERO = 0.01, 0.5
COLD, WARM, MIDDLE = (5, 7), (60, 40), (30, 20)  # x, y; a person is warm
random = np.random.default_rng(3)
VISIBLE = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
COUNTS = (np.linspace(LOW, 29_900, WIDTH) + random.integers(0, 90, (HEIGHT, WIDTH))).astype(
    np.uint16
)
COUNTS[30:50, 50:70] += 1_000


@pytest.fixture(scope="module")
def url(serve: Serve, stand_in_weights: Path) -> Iterator[str]:
    """A service whose infrared camera states its temperatures, and whose gain is fixed."""
    settings = Settings(
        weights=stand_in_weights,
        gain="fixed",
        gain_low=LOW,
        gain_high=HIGH,
        infrared_kelvin_per_count=KELVIN_PER_COUNT,
        infrared_kelvin_at_zero=KELVIN_AT_ZERO,
    )
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        yield str(client.base_url)


@pytest.fixture
def page(url: str, open_page: Open, tmp_path: Path) -> Page:
    """The page with a pair of known pixels, each larger than a pixel of the screen."""
    codecs.write_png(tmp_path / "visible.png", VISIBLE)
    codecs.write_png(tmp_path / "infrared.png", COUNTS)
    page = open_page(url + WITHOUT_SAMPLE)
    give(page, tmp_path / "visible.png", tmp_path / "infrared.png")
    return page


def level(x: int, y: int) -> int:
    return round((int(COUNTS[y, x]) - LOW) * 255 / (HIGH - LOW))


def readings(page: Page) -> dict[str, str]:
    names = ("pixel", "class", "confidence", "level", "counts", "celsius")
    return {name: page.inner_text(f"#read-{name}") for name in names}


def expected(x: int, y: int) -> dict[str, str]:
    hot = level(x, y) > HOT
    celsius = KELVIN_PER_COUNT * int(COUNTS[y, x]) + KELVIN_AT_ZERO - 273.15
    return {
        "pixel": f"{x}, {y}",
        "class": "person" if hot else "unlabelled",
        "confidence": "100.0 %" if hot else "20.0 %",
        "level": str(level(x, y)),
        "counts": str(COUNTS[y, x]),
        "celsius": f"{celsius:.1f} °C",
    }


def on_screen(page: Page, pixel: tuple[int, int]) -> tuple[float, float]:
    return pixel_on_screen(page, *pixel, *SIZE)


def choose(page: Page, left: str, right: str) -> None:
    page.select_option("#left-view", label=left)
    page.select_option("#right-view", label=right)


def test_the_read_out_is_the_pixel_of_mask_and_frames(page: Page) -> None:
    corners = [(0, 0), (WIDTH - 1, HEIGHT - 1)]
    for x, y in [COLD, WARM, *corners, *random.integers(0, (WIDTH, HEIGHT), (12, 2)).tolist()]:
        page.mouse.move(*on_screen(page, (x, y)))
        assert readings(page) == expected(x, y)


def test_no_temperature_unless_the_camera_states_it(
    client: object, page: Page, open_page: Open
) -> None:
    assert page.is_visible("#celsius")
    page.set_input_files("[data-part=infrared] input", "service/web/samples/day/infrared.png")
    page.wait_for_selector("#celsius", state="hidden")  # 8 bit: levels are no counts


def test_the_wipe_parts_two_pictures(page: Page) -> None:
    choose(page, "Visible", "Infrared")
    point = on_screen(page, COLD)
    visible, infrared = tuple(VISIBLE[COLD[1], COLD[0]]), (level(*COLD),) * 3
    assert colour_at(page, point) == visible
    handle = page.locator("#wipe").bounding_box()
    assert handle
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + 20)
    page.mouse.down()
    page.mouse.move(point[0] - 20, point[1], steps=3)
    page.mouse.up()
    assert colour_at(page, point) == infrared
    page.focus("#wipe")
    page.keyboard.press("End")
    assert page.get_attribute("#wipe", "aria-valuenow") == "100"
    page.keyboard.press("Shift+ArrowLeft")
    assert page.get_attribute("#wipe", "aria-valuenow") == "90"
    assert colour_at(page, point) == visible
    page.click("#exchange")
    assert colour_at(page, point) == infrared


def test_zoom_and_pan_move_both_pictures_in_step(page: Page) -> None:
    choose(page, "Visible", "Visible")
    point = on_screen(page, MIDDLE)
    fitted = page.inner_text("#zoom")
    page.mouse.move(*point)
    page.mouse.wheel(0, -300)
    expect(page.locator("#zoom")).not_to_have_text(fitted)
    page.mouse.move(point[0] + 1, point[1])
    assert readings(page)["pixel"] == f"{MIDDLE[0]}, {MIDDLE[1]}"
    assert colour_at(page, point) == tuple(VISIBLE[MIDDLE[1], MIDDLE[0]])
    page.mouse.down()
    page.mouse.move(point[0] + 40, point[1] + 30, steps=4)
    page.mouse.up()
    assert readings(page)["pixel"] == f"{MIDDLE[0]}, {MIDDLE[1]}"  # it went with the pointer
    moved = point[0] + 40, point[1] + 30
    assert colour_at(page, moved) == tuple(VISIBLE[MIDDLE[1], MIDDLE[0]])
    assert colour_at(page, point) != tuple(VISIBLE[MIDDLE[1], MIDDLE[0]])
    zoomed = page.inner_text("#zoom")
    page.click("#zoom-out")
    assert page.inner_text("#zoom") != zoomed
    page.click("#fit")
    assert colour_at(page, point) == tuple(VISIBLE[MIDDLE[1], MIDDLE[0]])


def test_two_fingers_zoom_and_one_scrolls(url: str, open_page: Open) -> None:
    page = fused(open_page(url, 360, 640, has_touch=True))
    fitted = page.inner_text("#zoom")
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    left, top = pixel_on_screen(page, 200, 240, 640, 480)
    send("touchStart", (left, top), (left + 40, top))
    for spread in (50, 80, 120):
        send("touchMove", (left, top), (left + spread, top))
    send("touchEnd")
    expect(page.locator("#zoom")).not_to_have_text(fitted)
    assert page.inner_text("#read-pixel")[0].isdigit()
    page.touchscreen.tap(left, top)
    tapped = page.inner_text("#read-pixel")
    page.click("#fit")
    send("touchStart", (left, top))
    for way in (40, 80, 120):
        send("touchMove", (left, top - way))
    send("touchEnd")
    expect(page.locator("h1")).not_to_be_in_viewport()
    assert page.inner_text("#read-pixel") == tapped  # the cross-hair stays


def test_a_class_that_is_off_is_not_drawn(page: Page) -> None:
    choose(page, "Fused", "Overlay")
    point = on_screen(page, WARM)
    plain, tint = VISIBLE[WARM[1], WARM[0]], overlay_palette(MFNET)[PERSON]
    drawn = 0.45 * tint.astype(float) + 0.55 * plain.astype(float)
    assert np.abs(np.array(colour_at(page, point)) - drawn).max() < 2
    page.uncheck("#legend input >> nth=2")
    assert colour_at(page, point) == tuple(plain)
    page.click("#all-classes")
    assert colour_at(page, point) != tuple(plain)
    page.fill("#opacity", "100")
    assert colour_at(page, point) == tuple(tint)


def test_palettes_colour_infrared_only(page: Page) -> None:
    choose(page, "Visible", "Infrared")
    points = on_screen(page, COLD), on_screen(page, WARM)
    page.select_option("#palette", "Black hot")
    assert colour_at(page, points[1]) == (255 - level(*WARM),) * 3
    page.select_option("#palette", "Iron")
    red, _, blue = colour_at(page, points[1])
    assert red > 200 > blue
    assert colour_at(page, points[0]) == tuple(VISIBLE[COLD[1], COLD[0]])


DECODE = """async (bytes) => {
    const { decodePng } = await import(new URL("web/png.js", document.baseURI));
    const { width, height, pixels } = await decodePng(new Blob([new Uint8Array(bytes)]));
    return { size: [height, width], pixels: [...pixels] };
}"""


def test_pixels_of_a_png_are_exact_whatever_its_filter(url: str, open_page: Open) -> None:
    page = open_page(url + WITHOUT_SAMPLE)
    waves = np.sin(np.arange(12) / 3)[:, None] * np.cos(np.arange(17) / 4)
    levels = (120 * waves + 127).astype(np.uint8)
    colours = np.dstack([levels, 255 - levels, levels // 2])
    for pixels in (levels, (levels.astype(np.uint16) << 6) + 9000, colours):
        for filter in (8, 16, 32, 64, 128):  # none, sub, up, average, Paeth
            written = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_FILTER, filter])[1]
            found = page.evaluate(DECODE, written.tolist())
            assert found["size"] == [12, 17]
            given = pixels if pixels.ndim == 2 else pixels[..., ::-1]  # OpenCV has BGR
            np.testing.assert_array_equal(found["pixels"], given.ravel())


def test_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    reached = set()
    for _ in range(60):
        reached.add(page.evaluate("document.activeElement.id"))
        page.keyboard.press("Tab")
    assert {
        "left-view",
        "exchange",
        "right-view",
        "palette",
        "opacity",
        "zoom-in",
        "fit",
    } <= reached
    assert {"theme", "canvas", "wipe", "swap", "refine", "save-overlay"} <= reached
    page.focus("#canvas")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    x, y = WIDTH // 3 + 1, HEIGHT // 2 + 10
    assert readings(page) == expected(x, y)
    for name in ("class", "counts", "celsius"):
        assert expected(x, y)[name] in page.inner_text("#spoken")
    zoom = page.inner_text("#zoom")
    for _ in range(8):
        page.keyboard.press("+")
    assert page.inner_text("#zoom") != zoom
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    assert not readings(page)["pixel"][0].isdigit()
    assert page.inner_text("#zoom") == zoom


def test_what_is_saved_is_what_is_shown(page: Page, tmp_path: Path) -> None:
    page.uncheck("#legend input >> nth=2")
    for name in ("fused", "overlay", "mask", "report"):
        with page.expect_download() as saved:
            page.click(f"#save-{name}")
        saved.value.save_as(tmp_path / saved.value.suggested_filename)
    np.testing.assert_array_equal(codecs.read_visible(tmp_path / "fused.png"), VISIBLE)
    np.testing.assert_array_equal(codecs.read_visible(tmp_path / "overlay.png"), VISIBLE)
    warm = codecs.read_labels(tmp_path / "mask.png")[WARM[1], WARM[0]]
    assert warm == PERSON
    assert b'"engine"' in (tmp_path / "report.json").read_bytes()
