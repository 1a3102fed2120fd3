"""Requests that mislead, as the bytes that go down the wire, and what is right to answer."""

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.hostile.generators.drawn import FIELDS, small_pair

BOUNDARY = "edge"
DIGITS = "9" * 400
UNPROCESSABLE = (422,)


@dataclass(frozen=True)
class Wire:
    """A named request: bytes for one connection, the status that is right and its kind."""

    name: str
    data: Callable[[], bytes]
    statuses: tuple[int, ...]
    kind: str | None = None  # of a problem; None: not asked
    memory_mib: int = 64


def head(method: str, path: str, *lines: str) -> bytes:
    """The head of a request that asks for its connection to be closed."""
    given = "".join(f"{line}\r\n" for line in lines)
    host = "" if any(line.startswith("Host:") for line in lines) else "Host: localhost\r\n"
    return f"{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{given}\r\n".encode()


def form_body(parts: dict[str, bytes]) -> bytes:
    """A form of named parts."""
    body = b""
    for name, content in parts.items():
        file = f'; filename="{name}"' if name != "meta" else ""
        disposition = f'Content-Disposition: form-data; name="{name}"{file}'
        body += f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def pair() -> dict[str, bytes]:
    """A good pair."""
    return dict(zip(("visible", "infrared"), small_pair(), strict=True))


def post(path: str, body: bytes, kind: str, *lines: str) -> bytes:
    """A POST with its length."""
    about = (f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines)
    return head("POST", path, *about) + body


def form(query: str = "", *lines: str, **parts: bytes) -> Callable[[], bytes]:
    """A good pair as a form, with more in its query, head or parts."""
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return lambda: post(f"/fuse-segment{query}", form_body(pair() | parts), kind, *lines)


def meta(text: str) -> Callable[[], bytes]:
    """A good pair, of which the form says something more."""
    return form(meta=text.encode())


def raw(changes: dict[int, int] | None = None, *lines: str) -> Callable[[], bytes]:
    """A raw pair with some fields of its header replaced."""

    def make() -> bytes:
        fields: list[Any] = [b"SGMF", 1, 0, 64, 2, 5, 0, 32, 32, 0, 3072, 32, 32, 0, 1024, 0, 0, 0]
        for place, value in (changes or {}).items():
            fields[place] = value
        body = struct.pack(FIELDS, *fields) + bytes(range(256)) * 16
        return post("/fuse-segment", body, "application/octet-stream", *lines)

    return make


def tensors(**parameters: Any) -> Callable[[], bytes]:
    """A good pair as tensors, with more parameters."""

    def make() -> bytes:
        shapes = {"visible": [1, 32, 32, 3], "infrared": [1, 32, 32]}
        inputs = [
            {"name": name, "datatype": "UINT8", "shape": shape}
            | {"parameters": {"binary_data_size": 1024 * (3 if len(shape) == 4 else 1)}}
            for name, shape in shapes.items()
        ]
        told = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
        length = f"Inference-Header-Content-Length: {len(told)}"
        body = told + bytes(range(256)) * 16
        return post("/v2/models/nano/infer", body, "application/octet-stream", length)

    return make


def zipped() -> bytes:
    """A good form, compressed as no client of ours does."""
    body = gzip.compress(form_body(pair()))
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return post("/fuse-segment", body, kind, "Content-Encoding: gzip")


def many_parts() -> bytes:
    """A form of a hundred parts."""
    body = form_body({f"part{index}": b"x" for index in range(100)})
    return post("/fuse-segment", body, f"multipart/form-data; boundary={BOUNDARY}")


H2C = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
NESTED = '{"stream": ' + "[" * 50_000

