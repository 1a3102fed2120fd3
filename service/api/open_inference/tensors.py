"""Requests and answers of the Open Inference Protocol v2: JSON, and binary tensors behind it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.frames import CONFIDENCE, INPUTS, TINT, TINTS
from segmif.parsing import ParseError, json_value
from segmif.wire.raw_frames import Frame, Layout

from ...errors import BadParameter, BadWire
from ...pipeline.result import Result, describe
from ...schemas.pair_options import PairOptions
from ..requests import validated
from .tensor_requests import InferRequest, Output, Tensor, read_request

LENGTH_HEADER = "Inference-Header-Content-Length"
DTYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
}
VERSION = "1"  # of the one model
MAX_TENSOR_BATCH = 64
# Nothing else runs while Python reads JSON (40 ms a MiB), or searches its lists for garbage.
MAX_JSON_LISTS = 2**19
MAX_JSON_BYTES = 2 * 2**20


@dataclass(frozen=True)
class Inference:
    """A parsed request: one (visible, infrared) for each pair of the batch."""

    asked: InferRequest
    pairs: list[tuple[Frame, Frame]]
    tints: list[float] | None  # one for each pair; None: without the input

    def pair_options(self) -> list[PairOptions]:
        """The options of each pair, with Triton's `timeout` [us]; raises BadParameter."""
        parameters = self.asked.parameters
        fields = parameters.of_the_pairs()
        if parameters.timeout:
            fields.setdefault("deadline_ms", parameters.timeout / 1000)
        wanted = [output.name for output in self.asked.outputs]
        if not wanted or CONFIDENCE in wanted:
            fields["return"] = CONFIDENCE
        if self.tints is None:
            return [validated(PairOptions, fields)] * len(self.pairs)
        if "tint" in fields:
            raise BadParameter("tint is a parameter and an input: state one of them")
        return [validated(PairOptions, {**fields, "tint": tint}) for tint in self.tints]


def read_inference(body: bytes, length: int | None) -> Inference:
    """Read JSON and binary tensors of a request; raises BadWire."""
    head = len(body) if length is None else length
    if head > len(body):
        raise BadWire(f"{LENGTH_HEADER} is {head}, the body has {len(body)} bytes")
    if head > MAX_JSON_BYTES:
        raise BadWire(f"{head} bytes of JSON, at most {MAX_JSON_BYTES}; send binary tensors")
    lists = body.count(b"[", 0, head) + body.count(b"{", 0, head)
    if lists > MAX_JSON_LISTS:
        raise BadWire(f"{lists} lists in the JSON, at most {MAX_JSON_LISTS}; send binary tensors")
    try:
        asked = read_request(json_value(body[:head], finite=False))
    except ParseError as error:
        raise BadWire(f"the request's head: {error}") from None
    rest = memoryview(body)[head:]
    tensors: dict[str, tuple[Tensor, memoryview]] = {}
    for tensor in asked.inputs:
        data, rest = _tensor_bytes(tensor, rest)
        tensors[tensor.name] = tensor, data
    if len(rest):
        raise BadWire(f"{len(rest)} bytes follow the last tensor")
    if len(tensors) < len(asked.inputs) or not INPUTS.keys() <= tensors.keys():
        raise BadWire("the inputs must be 'visible', 'infrared' and perhaps 'tint', each once")
    pairs = _pairs(*tensors["visible"], *tensors["infrared"])
    tints = _tints(*tensors[TINT], len(pairs)) if TINT in tensors else None
    return Inference(asked, pairs, tints)


def _tints(tensor: Tensor, data: memoryview, batch: int) -> list[float]:
    """The values of the input `tint`, one for each pair; `PairOptions` checks their range."""
    if tensor.datatype != "FP32" or tensor.shape not in ([batch], [batch, 1]):
        raise BadWire(
            f"tint is {tensor.datatype} {tensor.shape}; expected FP32 [{batch}], one for each pair"
        )
    values: list[float] = np.frombuffer(data, DTYPES["FP32"]).tolist()
    return values


def _tensor_bytes(tensor: Tensor, rest: memoryview) -> tuple[memoryview, memoryview]:
    """The bytes of a tensor, and those that follow it."""
    wanted = math.prod(tensor.shape) * DTYPES[tensor.datatype].itemsize
    size = tensor.parameters.binary_data_size
    if tensor.data is not None:
        if size is not None:
            raise BadWire(f"{tensor.name} has data and a binary_data_size: one of them")
        data = memoryview(_values(tensor.data, tensor).tobytes())
    else:
        if size is None or size > len(rest):
            raise BadWire(f"{tensor.name}: binary_data_size is {size}, {len(rest)} bytes are left")
        data, rest = rest[:size], rest[size:]
    if len(data) != wanted:
        raise BadWire(
            f"{tensor.name}: {len(data)} bytes, a {tensor.datatype} tensor of {tensor.shape} "
            f"has {wanted}"
        )
    return data, rest


