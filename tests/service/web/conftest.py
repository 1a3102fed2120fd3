"""The page in Chromium, driven by Playwright; an error of a script fails the test."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

Open = Callable[..., Page]

WITHOUT_SAMPLE = "?sample=none"

# A camera for every page that asks, and no sandbox: containers give none.
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


# Playwright's event loop runs until its end: coroutines in other modules need theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, started once for the tests of a module."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open an address: `open_page(url, width=360, color_scheme="dark")`; scripts must not fail."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def opened(
        url: str,
        width: int = 1280,
        height: int = 800,
        prepare: Callable[[Page], None] | None = None,
        **options: Any,
    ) -> Page:
        viewport = ViewportSize(width=width, height=height)
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.extend([said.text] * (said.type == "error")))
        if prepare:
            prepare(page)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    # To the console these are errors too, and what the page makes of them is tested: a status of
    # 400 and more, and a live view that connects again as the service ends.
    network = "Failed to load resource", "closed before receiving a handshake response"
    assert not [error for error in errors if not any(words in error for words in network)]


def fused(page: Page) -> Page:
    """Wait until the page shows a result."""
    page.wait_for_selector("#result:visible")
    page.wait_for_selector("body:not(.busy)")
    return page


def give(page: Page, visible: Path, infrared: Path) -> None:
    """Pick two files on a page `WITHOUT_SAMPLE`, and wait for what becomes of them."""
    page.wait_for_selector("#message >> text=There is no sample")
    page.set_input_files("[data-part=visible] input", visible)
    with page.expect_response(lambda answer: "/fuse-segment" in answer.url):
        page.set_input_files("[data-part=infrared] input", infrared)
    page.wait_for_selector("body:not(.busy)")


def pixel_on_screen(page: Page, x: int, y: int, width: int, height: int) -> tuple[float, float]:
    """Where the middle of a picture's pixel lies while the picture of that size is fitted."""
    box = page.locator("#canvas").bounding_box()
    assert box
    scale = min(box["width"] / width, box["height"] / height)
    left = box["x"] + (box["width"] - width * scale) / 2
    top = box["y"] + (box["height"] - height * scale) / 2
    return left + (x + 0.5) * scale, top + (y + 0.5) * scale


def colour_at(page: Page, at: tuple[float, float]) -> tuple[int, ...]:
    """What the viewer's canvas shows (RGB) at a point of the screen."""
    found: list[int] = page.evaluate(
        """async ([x, y]) => {
            for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
            const canvas = document.getElementById("canvas");
            const { left, top } = canvas.getBoundingClientRect();
            const pixel = canvas.getContext("2d").getImageData(x - left, y - top, 1, 1).data;
            return [...pixel.slice(0, 3)];
        }""",
        list(at),
    )
    return tuple(found)
