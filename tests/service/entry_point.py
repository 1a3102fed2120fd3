"""An entry point of a running service, and what to send to it."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from segmif.client import pack
from service.settings import Settings
from service.settings.limits import Entry

OCTETS, FORM = "application/octet-stream", "multipart/form-data; boundary=x"
RAMP = np.tile(np.linspace(20, 220, 64).astype(np.uint8), (64, 1))
LARGE = np.tile(np.linspace(20, 220, 1400).astype(np.uint8), (1400, 1))


class EntryPoint:
    """One entry point of a running service."""

    def __init__(self, entry: Entry, client: httpx.Client, settings: Settings) -> None:
        self.entry, self.client = entry, client
        self.limits = settings.limits[entry]
        self.is_socket = entry == "websocket"

    @property
    def reads_body(self) -> bool:
        return self.limits.body_bytes > 0

    @property
    def takes_pairs(self) -> bool:
        return self.limits.pending > 0

    def target(self) -> str:
        """Method and path."""
        if self.entry == "open_inference":
            text = self.client.get("/metrics").text
            model = text.partition('variant="')[2].partition('"')[0]
            return f"POST /v2/models/{model}/infer"
        return {
            "form": "POST /fuse-segment",
            "raw": "POST /fuse-segment",
            "websocket": "GET /stream",
            "shared_memory": f"POST /shared-memory/{'0' * 32}/fuse-segment",
            "latest_pair": "GET /streams/rig/pair",
            "probe": "GET /readyz",
            "page": "GET /classes",
        }[self.entry]

    def head(self, *lines: str, target: str = "") -> bytes:
        """A request's head, its last empty line included."""
        kind = FORM if self.entry == "form" else OCTETS
        told = [f"{target or self.target()} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}"]
        if self.entry == "open_inference":
            told.append("Inference-Header-Content-Length: 0")
        return "\r\n".join([*told, *lines, "", ""]).encode()

    def pair(self, size: int = 64) -> bytes:
        """A request with a whole pair."""
        heat = RAMP if size == 64 else LARGE
        colours = np.dstack([heat] * 3)
        message, query, lines, target = pack(colours, heat), "?return=fused", [], ""
        body = message
        if self.entry == "form":
            layout = {"width": size, "height": size}
            meta = {"visible": {"format": "rgb8"} | layout, "infrared": {"format": "y8"} | layout}
            parts = {"visible": colours.tobytes(), "infrared": heat.tobytes()}
            parts["meta"] = json.dumps(meta).encode()
            body = b"".join(
                b'--x\r\nContent-Disposition: form-data; name="%b"; filename="f"\r\n\r\n%b\r\n'
                % (name.encode(), data)
                for name, data in parts.items()
            )
            body += b"--x--\r\n"
        if self.entry == "shared_memory":
            made = self.client.post("/shared-memory", params={"bytes": size * size * 5}).json()
            Path("/dev/shm", made["name"]).write_bytes(message[64:])
            target, body = f"POST /shared-memory/{made['id']}/fuse-segment", message[:64]
        if self.entry == "open_inference":
            body, length = inference(colours, heat)
            lines.append(f"Inference-Header-Content-Length: {length}")
            query = ""
        target = (target or self.target()) + query
        kind = FORM if self.entry == "form" else OCTETS
        told = [f"{target} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *lines]
        told += [f"Accept: {OCTETS}", f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(told).encode() + body


def inference(colours: Any, heat: Any) -> tuple[bytes, int]:
    """A body of the Open Inference Protocol with binary tensors, and the bytes of its JSON."""
    inputs = [
        {
            "name": name,
            "shape": [1, *data.shape],
            "datatype": "UINT8",
            "parameters": {"binary_data_size": data.nbytes},
        }
        for name, data in (("visible", colours), ("infrared", heat))
    ]
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    told = json.dumps(asked).encode()
    return told + colours.tobytes() + heat.tobytes(), len(told)