def _values(data: list[Any], tensor: Tensor) -> NDArray[np.generic]:
    """Numbers of JSON, each of which the tensor's type holds as it is; raises BadWire."""
    wanted = DTYPES[tensor.datatype]
    if tensor.name == TINT:
        return _numbers(data, wanted)
    whole = _are_integers(data)  # one long text would make numpy give each number as much room
    try:
        values = np.asarray(data if whole else [])
    except ValueError as error:
        raise BadWire(f"{tensor.name}: its data are ragged, expected {tensor.shape}") from error
    whole = whole and (values.dtype.kind in "iu" or not values.size)
    if not whole or (values.size and (values.min() < 0 or values.max() > np.iinfo(wanted).max)):
        raise BadWire(
            f"{tensor.name}: its data are not {tensor.datatype}: whole numbers from 0 to "
            f"{np.iinfo(wanted).max}"
        )
    if values.ndim > 1 and _without_ones(values.shape) != _without_ones(tensor.shape):
        raise BadWire(
            f"{tensor.name}: its data are lists of {list(values.shape)}, its shape is "
            f"{tensor.shape}: nest them so, or not at all"
        )
    return values.astype(wanted)


def _without_ones(shape: Sequence[int]) -> list[int]:
    """A batch of one pair is often nested as the pair alone."""
    return [side for side in shape if side != 1]


def _numbers(data: list[Any], wanted: np.dtype[Any]) -> NDArray[np.generic]:
    """A list of numbers as the input `tint`; raises BadWire."""
    if len(data) > MAX_TENSOR_BATCH or not {int, float}.issuperset(map(type, data)):
        raise BadWire(f"{TINT}: its data are no list of up to {MAX_TENSOR_BATCH} numbers")
    if not all(TINTS[0] <= value <= TINTS[1] for value in data):
        raise BadWire(f"{TINT}: its data are beyond {TINTS[0]:g} to {TINTS[1]:g}")
    return np.array(data, wanted)


def _are_integers(data: list[Any]) -> bool:
    """Whether lists, however nested, hold whole numbers alone."""
    level = data
    while (kinds := set(map(type, level))) == {list}:
        level = list(chain.from_iterable(level))
    return kinds <= {int}


def _pairs(
    visible: Tensor, visible_data: memoryview, infrared: Tensor, infrared_data: memoryview
) -> list[tuple[Frame, Frame]]:
    """One pair of raw frames for each place of the batch, without copying."""
    batch, height, width = infrared.shape if len(infrared.shape) == 3 else (0, 0, 0)
    size = [batch, height, width]
    eight_bit = visible.datatype == "UINT8" and infrared.datatype != "FP32"
    fits = eight_bit and visible.shape in ([*size, 3], [*size, 1], size)
    if not fits or not 1 <= batch <= MAX_TENSOR_BATCH:
        raise BadWire(
            f"visible is {visible.datatype} {visible.shape}, infrared {infrared.shape}; expected "
            f"UINT8 [B, H, W, 3] (grey: [B, H, W]) and [B, H, W] with B up to {MAX_TENSOR_BATCH}"
        )
    colour = Layout("rgb8" if visible.shape == [*size, 3] else "y8", width, height)
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


def write_results(asked: InferRequest, results: Sequence[Result]) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON if binary tensors follow."""
    with results[0].times.measure("encode"):
        described, binary = _outputs(asked, results)
    for result in results[1:]:
        result.times.note("encode", results[0].times.ms["encode"])
    answer = {
        "model_name": results[0].runtime.manifest.variant,
        "model_version": VERSION,
        "id": asked.id,
        # parameters are no objects in this protocol
        "parameters": {
            "reports": json.dumps([describe(result).model_dump(mode="json") for result in results])
        },
        "outputs": described,
    }
    head = json.dumps(answer).encode()
    return b"".join((head, *binary)), len(head) if binary else None


def _outputs(
    asked: InferRequest, results: Sequence[Result]
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The outputs as the answer's JSON has them, and the bytes of those that follow it."""
    arrays = _arrays(results)
    wanted = asked.outputs or [Output.model_validate({"name": name}) for name in arrays]
    everywhere = asked.parameters.binary_data_output
    described, binary = [], []
    for output in wanted:
        if output.name not in arrays:
            raise BadWire(f"this network gives {', '.join(arrays)}, no {output.name}")
        array = arrays[output.name]
        entry: dict[str, Any] = {
            "name": output.name,
            "datatype": "UINT8",
            "shape": list(array.shape),
        }
        binary_data = output.parameters.binary_data
        if everywhere if binary_data is None else binary_data:
            entry["parameters"] = {"binary_data_size": array.nbytes}
            binary.append(array.tobytes())
        else:
            entry["data"] = array.ravel().tolist()
        described.append(entry)
    return described, binary


def _arrays(results: Sequence[Result]) -> dict[str, NDArray[np.uint8]]:
    """The outputs there are, each a batch."""
    predictions = [result.prediction for result in results]
    arrays = {
        "fused": np.stack([prediction.fused for prediction in predictions]),
        "labels": np.stack([prediction.labels for prediction in predictions]),
    }
    sure = [p.confidence for p in predictions if p.confidence is not None]
    return arrays | ({CONFIDENCE: np.stack(sure)} if len(sure) == len(predictions) else {})
