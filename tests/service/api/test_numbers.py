"""Every number by every way in: with both ends, refused in words beyond them."""

import json
import logging
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from segmif.client import pack
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from segmif.wire.binary_pair import RawAnswer
from service.observability.logs import is_needed
from service.schemas.pair_options import PairOptions
from service.settings import Settings

RAMP = np.linspace(20, 220, 32 * 32).reshape(32, 32).astype(np.uint8)
FILES: dict[str, Any] = {
    "visible": codecs.encode_png(np.dstack([RAMP] * 3)),
    "infrared": codecs.encode_png(RAMP),
}


def numeric(schema: dict[str, Any]) -> bool:
    kinds = (each.get("type") for each in (schema, *schema.get("anyOf", [])))
    return bool({"integer", "number"} & set(kinds))


SCHEMA = PairOptions.model_json_schema()["properties"]
FIELDS = [name for name, schema in SCHEMA.items() if numeric(schema)]
TEXTS = (
    *("nan", "inf", "-inf", "-1", "-0.5", "9" * 400, "9" * 5000, "1e400", "", " ", "one", "0x10"),
    *("1.5", "5e-324", "1_000", "true", "[1]", "9223372036854775808", "18446744073709551616"),
)
TOO_LARGE = ("9" * 400, "9" * 5000, "18446744073709551616", "-1", "nan", "one", "")


@pytest.fixture(scope="module")
def service(serve: Any, stand_in_weights: Any) -> Iterator[httpx.Client]:
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        yield client


def told(answer: httpx.Response) -> int:
    """The status of an answer that is either a result or a problem in words."""
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert answer.json()["kind"] != "http" and answer.json()["detail"]
    return answer.status_code


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR):
        yield
    errors = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert not [record.message for record in errors if is_needed(record)]


def is_none(field: str, text: str) -> bool:
    """Whether nobody can take a text for a value of the field."""
    least = next(each.get("minimum", 0) for each in SCHEMA[field]["anyOf"] if numeric(each))
    return text in TOO_LARGE and not (text == "-1" and least < 0)


def test_every_number_of_a_request_has_both_ends() -> None:
    assert {"depth_m", "deadline_ms", "visible_ns", "infrared_ns"} < set(FIELDS)
    for name in FIELDS:
        [schema] = (each for each in SCHEMA[name]["anyOf"] if numeric(each))
        assert {"minimum", "exclusiveMinimum"} & set(schema), name
        # beyond some depth nothing changes: infinity is honoured
        assert name == "depth_m" or {"maximum", "exclusiveMaximum"} & set(schema), name


@pytest.mark.parametrize("field", FIELDS)
def test_texts_in_a_query_a_header_and_meta(service: httpx.Client, field: str) -> None:
    for text in TEXTS:
        by_query = told(service.post("/fuse-segment", params={field: text}, files=FILES))
        meta = {"meta": (None, json.dumps({field: text}), "application/json")}
        by_meta = told(service.post("/fuse-segment", files=FILES | meta))
        if is_none(field, text):
            assert by_query == by_meta == 422, text
        if field == "deadline_ms" and len(text) < 5000 and text.strip():
            headers = {"X-Deadline-Ms": text}
            by_header = told(service.post("/fuse-segment", files=FILES, headers=headers))
            assert by_header == by_query or {by_header, by_query} == {200, 503}, text


NUMBERS = ("NaN", "Infinity", "-1", "9" * 400, "9" * 5000, "1e400", "1.5", "true", "null", "[]")


@pytest.mark.parametrize("field", FIELDS)
def test_numbers_of_json_in_meta_and_in_parameters(service: httpx.Client, field: str) -> None:
    for number in NUMBERS:
        given = f'{{"{field}": {number}}}'
        meta = {"meta": (None, given, "application/json")}
        by_meta = told(service.post("/fuse-segment", files=FILES | meta))
        by_tensors = told(tensors(service, parameters=given))
        if is_none(field, number) or (
            field.endswith("_ns") and number in ("NaN", "Infinity", "1.5")
        ):
            assert by_meta == by_tensors == 422, number


