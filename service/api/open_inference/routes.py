"""The Open Inference Protocol v2 with its binary tensors, for standard clients and load tools."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response

from segmif.frames import INPUTS, OUTPUTS, TINT
from segmif.runtime import Runtime
from segmif.wire.media_types import JSON, RAW

from ... import errors
from ...errors import BadParameter, UnknownModel
from ...pipeline.result import Result
from ...scheduler.deadlines import in_time
from ...scheduler.dispatcher import Dispatcher
from ...scheduler.pair_request import PairRequest
from ...schemas.answers import State
from ...schemas.pair_options import PairOptions
from ..disconnects import cancel_on_disconnect
from ..openapi import documented, schema_of
from ..problems import OF_A_PAIR
from ..requests import due, pair_request, refuse_early, stated_once
from ..responses import headers
from .tensor_requests import InferRequest
from .tensors import LENGTH_HEADER, VERSION, read_inference, write_results

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
OF_A_MODEL = (errors.Unauthorized, errors.UnknownModel, errors.BadParameter)


@router.get("", responses=documented(errors.Unauthorized))
async def server(request: Request) -> dict[str, Any]:
    """Describe this server."""
    return {
        "name": "segmif",
        "version": request.app.version,
        "extensions": ["binary_tensor_data", "model_configuration"],
    }


@router.get("/health/live", responses=documented())
async def live() -> State:
    """Say that the process is alive."""
    return State(status="alive")


@router.get("/health/ready", responses=documented(errors.NotReady))
async def ready(request: Request) -> State:
    """Say that the network is ready for pairs."""
    request.app.state.dispatcher.self_test.check_ready()
    return State(status="ready")


@router.get("/models/{name}/ready", responses=documented(*OF_A_MODEL, errors.NotReady))
@router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
async def model_ready(request: Request, name: str, version: str = VERSION) -> State:
    """Say that this network is ready for pairs."""
    dispatcher = dispatcher_for(request, name, version)
    dispatcher.self_test.check_ready()
    return State(status="ready")


@router.get("/models/{name}", responses=documented(*OF_A_MODEL))
@router.get("/models/{name}/versions/{version}", include_in_schema=False)
async def model(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """Describe the tensors of the network."""
    runtime = dispatcher_for(request, name, version).runtime
    return {
        "name": runtime.manifest.variant,
        "versions": [VERSION],
        "platform": runtime.name,
        "inputs": [_tensor(name) for name in _inputs(runtime)],
        "outputs": [_tensor(name) for name in runtime.outputs],
    }


def _inputs(runtime: Runtime) -> list[str]:
    return [*INPUTS, TINT] if runtime.default_tint is not None else [*INPUTS]


def _tensor(name: str) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32" if name == TINT else "UINT8", "shape": _shape(name)}


def _shape(name: str) -> list[int]:
    if name == TINT:
        return [-1]
    channels = (INPUTS | OUTPUTS)[name]
    return [-1, -1, -1, channels] if channels > 1 else [-1, -1, -1]  # -1: any


@router.get("/models/{name}/config", responses=documented(*OF_A_MODEL))
@router.get("/models/{name}/versions/{version}/config", include_in_schema=False)
async def config(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """Describe the network as Triton does in its extension, which load tools ask for."""
    runtime = dispatcher_for(request, name, version).runtime
    return {
        "name": runtime.manifest.variant,
        "platform": runtime.name,
        "max_batch_size": 0,  # the batch is the first dimension of the tensors themselves
        "input": [_configured(name) for name in _inputs(runtime)],
        "output": [_configured(name) for name in runtime.outputs],
    }


def _configured(name: str) -> dict[str, Any]:
    if name == TINT:
        return {"name": name, "data_type": "TYPE_FP32", "dims": _shape(name), "optional": True}
    return {"name": name, "data_type": "TYPE_UINT8", "dims": _shape(name)}


@router.post(
    "/models/{name}/infer",
    response_class=JSONResponse,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": schema_of(InferRequest)}},
        }
    },
    responses=documented(
        errors.UnknownModel,
        *OF_A_PAIR,
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
    dispatcher = dispatcher_for(request, name, version)
    if request.query_params:
        raise BadParameter(
            f"parameter {min(request.query_params)[:100]!r}: no query is read here; state it among "
            "the `parameters` of the request"
        )
    stated_once(request, LENGTH_HEADER)
    refuse_early(request, PairOptions())
    body = b"".join([chunk async for chunk in request.stream()])
    codecs = dispatcher.queues.codecs
    inference = await in_time(codecs.run(read_inference, body, length), due(request, PairOptions()))
    options = inference.pair_options()
    pairs = [
        pair_request(request, *frames, chosen, same_stamps=place > 0)
        for place, (frames, chosen) in enumerate(zip(inference.pairs, options, strict=True))
    ]
    results = await cancel_on_disconnect(request, _all(dispatcher, pairs))
    times = request.state.times = results[0].times
    writing = codecs.run(write_results, inference.asked, results)
    answer, head = await in_time(writing, pairs[0].due)
    dispatcher.metrics.stages.labels("encode").observe(times.ms["encode"] / 1000)
    flags = (flag for each in results for flag in each.prepared.condition.flags)
    response_headers = headers(times, flags)
    if head is not None:
        response_headers[LENGTH_HEADER] = str(head)
    kind = JSON if head is None else RAW
    return Response(answer, media_type=kind, headers=response_headers)


async def _all(dispatcher: Dispatcher, pairs: Sequence[PairRequest]) -> list[Result]:
    """Process pairs side by side; the first that fails removes the others from the queue."""
    tasks = [asyncio.create_task(dispatcher.process(pair, lambda result: result)) for pair in pairs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def dispatcher_for(request: Request, name: str, version: str) -> Dispatcher:
    """The dispatcher, if its network is the one meant; raises UnknownModel."""
    dispatcher: Dispatcher = request.app.state.dispatcher
    variant = dispatcher.runtime.manifest.variant
    if (name, version) != (variant, VERSION):
        raise UnknownModel(f"there is no such model here, only {variant!r} in version {VERSION}")
    return dispatcher
