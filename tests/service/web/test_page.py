"""The page as it comes: under a prefix, with faults, errors, tokens, and for everybody."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Page, Route, expect

from segmif.frames import DEFAULT_TINT
from segmif.geometry.rig import write_rig
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from service.pipeline.align import RigAligner
from service.settings import Settings
from tests.service.api.test_rig import two_cameras
from tests.service.conftest import Serve, Start
from tests.service.web.conftest import WITHOUT_SAMPLE, Open, fused, give

DAY = Path("service/web/samples/day")
TOKEN = "wren-and-sparrow"


@contextmanager
def in_front(service: httpx.Client, refused: str) -> Iterator[str]:
    """A proxy at /cameras/ that answers in the place of the service to paths that begin so."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.removeprefix("/cameras")
            if path == self.path or path.startswith(refused):
                self.answer(502, "text/html", b"<html>Bad Gateway</html>")
                return
            kept = {name: self.headers[name] for name in ("Content-Type", "Accept", "Origin")}
            headers = {name: value for name, value in kept.items() if value}
            given = service.request(
                self.command, path, content=body, headers=headers | {"Host": self.headers["Host"]}
            )
            self.answer(given.status_code, given.headers["content-type"], given.content)

        do_POST = do_GET

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/cameras/"
    finally:
        server.shutdown()
        server.server_close()


def message(page: Page) -> str:
    page.wait_for_selector("#message:visible")
    return page.inner_text("#message")


def test_a_sample_is_fused_at_first_sight_also_under_a_prefix(
    client: httpx.Client, open_page: Open
) -> None:
    with in_front(client, "/nothing") as url:
        page = fused(open_page(url))
        assert page.get_attribute("[data-name=day]", "aria-pressed") == "true"
        assert page.inner_text("#total").endswith(" ms")
        assert page.inner_text("#facts").startswith("Network\nnano, fp32\nDevice\nCPU")
        assert not page.is_visible("#message") and not page.is_visible("#tabs")
        page.click("[data-name=night]")
        page.wait_for_selector("[data-name=night][aria-pressed=true]")


def test_the_page_names_the_faults_of_a_pair(
    serve: Serve, stand_in_weights: Path, open_page: Open
) -> None:
    invalid = ",".join(str(level) for level in range(60, 76))  # levels of much of the sample
    settings = Settings(weights=stand_in_weights, infrared_invalid=invalid)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        page = fused(open_page(f"{client.base_url}?sample=night"))
        assert page.inner_text("#faults") == "Faults of this pair: infrared invalid."


@pytest.mark.parametrize("refused", ["/fuse-segment", "/classes"])
def test_the_answer_of_a_proxy_is_named_as_that(
    client: httpx.Client, open_page: Open, refused: str
) -> None:
    with in_front(client, refused) as url:
        text = message(open_page(url))
    assert "The answer has the status 502 Bad Gateway and is text/html" in text
    assert "perhaps that of a proxy before it." in text


def test_a_refusal_is_shown_in_the_words_of_the_service(
    client: httpx.Client, open_page: Open, tmp_path: Path
) -> None:
    (tmp_path / "infrared.png").write_bytes(b"no picture")
    page = open_page(f"{client.base_url}{WITHOUT_SAMPLE}")
    give(page, DAY / "visible.png", tmp_path / "infrared.png")
    assert message(page).startswith("Infrared: ")
    assert "wrong" in (page.get_attribute("[data-part=infrared]", "class") or "")
    assert page.is_visible(".hint") and not page.is_visible("#result")
    page.set_input_files("[data-part=infrared] input", DAY / "infrared.png")
    fused(page)
    assert not page.is_visible("#message")


def test_a_service_that_is_busy_is_asked_again(client: httpx.Client, open_page: Open) -> None:
    refusals = iter(["the service is busy"])

    def answer(route: Route) -> None:
        if detail := next(refusals, None):
            headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
            route.fulfill(status=503, headers=headers, body=json.dumps({"detail": detail}))
        else:
            route.continue_()

    page = open_page(
        str(client.base_url), prepare=lambda page: page.route("**/fuse-segment*", answer)
    )
    assert message(page) == "The service is busy."
    fused(page)
    assert not page.is_visible("#message")


