"""A small pair in every wire form of the service, made without its client."""

import asyncio
import json
import struct
from dataclasses import dataclass

import cv2
import numpy as np

ANSWER_S = 30.0  # without an answer for so long, a request hangs

ramp = np.linspace(20, 220, 64 * 96).reshape(64, 96).astype(np.uint8)
VISIBLE, INFRARED = np.dstack([ramp, ramp[::-1], ramp[:, ::-1]]), ramp


@dataclass(frozen=True)
class Form:
    """One way to ask for a pair."""

    path: str
    content_type: str
    body: bytes
    head_bytes: int = 300  # of the body, which have its structure
    headers: str = ""

    def request(self, body: bytes | None = None) -> bytes:
        """The HTTP request, with another body if one is given."""
        sent = self.body if body is None else body
        head = f"POST {self.path} HTTP/1.1\r\nHost: x\r\nContent-Type: {self.content_type}\r\n"
        head += f"{self.headers}Content-Length: {len(sent)}\r\nConnection: close\r\n\r\n"
        return head.encode() + sent


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def forms() -> dict[str, Form]:
    """All forms of HTTP, by name."""
    counts = INFRARED.astype(np.uint16) * 40
    meta = (
        b'{"stream": "a", "visible_ns": 1, "infrared": {"format": "y8", "width": 96, "height": 64}}'
    )
    bodies = {
        "png": multipart(encoded(".png", VISIBLE), encoded(".png", INFRARED)),
        "jpeg": multipart(encoded(".jpg", VISIBLE), encoded(".png", counts)),
        "tiff": multipart(encoded(".tiff", VISIBLE), encoded(".tiff", counts)),
        "layout": multipart(encoded(".png", VISIBLE), INFRARED.tobytes(), meta),
    }
    found = {
        f"form {name}": Form("/fuse-segment", "multipart/form-data; boundary=edge", body)
        for name, body in bodies.items()
    }
    found["raw"] = Form("/fuse-segment", "application/octet-stream", raw_pair(), 64)
    for binary in (True, False):
        body, length = tensors(binary)
        stated = f"Inference-Header-Content-Length: {length}\r\n"
        found[f"tensors binary={binary}"] = Form(
            "/v2/models/nano/infer", "application/octet-stream", body, length, stated
        )
    return found


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def multipart(visible: bytes, infrared: bytes, meta: bytes = b"{}") -> bytes:
    parts = (("visible", visible), ("infrared", infrared), ("meta", meta))
    head = '--edge\r\nContent-Disposition: form-data; name="{}"; filename="f"\r\n\r\n'
    return b"".join(head.format(n).encode() + d + b"\r\n" for n, d in parts) + b"--edge--\r\n"


def raw_pair(
    visible: np.ndarray = VISIBLE, infrared: np.ndarray = INFRARED, stamp_ns: int = 1
) -> bytes:
    """Header and pixels, as docs/wire.md has them."""
    return raw_head(visible, infrared, stamp_ns) + visible.tobytes() + infrared.tobytes()


def raw_head(
    visible: np.ndarray = VISIBLE, infrared: np.ndarray = INFRARED, stamp_ns: int = 1
) -> bytes:
    """The header; a stamp of 0 means none."""
    height, width = infrared.shape
    head = struct.pack("<4sBBHBBH", b"SGMF", 1, 0, 64, 2, 5, 0)
    head += struct.pack("<IIII", width, height, 0, visible.nbytes)
    return head + struct.pack("<IIIIIQQ", width, height, 0, infrared.nbytes, 0, stamp_ns, stamp_ns)


def tensors(binary: bool) -> tuple[bytes, int]:
    """A body of the Open Inference Protocol, and the bytes of its JSON."""
    inputs = []
    for name, array in (("visible", VISIBLE), ("infrared", INFRARED)):
        entry = {"name": name, "datatype": "UINT8", "shape": [1, *array.shape]}
        entry |= (
            {"parameters": {"binary_data_size": array.nbytes}}
            if binary
            else {"data": array.ravel().tolist()}
        )
        inputs.append(entry)
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    head = json.dumps(asked).encode()
    return head + VISIBLE.tobytes() + INFRARED.tobytes() if binary else head, len(head)


async def ask(port: int, request: bytes) -> bytes:
    """The whole answer; empty if the connection ended without one. TimeoutError on a hang."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(ANSWER_S):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def status_of(answer: bytes) -> str:
    return answer[9:12].decode("ascii", "replace") if answer else "closed"