def tensors(
    service: httpx.Client,
    parameters: str = "{}",
    outputs: str = "[]",
    infrared: str = "",
    data: str | None = None,
) -> httpx.Response:
    listed = data or json.dumps(RAMP[None].tolist())
    given = f"""{{"parameters": {parameters}, "outputs": {outputs}, "inputs": [
        {{"name": "visible", "datatype": "UINT8", "shape": [1, 32, 32, 3],
          "data": {json.dumps(np.dstack([RAMP] * 3)[None].tolist())}}},
        {{"name": "infrared", "datatype": "UINT8", "shape": [1, 32, 32], {infrared}
          "data": {listed}}}]}}"""
    return service.post("/v2/models/nano/infer", content=given)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"parameters": f'{{"timeout": {n}}}'} for n in ("-1", "1.5", "NaN", '"1"', "9" * 400)),
        {"parameters": '{"binary_data_output": 1}'},
        {"parameters": '{"class_count": 3}'},
        {"parameters": '{"sequence_id": 3}'},
        {"parameters": '{"priority": 1}'},
        {"parameters": '{"visibel_ns": 1}'},
        {"outputs": '[{"name": "labels", "parameters": {"classification": 3}}]'},
        {"outputs": '[{"name": "labels", "parameters": {"class_count": 3}}]'},
        {"outputs": '[{"name": "labels", "parameters": {"binary_data": "yes"}}]'},
        {"outputs": '[{"name": "labels", "parameters": {"shared_memory_region": "a"}}]'},
        {"outputs": '[{"name": "labels"}, {"name": "labels"}]'},
        {"outputs": '[{"name": "depth"}]'},
        {"outputs": '[{"name": "labels", "datatype": "INT64"}]'},
        *({"infrared": f'"parameters": {{"binary_data_size": {n}}},'} for n in ("true", "3", "-1")),
        {"infrared": '"parameters": {"unit": "kelvin"},'},
        {"infrared": '"stride": 3,'},
        *({"data": json.dumps([[[value] * 32] * 32])} for value in (1.5, -1, 256, True, "1", None)),
        {"data": json.dumps([[[10**400] * 32] * 32])},
        {"data": "[[[NaN]]]"},
        {"data": "[[1], [1, 2]]"},
    ],
    ids=str,
)
def test_what_tensors_may_not_say_is_refused_never_ignored(
    service: httpx.Client, wrong: dict[str, str]
) -> None:
    assert told(tensors(service)) == 200
    answer = tensors(service, **wrong)
    assert told(answer) == 422 and answer.json()["kind"] in ("bad_wire", "bad_parameter")


def test_a_long_text_among_the_numbers_of_a_tensor_does_not_make_room_for_more(
    service: httpx.Client,
) -> None:
    answer = tensors(service, data=json.dumps(["a" * 3_000_000] + ["1"] * 500_000))
    assert told(answer) == 422 and answer.json()["kind"] == "bad_wire"


def test_lists_in_the_json_of_tensors_are_counted(service: httpx.Client) -> None:
    answer = tensors(service, data="[" + "[]," * 600_000 + "[]]")
    assert told(answer) == 422 and "send binary tensors" in answer.json()["detail"]


def test_a_timeout_of_tensors_is_kept(service: httpx.Client) -> None:
    assert told(tensors(service, '{"timeout": 60000000}')) == 200
    assert told(tensors(service, '{"timeout": 0}')) == 200
    assert told(tensors(service, '{"timeout": 1}')) == 503


@pytest.mark.parametrize("text", [*TEXTS, "0", str(2**40)])
def test_sizes_of_shared_memory_and_of_the_head_of_tensors(
    service: httpx.Client, text: str
) -> None:
    made = service.post("/shared-memory", params={"bytes": text})
    assert told(made) in (201, 422)
    if made.is_success:
        service.delete(f"/shared-memory/{made.json()['id']}")
    if text.strip():
        headers = {"Inference-Header-Content-Length": text}
        answer = service.post("/v2/models/nano/infer", content=b"{}", headers=headers)
        assert told(answer) == 422


def test_the_largest_numbers_of_a_raw_header(service: httpx.Client) -> None:
    whole = pack(np.dstack([RAMP] * 3), RAMP)
    headers = {"Content-Type": "application/octet-stream"}
    for at in range(8, 64, 4):
        body = whole[:at] + b"\xff" * 4 + whole[at + 4 :]
        told(service.post("/fuse-segment", content=body, headers=headers))
    for at, value in ((48, 2**64 - 1), (56, 2**63), (48, 2**63 - 1)):
        body = whole[:at] + struct.pack("<Q", value) + whole[at + 8 :]
        status = told(service.post("/fuse-segment", content=body, headers=headers))
        assert status == (200 if value < 2**63 else 422)


