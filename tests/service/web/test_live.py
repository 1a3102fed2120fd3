"""The live tab: in front of a real rig, and of a stand-in that fails as rigs do."""

import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tomli
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from segmif.imaging import codecs
from service.live.events.rules import Zone
from service.schemas.live_state import RigState, SinkState, SourceState
from tests.conftest import HOT, PERSON
from tests.service.live.events.test_webhook import event
from tests.service.live.test_run import running
from tests.service.web.conftest import Open, colour_at, fused, pixel_on_screen

HEIGHT, WIDTH = 48, 64
random = np.random.default_rng(5)
VISIBLE = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
LEVELS = np.full((HEIGHT, WIDTH), 40, np.uint8)
LEVELS[10:40, 30:50] = HOT + 20
LABELS = np.where(LEVELS > HOT, PERSON, 0).astype(np.uint8)
COUNTS = random.integers(20_000, 40_000, (HEIGHT, WIDTH), np.uint16)


def state(name: str, **changed: Any) -> dict[str, Any]:
    camera = SourceState(
        address=f"rtsp://{name}",
        state="connected",
        rate=25.0,
        frames=900,
        unpaired=2,
        reconnects=0,
        error=None,
    )
    rig = RigState(
        name=name,
        rate=24.9,
        latency_ms=61.2,
        skew_ms=-4.5,
        flags=[],
        flagged={},
        pairs={"ok": 880, "late": 3},
        dropped=3,
        level="full rate",
        error=None,
        sources={"visible": camera, "infrared": camera},
        sinks=[SinkState(name="video", dropped=7, error=None)],
    )
    return rig.model_dump() | changed


