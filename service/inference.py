"""The Open Inference Protocol v2 with its binary tensors, for standard clients and load tools."""

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from segmif.runtime import Runtime
from service import errors
from service.answers import Result
from service.disconnects import unless_gone
from service.documents import documented, schema_of
from service.errors import BadWire, UnknownModel
from service.line import Line, Submission
from service.raw_frames import Frame, Layout
from service.schemas import Ask, State
from service.submissions import client_of

LENGTH_HEADER = "Inference-Header-Content-Length"
BYTES_AN_ELEMENT = {"UINT8": 1, "UINT16": 2}
VERSION = "1"
INPUTS = {"visible": [-1, -1, -1, 3], "infrared": [-1, -1, -1]}  # -1: any
OUTPUTS = {"fused": [-1, -1, -1, 3], "labels": [-1, -1, -1]}
MAX_TENSOR_BATCH = 64
MAX_JSON_BYTES = 8 * 2**20  # numbers as JSON take up to thirty times their bytes in memory

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


class Tensor(BaseModel):
    """An input as a request describes it."""

    name: Literal["visible", "infrared"]
    datatype: Literal["UINT8", "UINT16"]
    shape: list[Annotated[int, Field(ge=1, le=65_535)]] = Field(min_length=3, max_length=4)
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class Output(BaseModel):
    """An output that a request wants."""

    name: Literal["fused", "labels"]
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """The JSON of a request, without its binary tensors."""

    id: str = Field(default="", max_length=64)
    inputs: list[Tensor] = Field(min_length=2, max_length=2)
    outputs: list[Output] | None = Field(default=None, max_length=2)
    parameters: dict[str, Any] = {}


@dataclass(frozen=True)
class Inference:
    """A request taken apart: one (visible, infrared) for each pair of the batch."""

    asked: InferRequest
    pairs: list[tuple[Frame, Frame]]

    def deadline_s(self) -> float:
        """Seconds the client gives, by the `timeout` in microseconds that Triton knows."""
        timeout = self.asked.parameters.get("timeout")
        return timeout / 1e6 if isinstance(timeout, int | float) and timeout > 0 else math.inf


@router.get("")
async def server(request: Request) -> dict[str, Any]:
    """Tell what this server is."""
    return {
        "name": "segmif",
        "version": request.app.version,
        "extensions": ["binary_tensor_data", "model_configuration"],
    }


@router.get("/health/live")
async def live() -> State:
    """Tell that the process answers."""
    return State(status="alive")


@router.get("/health/ready", responses=documented(errors.NotReady))
async def ready(request: Request) -> State:
    """Tell that the network may be asked."""
    request.app.state.line.ready()
    return State(status="ready")


@router.get("/models/{name}/ready", responses=documented(errors.UnknownModel, errors.NotReady))
@router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
async def model_ready(request: Request, name: str, version: str = VERSION) -> State:
    """Tell that this network may be asked."""
    line = line_for(request, name, version)
    line.ready()
    return State(status="ready")


@router.get("/models/{name}", responses=documented(errors.UnknownModel))
@router.get("/models/{name}/versions/{version}", include_in_schema=False)
async def model(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """Describe the tensors of the network."""
    runtime = line_for(request, name, version).runtime
    return {
        "name": runtime.manifest.variant,
        "versions": [VERSION],
        "platform": runtime.name,
        "inputs": [_tensor(name, shape) for name, shape in INPUTS.items()],
        "outputs": [_tensor(name, shape) for name, shape in OUTPUTS.items()],
    }


def _tensor(name: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": "UINT8", "shape": shape}


@router.get("/models/{name}/config", responses=documented(errors.UnknownModel))
@router.get("/models/{name}/versions/{version}/config", include_in_schema=False)
async def config(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """Describe the network as Triton does in its extension, which load tools ask for."""
    runtime = line_for(request, name, version).runtime
    return {
        "name": runtime.manifest.variant,
        "platform": runtime.name,
        "max_batch_size": 0,  # the batch is the first dimension of the tensors themselves
        "input": [_configured(name, shape) for name, shape in INPUTS.items()],
        "output": [_configured(name, shape) for name, shape in OUTPUTS.items()],
    }


def _configured(name: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "data_type": "TYPE_UINT8", "dims": shape}


@router.post(
    "/models/{name}/infer",
    response_class=JSONResponse,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema_of(InferRequest)}},
        }
    },
    responses=documented(
        errors.UnknownModel,
        errors.BadWire,
        errors.BadFrame,
        errors.BadPair,
        errors.FrameTooLarge,
        errors.BodyTooLarge,
        errors.BodyTooSlow,
        errors.Unauthorized,
        errors.TooManyOfOne,
        errors.Busy,
        errors.CannotFinish,
        errors.DeadlineMissed,
        errors.OutOfMemory,
        errors.EngineFailed,
        errors.ServiceError,
    ),
)
@router.post("/models/{name}/versions/{version}/infer", include_in_schema=False)
async def infer(
    request: Request,
    name: str,
    version: str = VERSION,
    length: Annotated[
        int | None,
        Header(alias=LENGTH_HEADER, ge=0, description="bytes of JSON before the binary tensors"),
    ] = None,
) -> Response:
    """Fuse and label a batch of aligned pairs, 8 bit each or with 16-bit counts as infrared."""
    line = line_for(request, name, version)
    body = b"".join([chunk async for chunk in request.stream()])
    inference = await line.codecs.run(read_inference, body, length)
    usual_s = request.app.state.settings.deadline_ms / 1000
    due = request.state.received + min(inference.deadline_s(), usual_s)
    received_s = monotonic() - request.state.received
    submissions = [
        Submission(*pair, Ask(), client_of(request), request.state.request_id, due, received_s)
        for pair in inference.pairs
    ]
    results = await unless_gone(request, _all(line, submissions))
    request.state.times = results[0].times
    answer, head = await line.codecs.run(write_results, inference.asked, results, line.runtime)
    headers = {} if head is None else {LENGTH_HEADER: str(head)}
    kind = "application/json" if head is None else "application/octet-stream"
    return Response(answer, media_type=kind, headers=headers)