def test_numbers_in_the_query_of_a_socket(service: httpx.Client) -> None:
    url = f"ws://127.0.0.1:{service.base_url.port}/stream"
    for text in TEXTS:
        query = httpx.QueryParams({"visible_ns": text, "deadline_ms": text})
        try:
            with connect(f"{url}?{query}") as wire:
                wire.send(pack(np.dstack([RAMP] * 3), RAMP))
                assert RawAnswer.from_bytes(bytes(wire.recv(20))).status in (200, 503)  # type: ignore[arg-type]
        except InvalidStatus as refused:
            assert refused.response.status_code in (422, 431), text[:9]


@pytest.mark.parametrize("query", ["depth_n=1", "Stream=a", "visible_ns=1&visible_ns=2", "=", "&a"])
def test_a_parameter_that_nobody_knows_or_twice_is_refused(
    service: httpx.Client, query: str
) -> None:
    assert told(service.post(f"/fuse-segment?{query}", files=FILES)) == 422
    assert told(service.post(f"/shared-memory?bytes=64&{query}")) == 422


def test_a_misspelt_parameter_is_told_what_may_be_meant(service: httpx.Client) -> None:
    for name, meant in (("visibel_ns", "visible_ns"), ("Stream", "stream"), ("retrun", "return")):
        answer = service.post("/fuse-segment", params={name: "1"}, files=FILES)
        assert f"is {meant} meant?" in answer.json()["detail"]
        meta = {"meta": (None, json.dumps({name: 1}), "application/json")}
        answer = service.post("/fuse-segment", files=FILES | meta)
        assert f"is {meant} meant?" in answer.json()["detail"]


@pytest.mark.parametrize("weight", ["nan", "inf", "1e999", "-1", "9" * 400, "", "x"])
def test_weights_of_an_accept_header(service: httpx.Client, weight: str) -> None:
    accept = {"Accept": f"image/jpeg;q={weight}, image/png;q=0.5"}
    answer = service.post("/fuse-segment?return=fused", files=FILES, headers=accept)
    assert told(answer) == 200
    if weight in ("nan", "", "x", "-1"):
        assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('"parameters": {"stream": "a", "stream": "b"}', "'stream' stands twice"),
        ('"parameters": {}, "parameters": {}', "'parameters' stands twice"),
    ],
)
def test_what_stands_twice_in_json_is_refused(service: httpx.Client, given: str, said: str) -> None:
    twice = f'{{{given}, "inputs": []}}'
    answer = service.post("/v2/models/nano/infer", content=twice)
    assert told(answer) == 422 and said in answer.json()["detail"]
    meta = {"meta": (None, '{"stream": "a", "stream": "b"}', "application/json")}
    answer = service.post("/fuse-segment", files=FILES | meta)
    assert told(answer) == 422 and "'stream' stands twice" in answer.json()["detail"]


def test_a_query_beside_tensors_is_refused_never_ignored(service: httpx.Client) -> None:
    for query in ({"stream": "rig"}, {"deadline_ms": "1"}, {"memory": "false"}):
        answer = service.post("/v2/models/nano/infer", params=query, content=b"{}")
        assert told(answer) == 422 and "no query is read here" in answer.json()["detail"]


def test_lists_of_another_shape_than_the_tensors_are_refused(service: httpx.Client) -> None:
    same: list[tuple[int, ...]] = [(32 * 32,), (32, 32), (1, 32, 32, 1)]
    for shape in same:
        assert told(tensors(service, data=json.dumps(RAMP.reshape(shape).tolist()))) == 200
    others: list[tuple[int, ...]] = [(1, 16, 64), (64, 16), (16, 2, 32)]
    for shape in others:
        answer = tensors(service, data=json.dumps(RAMP.reshape(shape).tolist()))
        assert told(answer) == 422 and "nest them so, or not at all" in answer.json()["detail"]


def test_a_header_that_stands_twice_counts_once_or_not_at_all(service: httpx.Client) -> None:
    for name, values in (("X-Deadline-Ms", "60000 1"), ("Inference-Header-Content-Length", "1 2")):
        headers = [(name, value) for value in values.split()]
        path = "/fuse-segment" if name.startswith("X") else "/v2/models/nano/infer"
        answer = service.post(path, content=b"{}", headers=headers)
        assert told(answer) == 422 and f"header {name} has 2 values" in answer.json()["detail"]
    accepted = [("Accept", "text/html"), ("Accept", "image/png")]  # one list, in two lines
    answer = service.post("/fuse-segment?return=fused", files=FILES, headers=accepted)
    assert told(answer) == 200 and answer.headers["content-type"] == "image/png"
