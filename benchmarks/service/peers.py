"""
Other services around the same network, for `benchmarks.service.overhead` to compare with ours.

All decode, run and encode by the same code.
"""

import argparse
import base64
import time
from pathlib import Path

import litserve
import uvicorn
from fastapi import FastAPI, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from segmif.argument_types import IntegerRange
from segmif.frames import FramePair
from segmif.imaging import codecs
from segmif.runtime import Runtime, open_runtime, predict

ENGINE_HEADER = "X-Engine-Ms"


def worked(runtime: Runtime, visible: bytes, infrared: bytes) -> tuple[bytes, bytes, float]:
    """Fused PNG, mask PNG and the engine's milliseconds."""
    pair = FramePair(codecs.decode_visible(visible), codecs.decode_infrared(infrared))
    start = time.perf_counter()
    prediction = predict(runtime, pair)
    engine_ms = (time.perf_counter() - start) * 1000
    palette = runtime.manifest.classes.palette
    mask = codecs.encode_indexed_png(prediction.labels, palette)
    return codecs.encode_png(prediction.fused), mask, engine_ms


class Coded(BaseModel):
    """A pair as base64."""

    visible: str
    infrared: str


def plain(weights: Path, port: int) -> None:
    """FastAPI as in its tutorial: multipart at /form, base64 JSON at /json."""
    runtime = open_runtime(weights, threads=1)
    app = FastAPI()

    @app.post("/form")
    def form(visible: UploadFile, infrared: UploadFile) -> Response:
        fused, mask, ms = worked(runtime, visible.file.read(), infrared.file.read())
        return Response(fused + mask, headers={ENGINE_HEADER: str(ms)})

    @app.post("/json")
    def as_json(pair: Coded) -> JSONResponse:
        frames = (base64.b64decode(pair.visible), base64.b64decode(pair.infrared))
        fused, mask, ms = worked(runtime, *frames)
        coded = {name: base64.b64encode(png).decode() for name, png in (("f", fused), ("m", mask))}
        return JSONResponse(coded, headers={ENGINE_HEADER: str(ms)})

    uvicorn.run(app, port=port, log_level="error")


async def echo(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    """The smallest ASGI application: it sends the body back."""
    chunks, more = [], True
    while more:
        message = await receive()
        chunks.append(message["body"])
        more = message["more_body"]
    body = b"".join(chunks)
    headers = [(b"content-length", b"%d" % len(body)), (ENGINE_HEADER.lower().encode(), b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def bare(weights: Path, port: int) -> None:
    """The echo of a body."""
    uvicorn.run(echo, port=port, log_level="error", lifespan="off")


class Fuse(litserve.LitAPI):
    """LitServe as in its examples for images: multipart in, a response out."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.weights = weights

    def setup(self, device: str) -> None:
        self.runtime = open_runtime(self.weights, threads=1)

    def decode_request(self, request: Request) -> tuple[bytes, bytes]:
        return request["visible"].file.read(), request["infrared"].file.read()

    def predict(self, frames: tuple[bytes, bytes]) -> tuple[bytes, bytes, float]:
        return worked(self.runtime, *frames)

    def encode_response(self, output: tuple[bytes, bytes, float]) -> Response:
        fused, mask, ms = output
        return Response(fused + mask, headers={ENGINE_HEADER: str(ms)})


def lit(weights: Path, port: int) -> None:
    """LitServe with its defaults: one worker process for the network, one for HTTP."""
    server = litserve.LitServer(Fuse(weights), accelerator="cpu")
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False)


PEERS = {"bare": bare, "plain": plain, "litserve": lit}

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("peer", choices=PEERS)
    options.add_argument("--port", type=IntegerRange(1, 65_535), required=True)
    options.add_argument("--weights", type=Path, required=True)
    chosen = options.parse_args()
    PEERS[chosen.peer](chosen.weights, chosen.port)