def test_the_depth_is_asked_for_only_with_a_rig(
    serve: Serve, stand_in_weights: Path, open_page: Open, tmp_path: Path
) -> None:
    write_rig(tmp_path / "rig.yaml", two_cameras())
    rig, runtime = (
        RigAligner(tmp_path / "rig.yaml", 10.0),
        open_runtime(stand_in_weights, threads=1),
    )
    with serve(Settings(weights=stand_in_weights), runtime, rig) as service:
        page = open_page(str(service.base_url))
        assert "the rig was calibrated at" in message(page)  # the sample is not of these cameras
        assert not page.is_visible("#depth")
        visible, infrared = (np.full(size, 90, np.uint8) for size in ((64, 96, 3), (32, 48)))
        infrared[10:20, 10:20] = 230
        for part, pixels in (("visible", visible), ("infrared", infrared)):
            png = codecs.encode_png(pixels)
            file = FilePayload(name="f.png", mimeType="image/png", buffer=png)
            page.set_input_files(f"[data-part={part}] input", [file])
        fused(page)
        with page.expect_response(lambda answer: "depth_m=4" in answer.url):
            page.fill("#depth", "4")
            page.keyboard.press("Tab")
        expect(page.locator("#facts")).to_contain_text("4 m")


def test_the_hue_has_a_slider(client: httpx.Client, open_page: Open) -> None:
    page = fused(open_page(str(client.base_url)))
    assert page.input_value("#tint") == str(DEFAULT_TINT)  # that of the service, from the report
    with page.expect_response(lambda answer: "tint=0" in answer.url):
        page.fill("#tint", "0")
    expect(page.locator("#facts")).to_contain_text("Hue0")


def test_two_dropped_files_find_their_places(client: httpx.Client, open_page: Open) -> None:
    page = fused(open_page(str(client.base_url)))
    page.evaluate(
        """async () => {
            const files = new DataTransfer();
            for (const name of ["infrared", "visible"]) {
                const picture = await (await fetch(`samples/glare/${name}.png`)).blob();
                files.items.add(new File([picture], `${name}_7.png`, { type: "image/png" }));
            }
            document.getElementById("stage").dispatchEvent(
                new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
        }"""
    )
    page.wait_for_selector("[data-part=infrared] .name >> text=infrared_7.png")
    fused(page)
    page.click("#swap")
    assert page.inner_text("[data-part=infrared] .name") == "visible_7.png"
    assert "3 different channels" in message(page)


def test_the_request_as_text_never_holds_the_token(start: Start, open_page: Open) -> None:
    with start(token=TOKEN) as client:
        page = open_page(str(client.base_url))
        page.fill("dialog input", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog >> text=not the operator's")
        page.fill("dialog input", TOKEN)
        page.keyboard.press("Enter")
        fused(page)
        page.click("summary")
        for text in (page.inner_text("#curl"), page.inner_text("#python")):
            assert TOKEN not in text
            assert "SEGMIF_TOKEN" in text and "day-visible.png" in text
        assert f"{client.base_url}/fuse-segment?return=fused,mask" in page.inner_text("#curl")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light")])
def test_nothing_keeps_anybody_out(
    client: httpx.Client, open_page: Open, width: int, scheme: str
) -> None:
    page = fused(open_page(str(client.base_url), width, color_scheme=scheme))
    page.click("summary")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not [(each["id"], [node["target"] for node in each["nodes"]]) for each in serious]
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0


def test_the_switch_of_the_theme_holds(client: httpx.Client, open_page: Open) -> None:
    page = open_page(str(client.base_url), color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light


def test_files_of_the_page_are_asked_for_anew(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/web/page.js"):
        assert client.get(path).headers["Cache-Control"] == "no-cache"
    tag = client.get("/web/page.js").headers["ETag"]
    assert client.get("/web/page.js", headers={"If-None-Match": tag}).status_code == 304