class Rigs:
    """What the endpoint would say: two rigs, one of which sends a result whenever it is asked."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report, self.states = report, [state("gate"), state("yard")]
        self.sockets: list[WebSocketRoute] = []
        self.asked = 0
        self.names: set[str] = set()  # of the parts that were asked for last
        self.bounds = 10**6  # results until the camera gives no more

    def route(self, page: Page) -> None:
        page.route("**/live", self.tell)
        page.route_web_socket("**/live/*", self.connect)

    def tell(self, route: Route) -> None:
        route.fulfill(json={"rigs": self.states})

    def connect(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        if socket.url.endswith("/gate"):
            socket.on_message(lambda text: self.answer(socket, text))

    def answer(self, socket: WebSocketRoute, text: str | bytes) -> None:
        word, *names = str(text).split(" ")
        assert word == "next"
        self.names = set(names)
        if self.asked < self.bounds:
            self.asked += 1
            socket.send(self.message())

    def message(self) -> bytes:
        jpeg = {"type": "image/jpeg"}
        arrays: dict[str, Any] = {"type": "uint8", "encoding": "deflate", "shape": [HEIGHT, WIDTH]}
        parts = [
            ({"name": "visible"} | jpeg, codecs.encode_jpeg(VISIBLE)),
            ({"name": "infrared"} | jpeg, codecs.encode_jpeg(LEVELS)),
            ({"name": "fused"} | jpeg, codecs.encode_jpeg(VISIBLE)),
            ({"name": "mask"} | arrays, zlib.compress(LABELS.tobytes())),
            (
                {"name": "counts"} | arrays | {"type": "uint16"},
                zlib.compress(COUNTS.astype("<u2").tobytes()),
            ),
        ]
        parts = [part for part in parts if part[0]["name"] in self.names]
        header = {
            "rig": "gate",
            "shape": [HEIGHT, WIDTH],
            "view": [HEIGHT, WIDTH],
            "sequence": self.asked,
            "visible_ns": 1,
            "infrared_ns": 2,
            "report": self.report,
            "state": self.states[0] | {"dropped": self.asked},
            "parts": [part | {"bytes": len(body)} for part, body in parts],
        }
        head = json.dumps(header).encode()
        return struct.pack("<I", len(head)) + head + b"".join(body for _, body in parts)


@pytest.fixture
def rigs(client: httpx.Client) -> Rigs:
    files = {"visible": codecs.encode_png(VISIBLE), "infrared": codecs.encode_png(LEVELS)}
    accept = {"Accept": "application/json"}
    return Rigs(client.post("/fuse-segment", files=files, headers=accept).json()["report"])


@pytest.fixture
def page(client: httpx.Client, open_page: Open, rigs: Rigs) -> Page:
    page = fused(open_page(str(client.base_url), prepare=rigs.route))
    page.click("[role=tab] >> text=Live: gate")
    return page


def test_a_rig_behind_a_token(stand_in_weights: Path, tmp_path: Path, open_page: Open) -> None:
    flags = ("--visible", "synthetic:96x64@20", "--infrared", "synthetic:96x64@20")
    with running(stand_in_weights, tmp_path / "log", *flags, token="wren") as (_, client):
        page = open_page(f"{client.base_url}#live/rig")
        page.fill("dialog input", "wren")
        page.keyboard.press("Enter")
        expect(page.locator("#facts")).to_contain_text("nano, fp32")
        page.mouse.move(*pixel_on_screen(page, 3, 3, 96, 64))
        expect(page.locator("#read-counts")).to_have_text(re.compile(r"\d{5}"))
        expect(page.locator("#live-sources")).to_contain_text("synthetic:96x64@20")
        assert not page.is_visible("#live-lost")
    expect(page.locator("#live-lost")).to_contain_text("the next try is in")


def test_live_pictures_are_shown_and_read_out(page: Page, rigs: Rigs) -> None:
    expect(page.locator("#live-numbers")).to_contain_text("24.9")
    expect(page.locator("#facts")).to_contain_text("nano, fp32")
    page.wait_for_selector("#live-sources >> text=connected")
    for x, y in ((2, 3), (40, 20)):
        page.mouse.move(*pixel_on_screen(page, x, y, WIDTH, HEIGHT))
        expect(page.locator("#read-counts")).to_have_text(str(COUNTS[y, x]))
        name = "person" if LABELS[y, x] else "unlabelled"
        expect(page.locator("#read-class")).to_have_text(name)
    assert not page.is_visible("#pair") and not page.is_visible("#keep")
    asked = rigs.asked
    until(page, lambda: rigs.asked > asked)  # the page asks for more


def until(page: Page, holds: Callable[[], bool], limit_s: int = 15) -> None:
    for _ in range(20 * limit_s):
        if holds():
            return
        page.wait_for_timeout(50)
    assert holds()


def test_what_is_shown_is_asked_for_and_no_more(page: Page, rigs: Rigs) -> None:
    page.wait_for_selector("#live-numbers >> text=24.9")
    expect(page.locator("#read-counts")).not_to_have_text(re.compile(r"\d"))
    until(page, lambda: rigs.names == {"fused", "mask", page.input_value("#left-view")})
    rigs.bounds = rigs.asked  # the camera gives no more: what is chosen now is asked for at once
    page.select_option("#left-view", "infrared")
    until(page, lambda: rigs.names == {"fused", "mask", "infrared"})
    rigs.bounds = 10**6
    page.select_option("#right-view", "visible")
    until(page, lambda: rigs.names == {"infrared", "visible"})
    page.mouse.move(*pixel_on_screen(page, 40, 20, WIDTH, HEIGHT))
    expect(page.locator("#read-counts")).to_have_text(str(COUNTS[20, 40]))
    assert rigs.names == {"visible", "infrared", "mask", "confidence", "counts"}
    assert colour_at(page, pixel_on_screen(page, 40, 20, WIDTH, HEIGHT)) != (0, 0, 0)
    page.mouse.move(5, 5)
    expect(page.locator("#read-counts")).not_to_have_text(re.compile(r"\d"))


def test_boxes_zones_and_events_are_shown(page: Page, rigs: Rigs) -> None:
    page.wait_for_selector("#live-numbers >> text=24.9")
    assert not page.is_visible("#live-events")
    box = {"id": PERSON, "name": "person", "box": [30, 10, 20, 30], "area": 600}
    person = box | {"centroid": [39.5, 24.5], "confidence": 1, "track": 7}
    animal = {"box": [4, 10, 12, 30], "area": 600, "centroid": [69.5, 24.5], "track": 3}
    rigs.report["objects"] = {"found": [person], "left_out": 0, "unknown": [animal]}
    zone = {"name": "yard", "polygon": [[0.1, 0.2], [0.3, 0.2], [0.3, 0.9]], "units": "relative"}
    going = event(3).model_dump(mode="json")
    rigs.states[0] |= {"zones": [zone], "events": [going]}
    row = page.locator("#live-events tbody tr")
    expect(row).to_contain_text(re.compile("intruder.*yärd.*person.*now"))
    edge = pixel_on_screen(page, 49, 30, WIDTH, HEIGHT)
    edge = edge[0] + (pixel_on_screen(page, 50, 30, WIDTH, HEIGHT)[0] - edge[0]) / 2, edge[1]
    drawn = colour_at(page, edge)
    left = sum(pixel_on_screen(page, x, 0, WIDTH, HEIGHT)[0] for x in (3, 4)) / 2
    dashes = [(left, pixel_on_screen(page, 4, row, WIDTH, HEIGHT)[1]) for row in range(20, 32, 3)]
    white = [colour_at(page, at) for at in dashes]
    page.uncheck("#show-marks")
    assert colour_at(page, edge) != drawn
    assert [colour_at(page, at) for at in dashes] != white
    rigs.states[0]["events"] = [going, going | {"phase": "end", "reason": "over"}]
    expect(row).to_contain_text("over")
    expect(row).to_have_count(1)


def test_a_zone_is_drawn_with_the_pointer(page: Page, rigs: Rigs) -> None:
    page.wait_for_selector("#live-numbers >> text=24.9")
    page.click("#draw-zone")
    for x, y in ((6, 9), (20, 9), (20, 40)):
        page.mouse.click(*pixel_on_screen(page, x, y, WIDTH, HEIGHT))
    text = page.locator("#zone-text").text_content() or ""
    corners = [(x * WIDTH - 0.5, y * HEIGHT - 0.5) for x, y in parsed_zone(text).polygon]
    assert corners == [pytest.approx(each, abs=0.6) for each in ((6, 9), (20, 9), (20, 40))]
    page.click("#draw-zone")
    page.mouse.click(*pixel_on_screen(page, 40, 40, WIDTH, HEIGHT))
    assert page.locator("#zone-text").text_content() == text


def test_infrared_is_shown_where_it_is_moved_to(page: Page, rigs: Rigs) -> None:
    page.wait_for_selector("#live-numbers >> text=24.9")
    page.select_option("#left-view", "infrared")
    edge = pixel_on_screen(page, 31, 20, WIDTH, HEIGHT)  # the warm part begins at 30
    until(page, lambda: colour_at(page, edge)[0] > 100)
    page.click("#nudge-right", modifiers=["Shift"])
    until(page, lambda: colour_at(page, edge)[0] < 100)
    page.click("#nudge-none")
    until(page, lambda: colour_at(page, edge)[0] > 100)
    assert not page.is_visible("#nudge-save")  # the operator lets nobody write the rig file


def parsed_zone(text: str) -> Zone:
    """The zone of a settings file that ends with these lines."""
    rig = '[[rigs]]\nvisible = "a"\ninfrared = "b"\n'
    (zone,) = tomli.loads(rig + text)["rigs"][0]["zones"]
    return Zone.model_validate(zone)


def test_a_lost_socket_is_named_and_opened_again(page: Page, rigs: Rigs) -> None:
    page.wait_for_selector("#live-numbers >> text=24.9")
    rigs.sockets[0].close(code=1012, reason="the service stops")
    expect(page.locator("#live-lost")).to_have_text("the service stops; the next try is in 0.5 s")
    page.wait_for_selector("#live-lost", state="hidden")
    assert len(rigs.sockets) == 2


def test_a_lost_camera_shows_without_new_results(page: Page, rigs: Rigs) -> None:
    page.wait_for_selector("#live-sources >> text=connected")
    rigs.bounds = 0
    sources = rigs.states[0]["sources"]
    said = {"state": "lost", "damaged": 123, "reconnects": 4, "error": "no route to host"}
    lost = sources["infrared"] | said
    rigs.states[0] = state("gate", flags=["infrared_missing"], sources=sources | {"infrared": lost})
    expect(page.locator("#live-sources .bad")).to_contain_text(["lost", "no route to host"])
    expect(page.locator("#live-sources .bad").first).to_contain_text("123")
    expect(page.locator("#live-facts")).to_contain_text("infrared missing")


def test_the_tabs_by_keyboard_and_for_everybody(page: Page, rigs: Rigs) -> None:
    page.wait_for_selector("#live-numbers >> text=24.9")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert not [each["id"] for each in found if each["impact"] in ("serious", "critical")]
    page.keyboard.press("ArrowLeft")
    expect(page.locator("[aria-selected=true]")).to_have_text("Pair")
    fused(page)
    asked = rigs.asked
    assert page.is_visible("#pair") and not page.is_visible("#live")
    page.keyboard.press("ArrowLeft")  # round to the last
    expect(page.locator("[aria-selected=true]")).to_have_text("Live: yard")
    assert rigs.asked == asked