async def _all(line: Line, submissions: Sequence[Submission]) -> list[Result]:
    """Process pairs side by side; the first that fails takes the others out of the line."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(line.process(pair, lambda result: result)) for pair in submissions
            ]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def line_for(request: Request, name: str, version: str) -> Line:
    """The service's line, where its network is the one meant; raises UnknownModel."""
    line: Line = request.app.state.line
    variant = line.runtime.manifest.variant
    if (name, version) != (variant, VERSION):
        raise UnknownModel(f"there is no such model here, only {variant!r} in version {VERSION}")
    return line


def read_inference(body: bytes, length: int | None) -> Inference:
    """Take JSON and binary tensors of a request apart; raises BadWire."""
    head = len(body) if length is None else length
    if head > len(body):
        raise BadWire(f"{LENGTH_HEADER} is {head}, the body has {len(body)} bytes")
    if head > MAX_JSON_BYTES:
        raise BadWire(f"{head} bytes of JSON, at most {MAX_JSON_BYTES}; send binary tensors")
    try:
        asked = InferRequest.model_validate(json.loads(body[:head]))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadWire(f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise BadWire("the request's head is not JSON") from error
    rest = memoryview(body)[head:]
    tensors: dict[str, tuple[Tensor, memoryview]] = {}
    for tensor in asked.inputs:
        data, rest = _tensor_bytes(tensor, rest)
        tensors[tensor.name] = tensor, data
    if len(rest):
        raise BadWire(f"{len(rest)} bytes follow the last tensor")
    if len(tensors) < len(asked.inputs):
        raise BadWire("the inputs must be 'visible' and 'infrared', each once")
    return Inference(asked, _pairs(*tensors["visible"], *tensors["infrared"]))


def _tensor_bytes(tensor: Tensor, rest: memoryview) -> tuple[memoryview, memoryview]:
    """The bytes of a tensor, and those that follow it."""
    wanted = math.prod(tensor.shape) * BYTES_AN_ELEMENT[tensor.datatype]
    if tensor.data is not None:
        try:
            values = np.asarray(tensor.data, tensor.datatype.lower())
        except (ValueError, OverflowError, TypeError) as error:
            raise BadWire(f"{tensor.name}: data are not {tensor.datatype}") from error
        data = memoryview(values.tobytes())
    else:
        size = tensor.parameters.get("binary_data_size")
        if not isinstance(size, int) or not 0 <= size <= len(rest):
            raise BadWire(
                f"{tensor.name}: binary_data_size is {size!r}, {len(rest)} bytes are left"
            )
        data, rest = rest[:size], rest[size:]
    if len(data) != wanted:
        raise BadWire(
            f"{tensor.name}: {len(data)} bytes, a {tensor.datatype} tensor of {tensor.shape} "
            f"has {wanted}"
        )
    return data, rest


def _pairs(
    visible: Tensor, visible_data: memoryview, infrared: Tensor, infrared_data: memoryview
) -> list[tuple[Frame, Frame]]:
    """One pair of raw frames for each place of the batch, without copying."""
    batch, height, width = infrared.shape if len(infrared.shape) == 3 else (0, 0, 0)
    fits = visible.datatype == "UINT8" and visible.shape == [batch, height, width, 3]
    if not fits or not 1 <= batch <= MAX_TENSOR_BATCH:
        raise BadWire(
            f"visible is {visible.datatype} {visible.shape}, infrared {infrared.shape}; expected "
            f"UINT8 [B, H, W, 3] and [B, H, W] with B up to {MAX_TENSOR_BATCH}"
        )
    colour = Layout("rgb8", width, height)
    heat = Layout("y8" if infrared.datatype == "UINT8" else "y16", width, height)
    return [
        (
            Frame(_part(visible_data, batch, place), colour),
            Frame(_part(infrared_data, batch, place), heat),
        )
        for place in range(batch)
    ]


def _part(data: memoryview, batch: int, place: int) -> memoryview:
    size = len(data) // batch
    return data[place * size : (place + 1) * size]


def write_results(
    asked: InferRequest, results: Sequence[Result], runtime: Runtime
) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON where binary tensors follow."""
    arrays: dict[str, NDArray[np.uint8]] = {
        "fused": np.stack([result.prediction.fused for result in results]),
        "labels": np.stack([result.prediction.labels for result in results]),
    }
    wanted = asked.outputs or [Output(name="fused"), Output(name="labels")]
    everywhere = bool(asked.parameters.get("binary_data_output"))
    described, binary = [], []
    for output in wanted:
        array = arrays[output.name]
        entry: dict[str, Any] = {
            "name": output.name,
            "datatype": "UINT8",
            "shape": list(array.shape),
        }
        if output.parameters.get("binary_data", everywhere):
            entry["parameters"] = {"binary_data_size": array.nbytes}
            binary.append(array.tobytes())
        else:
            entry["data"] = array.ravel().tolist()
        described.append(entry)
    told = {
        "model_name": runtime.manifest.variant,
        "model_version": VERSION,
        "id": asked.id,
        "outputs": described,
    }
    head = json.dumps(told).encode()
    return b"".join((head, *binary)), len(head) if binary else None
