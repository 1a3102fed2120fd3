"""
Bodies of up to 32 MB with a deadline of 2 s: each must be answered or refused within 2.5 s.

    python -m benchmarks.service.bodies --out benchmarks/results/service_bodies.json

One body at a time, beside a probe every 0.1 s. Exits with 1 if one takes longer, ends without an
answer or with 500.
"""

import argparse
import io
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from statistics import median

import cv2
import httpx
import numpy as np
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.results_file import save
from benchmarks.service.attacks import livez, outcome_of
from benchmarks.service.request_forms import multipart, raw_pair
from benchmarks.service.servers import our_service
from segmif.argument_types import IntegerRange
from segmif.wire.binary_pair import RawAnswer

DEADLINE_MS, MOST_MS, MOST_BYTES = 2000, 2500, 32 * 2**20
JSON_BYTES = 2_000_000  # a little less than what the service reads
SIDE = 2000  # both ways: as many pixels as are taken
FORM, RAW = "multipart/form-data; boundary=edge", "application/octet-stream"
V2 = "/v2/models/nano/infer"
Body = tuple[str, dict[str, str], bytes]  # path (ws: a message), headers, what is sent


def frames(side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """A pair of noise, infrared with 16 bits."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (side, side, 3), np.uint8)
    return colours, rng.integers(0, 2**16, (side, side), np.uint16)


def files(suffix: str) -> Body:
    """A form with two files of the largest size."""
    colours, counts = frames()
    infrared = counts if suffix != ".jpg" else (counts >> 8).astype(np.uint8)
    sent = (cv2.imencode(suffix, each)[1].tobytes() for each in (colours, infrared))
    return form(multipart(*sent))


def scans() -> Body:
    """A form with progressive JPEGs."""
    sent = []
    for frame in (frames()[0], frames()[0][..., 0]):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", progressive=True, quality=95)
        sent.append(file.getvalue())
    return form(multipart(*sent))


def form(body: bytes) -> Body:
    return "/fuse-segment", {"Content-Type": FORM}, body


def filled(piece: bytes) -> Body:
    """A form whose first frame is a repeated piece."""
    return form(multipart(piece * ((MOST_BYTES - 1000) // len(piece)), b"x"))


def raw(query: str = "") -> Body:
    colours, counts = frames()
    pair = raw_pair(colours, (counts >> 8).astype(np.uint8))
    return f"/fuse-segment{query}", {"Content-Type": RAW}, pair


def tensors(pairs: int, side: int) -> Body:
    """A batch as binary tensors."""
    sizes = {"visible": [pairs, side, side, 3], "infrared": [pairs, side, side]}
    inputs = [
        {
            "name": name,
            "datatype": "UINT8",
            "shape": shape,
            "parameters": {"binary_data_size": int(np.prod(shape))},
        }
        for name, shape in sizes.items()
    ]
    head = json.dumps({"inputs": inputs}).encode()
    body = head + os.urandom(pairs * side * side * 4)
    return V2, {"Content-Type": RAW, "Inference-Header-Content-Length": str(len(head))}, body


def numbers(item: bytes, most: int) -> Body:
    """Tensors as JSON lists of an item."""
    listed = b"[" + b",".join([item] * (most // 2 // (len(item) + 1) - 200)) + b"]"
    inputs = b",".join(
        b'{"name":"%b","datatype":"UINT8","shape":[1,1,1],"data":%b}' % (name, listed)
        for name in (b"visible", b"infrared")
    )
    return V2, {"Content-Type": "application/json"}, b'{"inputs":[' + inputs + b"]}"


BODIES: dict[str, Callable[[], Body]] = {
    "form, noise": lambda: form(multipart(os.urandom(MOST_BYTES - 1000), b"x")),
    "form, PNG": lambda: files(".png"),
    "form, JPEG": lambda: files(".jpg"),
    "form, progressive JPEG": scans,
    "form, TIFF": lambda: files(".tiff"),
    "form, line ends": lambda: filled(b"\r\n--"),
    "form, almost boundaries": lambda: filled(b"\r\n--edg"),
    "form, many parts": lambda: form(b"--edge\r\nA: b\r\n\r\nx\r\n" * (MOST_BYTES // 19)),
    "form, meta": lambda: form(multipart(b"x", b"x", b"[" + b"1," * (2**24 - 1000) + b"1]")),
    "raw, noise": lambda: ("/fuse-segment", {"Content-Type": RAW}, os.urandom(MOST_BYTES)),
    "raw, pair": raw,
    "raw, pair, refine": lambda: raw("?refine=true"),
    "/v2, batch of 64": lambda: tensors(64, 352),
    "/v2, batch of 8": lambda: tensors(8, 1000),
    "/v2, pair": lambda: tensors(1, SIDE),
    "/v2, numbers": lambda: numbers(b"1", JSON_BYTES),
    "/v2, lists": lambda: numbers(b"[]", JSON_BYTES),
    "/v2, lists of numbers": lambda: numbers(b"[101,102,103]", JSON_BYTES),
    "/v2, texts": lambda: numbers(b'"%b"' % (b"a" * 1000), JSON_BYTES),
    "/v2, more numbers": lambda: numbers(b"1", MOST_BYTES - 1000),
    "WebSocket, noise": lambda: ("ws", {}, os.urandom(MOST_BYTES)),
    "WebSocket, pair": lambda: ("ws", {}, raw()[2]),
}


def ask(url: str, body: Body) -> tuple[str, float]:
    """How a body ended, and after how many milliseconds from its first byte."""
    path, headers, sent = body
    if path == "ws":
        return ask_socket(url, sent)
    headers = headers | {"X-Deadline-Ms": str(DEADLINE_MS)}
    with httpx.Client(base_url=url, timeout=60) as client:
        began = time.perf_counter()
        try:
            answer = client.post(path, content=sent, headers=headers)
            outcome = outcome_of(answer)
        except httpx.HTTPError as error:
            outcome = type(error).__name__
        return outcome, (time.perf_counter() - began) * 1000


def ask_socket(url: str, sent: bytes) -> tuple[str, float]:
    address = f"{url.replace('http', 'ws')}/stream?deadline_ms={DEADLINE_MS}"
    with connect(address, max_size=None) as socket:
        began = time.perf_counter()
        try:
            socket.send(sent)
            answer = RawAnswer.from_bytes(bytes(socket.recv()))
            kind = f" {json.loads(answer.report)['kind']}" if answer.status >= 300 else ""
            outcome = f"{answer.status}{kind}"
        except ConnectionClosed as closed:
            outcome = f"closed {closed.rcvd.code}" if closed.rcvd else "closed"
        return outcome, (time.perf_counter() - began) * 1000


def probe(port: int, end: threading.Event, seen_ms: list[float]) -> None:
    while not end.wait(0.1):
        began = time.perf_counter()
        try:
            livez(port)
            seen_ms.append((time.perf_counter() - began) * 1000)
        except (OSError, HTTPException):
            seen_ms.append(math.inf)


def send_body(port: int, url: str, body: Body, times: int) -> dict[str, object]:
    """Send one body `times` times, beside probes."""
    end, probes_ms = threading.Event(), [0.0]
    prober = threading.Thread(target=probe, args=(port, end, probes_ms))
    prober.start()
    endings = [ask(url, body) for _ in range(times)]
    end.set()
    prober.join()
    took_ms = [took for _, took in endings]
    return {
        "bytes": len(body[2]),
        "outcomes": sorted({outcome for outcome, _ in endings}),
        "median_ms": median(took_ms),
        "most_ms": max(took_ms),
        "probe_most_ms": max(probes_ms),
    }


def is_fine(result: dict[str, object]) -> bool:
    outcomes = str(result["outcomes"])
    in_time = float(str(result["most_ms"])) <= MOST_MS
    alive = math.isfinite(float(str(result["probe_most_ms"])))
    return in_time and alive and not any(bad in outcomes for bad in ("500", "Error", "'closed'"))


def main() -> int:
    """Send every body and save its outcomes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=IntegerRange(1), default=5, help="that each is sent (5)")
    options.add_argument("--bodies", nargs="+", choices=BODIES, default=list(BODIES))
    options.add_argument("--out", type=Path, help="JSON to write")
    chosen = options.parse_args()
    found = {}
    with our_service() as server:
        for name in chosen.bodies:
            found[name] = send_body(server.port, server.url, BODIES[name](), chosen.times)
            print(name, json.dumps(found[name]), flush=True)
    save({"bodies": found}, chosen.out)
    return 0 if all(map(is_fine, found.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
