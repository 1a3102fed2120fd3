"""Requests drawn by hypothesis, as bytes: heads that contradict themselves or their body."""

from hypothesis import strategies as st

PATHS = ["/livez", "/fuse-segment", "/fuse-segment?return=mask", "/stream", "/v2/models/nano/infer"]
PATHS += ["/", "/metrics", "/shared-memory", "/streams/x/pair", "*", "//", "/%00", "/..%2f", "/é"]
PATHS += ["/web/%00", "/samples/%00", "/web/%2e%2e/x"]
PATHS += ["http://localhost/livez", "/livez?" + "a=1&" * 200, "/classes#x", "/samples/../livez"]
METHODS = [
    "GET",
    "POST",
    "HEAD",
    "OPTIONS",
    "DELETE",
    "PUT",
    "CONNECT",
    "TRACE",
    "get",
    "PRI",
    "X Y",
]
LINES = [
    *("Content-Length: 5", "Content-Length: 0", "Content-Length: -1", "Content-Length: 5, 5"),
    *("Content-Length: 99999999999999999999", "Content-Length: +5", "Content-Length: 0x5"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: x"),
    *("Transfer-Encoding : chunked", "transfer-encoding:\tchunked", " folded: line", "NoColon"),
    *("Upgrade: h2c", "Upgrade: websocket", "Connection: Upgrade", "Connection: keep-alive"),
    *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 99", "Expect: 100-continue"),
    *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: x", "Expect: x"),
    *("Content-Type: multipart/form-data; boundary=x", "Content-Type: multipart/form-data"),
    *("Content-Type: application/octet-stream", "Content-Type: application/json", "Accept: ;q=9"),
    *(
        "Content-Encoding: gzip",
        "Range: bytes=0-",
        "Accept: image/png;q=nan",
        "Cookie: " + "a" * 9000,
    ),
    *("Host: evil.example", "Host: localhost:1", "Origin: null", "X-Deadline-Ms: 1e999"),
    *("X-Forwarded-For: 1.2.3.4", "Forwarded: for=x", "X-Request-ID: a\x0bb", "Authorization: x"),
    *("Inference-Header-Content-Length: 5", "Inference-Header-Content-Length: 1e9", "A\x00: b"),
]
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFFF\r\n",
    b"-1\r\n",
    b"0\r\n\r\n",
]
BODIES += [
    b"--x\r\n\r\n--x--\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x00" * 64,
]
BODIES += [b'5;x="\r\nhello\r\n0\r\nT: x\r\n\r\n', b"{}", b"\x81\x85\x00\x00\x00\x00hello"]


def requests() -> st.SearchStrategy[bytes]:
    """One request that asks for its connection to be closed, and what follows its head."""

    def build(method: str, path: str, lines: list[str], version: str, bodies: list[bytes]) -> bytes:
        head = [
            f"{method} {path} {version}",
            "Host: localhost",
            *lines,
            "Connection: close",
            "",
            "",
        ]
        return "\r\n".join(head).encode("latin-1") + b"".join(bodies)

    return st.builds(
        build,
        st.sampled_from([*METHODS[:2] * 8, *METHODS]),
        st.sampled_from([*PATHS[:5] * 6, *PATHS]),
        st.lists(st.sampled_from(LINES), max_size=3),
        st.sampled_from(["HTTP/1.1"] * 20 + ["HTTP/1.0", "HTTP/2.0", "HTTP/9"]),
        st.lists(st.sampled_from(BODIES), max_size=3),
    )
