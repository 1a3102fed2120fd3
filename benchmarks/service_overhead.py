"""
What a service costs beside its network: request time less engine time, ours and others in one run.

    python benchmarks/service_overhead.py --rounds 60 --out benchmarks/results/service_overhead.json

Every round asks every service once, in changing order, over one kept connection each, so that what
else the machine does hits all alike. All decode, run and encode with the same code and network.
"""

import argparse
import base64
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, quantiles

import httpx
from machine import fingerprint

from segmif import images
from segmif.frames import FramePair
from segmif.runtime import Runtime, open_runtime

ROOT = Path(__file__).parents[1]
ENGINE_HEADER = "X-Engine-Ms"
SAMPLE = ROOT / "service" / "web" / "samples" / "day"
WARM_ROUNDS = 5


def worked(runtime: Runtime, visible: bytes, infrared: bytes) -> tuple[bytes, bytes, float]:
    """Fused PNG, mask PNG and the engine's milliseconds, by the code that all services share."""
    from segmif.runtime import predict

    pair = FramePair(images.decode_visible(visible), images.decode_infrared(infrared))
    start = time.perf_counter()
    prediction = predict(runtime, pair)
    engine_ms = (time.perf_counter() - start) * 1000
    palette = runtime.manifest.classes.palette
    mask = images.encode_indexed_png(prediction.labels, palette)
    return images.encode_png(prediction.fused), mask, engine_ms


def plain(weights: Path, port: int) -> None:
    """FastAPI as its tutorial has it: multipart at /form, base64 JSON at /json, echo at /echo."""
    import uvicorn
    from fastapi import FastAPI, UploadFile
    from fastapi.responses import JSONResponse, Response
    from pydantic import BaseModel

    runtime = open_runtime(weights, threads=1)
    app = FastAPI()

    class Pair(BaseModel):
        visible: str
        infrared: str

    @app.post("/form")
    def form(visible: UploadFile, infrared: UploadFile) -> Response:
        fused, mask, ms = worked(runtime, visible.file.read(), infrared.file.read())
        return Response(fused + mask, headers={ENGINE_HEADER: str(ms)})

    @app.post("/json")
    def as_json(pair: Pair) -> JSONResponse:
        frames = (base64.b64decode(pair.visible), base64.b64decode(pair.infrared))
        fused, mask, ms = worked(runtime, *frames)
        told = {name: base64.b64encode(png).decode() for name, png in (("f", fused), ("m", mask))}
        return JSONResponse(told, headers={ENGINE_HEADER: str(ms)})

    uvicorn.run(app, port=port, log_level="error")