REQUESTS = [
    Wire("form", form(), (200,)),
    Wire("upgrade_to_h2c", form("", *H2C), (200,)),
    Wire("upgrade_to_what_nobody_knows", form("", "Upgrade: foo/2"), (200,)),
    Wire("body_that_looks_like_a_request", lambda: form("", *H2C)() +
         b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", (200,)),
    *(Wire(f"head_of{path.replace('/', '_')}", partial(head, "HEAD", path), (200,))
      for path in ("/livez", "/readyz", "/metrics", "/docs", "/classes", "/")),
    Wire("form_gzip", zipped, (415,)),
    Wire("raw_deflate", raw(None, "Content-Encoding: deflate"), (415,)),
    Wire("stream_without_upgrade", lambda: head("GET", "/stream"), (426,)),
    Wire("host_of_somebody_else", form("", "Host: evil.example"), (400, 403, 421)),
    Wire("host_twice", lambda: head("GET", "/livez", "Host: localhost", "Host: evil.example"),
         (400, 403, 421)),
    Wire("no_host", lambda: b"POST /fuse-segment HTTP/1.1\r\nConnection: close\r\n\r\n",
         (400, 403, 421)),
    Wire("origin_of_somebody_else", form("", "Origin: https://evil.example"), (403,)),
    Wire("origin_null", form("", "Origin: null"), (403,)),
    Wire("visible_ns_of_400_digits", form(f"?visible_ns={DIGITS}"), UNPROCESSABLE),
    Wire("meta_visible_ns_of_400_digits", meta(f'{{"visible_ns": {DIGITS}}}'), UNPROCESSABLE),
    Wire("meta_visible_ns_of_5000_digits", meta(f'{{"visible_ns": {"9" * 5000}}}'), UNPROCESSABLE),
    Wire("tensors_visible_ns_of_400_digits", tensors(visible_ns=int(DIGITS)), UNPROCESSABLE),
    Wire("tensors_timeout_of_400_digits", tensors(timeout=int(DIGITS)), UNPROCESSABLE),
    Wire("tensors_class_count", tensors(classification=3), UNPROCESSABLE),
    Wire("tensors_unknown_parameter", tensors(depht_m=3), UNPROCESSABLE),
    Wire("depth_not_finite", form("?depth_m=inf"), UNPROCESSABLE),
    Wire("depth_no_number", form("?depth_m=nan"), UNPROCESSABLE),
    Wire("depth_1e300", form("?depth_m=1e300"), UNPROCESSABLE),
    Wire("deadline_not_finite", form("?deadline_ms=inf"), UNPROCESSABLE),
    Wire("deadline_header_no_number", form("", "X-Deadline-Ms: nan"), UNPROCESSABLE),
    Wire("deadline_header_of_400_digits", form("", f"X-Deadline-Ms: {DIGITS}"), UNPROCESSABLE),
    Wire("stream_name_of_a_path", form("?stream=../../etc"), UNPROCESSABLE),
    Wire("unknown_parameter", form("?retrun=fused"), UNPROCESSABLE),
    Wire("meta_nested_50000_deep", meta(NESTED), UNPROCESSABLE),
    Wire("meta_list", meta("[1]"), UNPROCESSABLE),
    Wire("meta_layout_of_4_gigapixels", meta(
         '{"visible": {"format": "rgb8", "width": 65535, "height": 65535}}'), (413, 422)),
    Wire("hundred_parts", many_parts, UNPROCESSABLE),
    Wire("raw", raw(), (200,)),
    Wire("raw_of_4_gigapixels", raw({7: 65_535, 8: 65_535}), (413, 422)),
    Wire("raw_sizes_that_overflow", raw({10: 2**32 - 1, 14: 2**32 - 1}), UNPROCESSABLE),
    Wire("raw_stride_of_4_gigabytes", raw({9: 2**32 - 1}), UNPROCESSABLE),
    Wire("raw_nv12_of_odd_sides", raw({4: 4, 7: 31}), UNPROCESSABLE),
    Wire("body_of_40_megabytes", lambda: head("POST", "/fuse-segment",
         "Content-Type: application/octet-stream", f"Content-Length: {40 << 20}"), (413,),
         "body_too_large"),
    Wire("path_of_30000_letters", lambda: head("GET", "/" + "a" * 30_000), (404, 414, 431)),
    Wire("length_and_chunks", lambda: head("POST", "/fuse-segment", "Content-Length: 5",
         "Transfer-Encoding: chunked") + b"0\r\n\r\n", (400,)),
]  # fmt: skip
