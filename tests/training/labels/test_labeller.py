"""A program or an address of the user's labels frames; what it does wrong is said in time."""

import json
import os
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from segmif.imaging.codecs import (
    decode_visible,
    encode_png,
    read_infrared,
    read_labels,
    read_visible,
)
from tests.conftest import HOT
from training.labels import labeller

from .conftest import BACKGROUND, IGNORE, LIFT, PERSON, SIZE, Run

CLASSES = ["background", "person", "fork lift", "sky"]
# Proposes nothing for "a 1"; for the other, masks that the test wrote, once there is a file `go`.
PROGRAM = """\
import json, sys
from base64 import b64encode
from pathlib import Path
for line in sys.stdin:
    frame = json.loads(line)
    with Path("asked").open("a") as asked:
        asked.write(frame["name"] + "\\n")
    if frame["name"] != "a 1" and not Path("go").exists():
        sys.exit(3)
    mask = b64encode(Path("mask.png").read_bytes()).decode()
    answer = {} if frame["name"] == "a 1" else {"classes": CLASSES, "mask": mask}
    print(json.dumps(answer), flush=True)
""".replace("CLASSES", repr(CLASSES))

Answer = Callable[[dict[str, object]], tuple[int, bytes]]


def mask_of(ids: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> bytes:
    mask = b64encode(encode_png(ids)).decode()
    return json.dumps({"classes": CLASSES, "mask": mask}).encode()


@pytest.fixture
def unlabelled(rig: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The rig without its labels; the test works beside it."""
    for path in (rig / "label").iterdir():
        path.unlink()
    (rig / "label").rmdir()
    monkeypatch.chdir(rig.parent)
    return rig


def test_a_program_proposes_and_is_asked_for_no_frame_twice(
    unlabelled: Path, run: Run, stand_in_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = os.fsync

    def noting(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().parent)
        sync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    ids = np.zeros(SIZE, np.uint8)
    ids[:8], ids[8:16], ids[16:20], ids[20:24] = 1, 2, 3, IGNORE
    Path("mask.png").write_bytes(encode_png(ids))
    Path("labeller.py").write_text(PROGRAM)
    words = "--to", "coco", "--data", unlabelled, "--out", "out"
    asking = "--labeller", f"{sys.executable} labeller.py", "--weights", stand_in_weights
    said = run("export-labels", *words, *asking, fails=True)
    assert "a2D: the labeller" in said and "ended before it had answered (exit code 3)" in said
    assert "1 answers are kept" in said and not Path("out").exists()
    (kept,) = Path().glob(".*/*.json")
    assert kept.parent.resolve() in synced  # or a power cut would leave an answer of no bytes
    Path("go").touch()
    said = run("export-labels", *words, *asking)
    assert "1 by the labeller, 1 by the network" in said
    assert "its classes sky are none of these" in said
    assert Path("asked").read_text().splitlines() == ["a 1", "a2D", "a2D"]
    assert not list(Path().glob(".*"))

    run("import", "--from", "coco", "out", "--data", unlabelled, "--out", "back")
    expected = np.full(SIZE, BACKGROUND, np.uint8)
    expected[20:24] = IGNORE
    black_hot = read_infrared(unlabelled / "infrared/a2D.png")
    expected[255 - black_hot > HOT] = PERSON  # by the network
    expected[:8], expected[8:16] = PERSON, LIFT
    np.testing.assert_array_equal(read_labels(Path("back/label/a2D.png")), expected)


def test_an_address_proposes_and_its_faults_are_said(
    unlabelled: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = np.zeros((2, 3), np.uint8)
    nine = np.full(SIZE, 9, np.uint8)
    faults: dict[str, tuple[int, bytes]] = {
        "its mask is 3x2, the frame is 64x48": (200, mask_of(small)),
        "has the id 9, but it names 4 classes": (200, mask_of(nine)),
        "it says: no memory": (200, b'{"error": "no memory"}'),
        "its answer begins 'oops'": (200, b"oops"),
        "its answer begins '{": (200, b'{"classes": ["a"], "mask": "????"}'),
        "status 503: busy": (503, b"busy"),
        "status 302; redirects are not followed": (302, b""),
        "more than 4,096 bytes": (200, b" " * 5000),
    }
    monkeypatch.setattr(labeller, "ANSWER_BYTES", 4096)
    words = "export-labels", "--to", "coco", "--data", unlabelled, "--out", "out"
    given: list[tuple[int, bytes]] = []
    frames: list[dict[str, object]] = []

    def answer(request: dict[str, object]) -> tuple[int, bytes]:
        frames.append(request)
        return given[0]

    with answering(answer) as url:
        for expected, fault in faults.items():
            given[:] = [fault]
            assert expected in run(*words, "--labeller", url, fails=True)
        given[:] = [(200, mask_of(np.full(SIZE, 1, np.uint8)))]
        assert "2 by the labeller" in run(*words, "--labeller", url)
    (visible,) = (each["visible"] for each in frames if each["name"] == "a2D")
    pixels = decode_visible(b64decode(str(visible)))
    np.testing.assert_array_equal(pixels, read_visible(unlabelled / "visible/a2D.png"))


def test_a_labeller_that_hangs_is_given_up_in_time(unlabelled: Path, run: Run) -> None:
    words = "export-labels", "--to", "coco", "--data", unlabelled, "--out", "out"
    patience = "--labeller-timeout", 0.3
    released = threading.Event()

    def answer(request: dict[str, object]) -> tuple[int, bytes]:
        released.wait(20)
        return 200, b"{}"

    began = time.monotonic()
    with answering(answer) as url:
        for hanging in (url, "sh -c 'cat > /dev/null & sleep 60; wait'", "cat /dev/zero"):
            said = run(*words, *patience, "--labeller", hanging, fails=True)
            assert "no answer within 0.3 s" in said or "bytes in one line" in said
        released.set()
    assert time.monotonic() - began < 20
    assert "nothing-of-this-name" in run(*words, "--labeller", "nothing-of-this-name", fails=True)


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """An HTTP server; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            status, body = answer(json.loads(self.rfile.read(length)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *given: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/masks"
        finally:
            server.shutdown()
            thread.join()