async def echo(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    """The least that an ASGI application can do: take the body, send as many bytes as an answer."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    headers = [(b"content-length", str(size).encode()), (ENGINE_HEADER.lower().encode(), b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(size)})


def bare(port: int) -> None:
    import uvicorn

    uvicorn.run(echo, port=port, log_level="error", lifespan="off")


def litserve(weights: Path, port: int) -> None:
    """LitServe as its examples have images: multipart in, a response out."""
    import litserve
    from fastapi import Request, Response

    class Fuse(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.runtime = open_runtime(weights, threads=1)

        def decode_request(self, request: Request) -> tuple[bytes, bytes]:
            return request["visible"].file.read(), request["infrared"].file.read()

        def predict(self, frames: tuple[bytes, bytes]) -> tuple[bytes, bytes, float]:
            return worked(self.runtime, *frames)

        def encode_response(self, output: tuple[bytes, bytes, float]) -> Response:
            fused, mask, ms = output
            return Response(fused + mask, headers={ENGINE_HEADER: str(ms)})

    server = litserve.LitServer(Fuse(), accelerator="cpu", track_requests=False)
    server.run(port=port, log_level="error", generate_client_file=False)


@dataclass
class Contestant:
    """One way to ask, and what it cost each time."""

    name: str
    client: httpx.Client
    ask: Callable[[httpx.Client], httpx.Response]
    pid: int
    total_ms: list[float] = field(default_factory=list)
    engine_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def run(self) -> None:
        cpu, start = cpu_seconds(self.pid), time.perf_counter()
        answer = self.ask(self.client)
        total = (time.perf_counter() - start) * 1000
        answer.raise_for_status()
        self.cpu_ms.append((cpu_seconds(self.pid) - cpu) * 1000)
        self.total_ms.append(total)
        self.engine_ms.append(engine_ms(answer))

    def told(self) -> dict[str, float]:
        pairs = zip(self.total_ms[WARM_ROUNDS:], self.engine_ms[WARM_ROUNDS:], strict=True)
        overhead = [total - engine for total, engine in pairs]
        lower, _, upper = quantiles(overhead, n=4)
        return {
            "overhead_ms": median(overhead),
            "quarter_ms": lower,
            "three_quarters_ms": upper,
            "engine_ms": median(self.engine_ms[WARM_ROUNDS:]),
            # Of the server, engine included: what other programs on the machine do not disturb.
            "cpu_ms": fmean(self.cpu_ms[WARM_ROUNDS:]),
            "requests": len(overhead),
        }


def cpu_seconds(pid: int) -> float:
    """Time that a process and its children have had of all processors; in ticks of 10 ms."""
    seconds = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text().split()
        seconds += sum(cpu_seconds(int(child)) for child in children)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return seconds + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def engine_ms(answer: httpx.Response) -> float:
    stages = answer.headers.get("server-timing", "")
    for stage in stages.split(", "):
        if stage.startswith("infer;dur="):
            return float(stage.split("=")[1])
    return float(answer.headers[ENGINE_HEADER])


def raw_pair(visible: bytes, infrared: bytes) -> bytes:
    colours, heat = images.decode_visible(visible), images.decode_infrared(infrared)
    height, width = heat.shape
    head = struct.pack("<4sBBHBBH", b"SGMF", 1, 0, 64, 2, 5, 0)
    head += struct.pack("<IIII", width, height, 0, colours.nbytes)
    head += struct.pack("<IIII", width, height, 0, heat.nbytes) + struct.pack("<IQQ", 0, 0, 0)
    return head + colours.tobytes() + heat.tobytes()


def contestants(
    ports: dict[str, int], pids: dict[str, int], visible: bytes, infrared: bytes
) -> list[Contestant]:
    files = {"visible": ("v.png", visible), "infrared": ("i.png", infrared)}
    coded = {
        "visible": base64.b64encode(visible).decode(),
        "infrared": base64.b64encode(infrared).decode(),
    }
    raw = raw_pair(visible, infrared)
    octets = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
    ways: list[tuple[str, str, Callable[[httpx.Client], httpx.Response]]] = [
        ("ours, form of PNG", "ours", lambda to: to.post("/fuse-segment", files=files)),
        (
            "ours, raw",
            "ours",
            lambda to: to.post("/fuse-segment", content=raw, headers=octets),
        ),
        ("bare ASGI echo of the raw bytes", "bare", lambda to: to.post("/", content=raw)),
        ("FastAPI, form of PNG", "plain", lambda to: to.post("/form", files=files)),
        ("FastAPI, base64 JSON", "plain", lambda to: to.post("/json", json=coded)),
        ("LitServe, form of PNG", "litserve", lambda to: to.post("/predict", files=files)),
    ]
    return [
        Contestant(name, client(ports[server]), ask, pids[server])
        for name, server, ask in ways
        if server in ports
    ]


def client(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_for(port: int, path: str) -> None:
    limit = time.monotonic() + 120
    while True:
        try:
            with client(port) as asking:
                if asking.get(path).status_code != 503:
                    return
        except httpx.TransportError:
            pass
        if time.monotonic() > limit:
            raise TimeoutError(f"no answer from {path} on port {port}")
        time.sleep(0.2)


def start(
    weights: Path, without: list[str]
) -> tuple[dict[str, int], list[subprocess.Popen[bytes]]]:
    ports = {n: free_port() for n in ("ours", "plain", "bare", "litserve") if n not in without}
    processes = []
    for name, port in ports.items():
        command = [sys.executable, __file__, "--serve", name, "--port", str(port)]
        if name == "ours":
            command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
            command += ["--threads", "1"]
        command += ["--weights", str(weights)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        processes.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        )
    return ports, processes


def main() -> int:
    """Compare, or be one of the compared."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--rounds", type=int, default=60)
    options.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano.onnx")
    options.add_argument("--without", nargs="*", default=[], help="such as litserve")
    options.add_argument("--out", type=Path)
    options.add_argument("--serve", choices=("plain", "bare", "litserve"), help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve == "bare":
        bare(chosen.port)
    elif chosen.serve:
        {"plain": plain, "litserve": litserve}[chosen.serve](chosen.weights, chosen.port)
    if chosen.serve:
        return 0
    return compare(chosen)


def compare(chosen: argparse.Namespace) -> int:
    """Ask all in every round, and write down what each cost."""
    visible, infrared = ((SAMPLE / f"{name}.png").read_bytes() for name in ("visible", "infrared"))
    ports, processes = start(chosen.weights, chosen.without)
    try:
        for name, port in ports.items():
            wait_for(port, "/readyz" if name == "ours" else "/health")
        pids = {name: process.pid for name, process in zip(ports, processes, strict=True)}
        asked = contestants(ports, pids, visible, infrared)
        chance = random.Random(0)
        for _ in range(chosen.rounds + WARM_ROUNDS):
            for contestant in chance.sample(asked, len(asked)):
                contestant.run()
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)
    told = {
        "contestants": {contestant.name: contestant.told() for contestant in asked},
        "command": " ".join(sys.argv),
        "machine": fingerprint(),
    }
    text = json.dumps(told, indent=2)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
