"""What goes down the wire of a real service: requests that mislead, and every hostile file."""

import json
import re
import time

import pytest

from segmif.imaging.codecs import encode_png
from tests.hostile.generators.pictures import COLOUR, COUNTS, PICTURES, Picture
from tests.hostile.generators.requests import REQUESTS, Wire, form_body, head, post
from tests.hostile.service_process import Service

LATEST_S = 2.5 + 1.0  # for a deadline of 2 s; the last second is for a busy machine
PROBE = head("GET", "/livez")


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found, answer[:200]
    return int(found[1])


@pytest.mark.parametrize("wire", REQUESTS, ids=lambda wire: wire.name)
def test_a_request_that_misleads_gets_its_right_answer(service: Service, wire: Wire) -> None:
    data = wire.data()
    service.mark()
    before = service.memory_mib("VmRSS")
    answer = service.send(data)
    assert status_of(answer) in wire.statuses, answer[:300]
    assert (
        len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) == 1
    )  # a body is never read as one more request
    body = answer.partition(b"\r\n\r\n")[2]
    if data.startswith(b"HEAD "):
        assert not body
    elif status_of(answer) >= 400:
        told = json.loads(body)
        assert told["status"] == status_of(answer) and told["detail"]
        assert wire.kind in (None, told["kind"])
    assert service.memory_mib("VmHWM") - before < wire.memory_mib
    assert status_of(service.send(PROBE)) == 200


def pair_with(picture: Picture, data: bytes) -> bytes:
    """The file beside a good partner, as a form that is useless after two seconds."""
    other = {"visible": encode_png(COLOUR), "infrared": encode_png(COUNTS)}
    body = form_body(other | {"visible" if picture.door == "visible" else "infrared": data})
    deadline = "X-Deadline-Ms: 2000"
    return post("/fuse-segment", body, "multipart/form-data; boundary=edge", deadline)


@pytest.mark.parametrize(
    "picture",
    [picture for picture in PICTURES if picture.door != "labels"],
    ids=lambda picture: picture.name,
)
def test_a_hostile_file_costs_one_answer_in_time(service: Service, picture: Picture) -> None:
    sent = pair_with(picture, picture.make().data)
    service.mark()
    before, start = service.memory_mib("VmRSS"), time.monotonic()
    answer = service.send(sent)
    took_s = time.monotonic() - start
    status = status_of(answer)
    if picture.kinds:
        assert status in (413, 415, 422)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["kind"] in {*picture.kinds, "too_large"}
    else:
        assert status in (200, 422) and b'"kind":"damaged"' not in answer, answer[:300]
    assert took_s < LATEST_S
    assert service.memory_mib("VmHWM") - before < picture.memory_mib + 32  # body and copies
    assert status_of(service.send(PROBE)) == 200
