"""The webhook before a real server: signature, retries, redirects, bounds."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from service.live.events.delivery import Delivery
from service.live.events.event_metrics import event_metrics
from service.live.events.notify_settings import WebhookSettings
from service.live.events.open_notifiers import open_notifiers
from service.live.events.rig_events import RigEvents
from service.live.sinks.sink_error import SinkError
from service.schemas.events import Event

SECRET = "Hook#Secret/1"


def event(number: int, phase: str = "start") -> Event:
    return Event.model_validate(
        {
            "id": f"{number:032x}",
            "phase": phase,
            "rig": "gate",
            "name": "intruder",
            "kind": "object",
            "zone": "yärd",
            "fault": None,
            "classes": ["person"],
            "tracks": [number],
            "first_ns": number,
            "last_ns": number,
            "stamp_ns": number,
            "sent_ns": number,
            "area": 100,
            "box": [1, 2, 3, 4],
            "celsius": None,
            "sensors": ["visible", "infrared"],
            "flags": [],
            "reason": None,
        }
    )


class Receiver(ThreadingHTTPServer):
    """Notes what it gets, and answers with the statuses that it is given, then 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.stalls_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=S3cret"

    def ids(self) -> list[int]:
        return [int(json.loads(body)["id"], 16) for _, _, body in self.got]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, dict(self.headers.items()), body))
        time.sleep(server.stalls_s)
        status = server.statuses.pop(0) if server.statuses else 204
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def delivery(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, first_s: float = 0.01, **settings: Any
) -> Delivery:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr("service.live.events.delivery.FIRST_S", first_s)
    monkeypatch.setattr("service.live.events.delivery.LONGEST_S", max(30.0, first_s))
    stated = WebhookSettings.model_validate(
        {"kind": "webhook", "url": receiver.url, "secret": "${HOOK_SECRET}"} | settings
    )
    (notifier,) = open_notifiers([stated], "gate")
    return Delivery(notifier, stated.waiting, stated.give_up_s)


def closed(delivery: Delivery, within_s: float = 20) -> bool:
    delivery.begin_to_close(within_s)
    return delivery.closed()


def test_the_signature_verifies_and_no_longer_fits_a_changed_body(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = delivery(receiver, monkeypatch)
    for phase in ("start", "end"):
        sending.put(event(7, phase))
    assert closed(sending) and sending.sent == 2
    deliveries = []
    for path, headers, body in receiver.got:
        # What docs/guides/events.md tells a receiver to do.
        stamp = headers["X-Segmif-Timestamp"]
        mac = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256)
        assert hmac.compare_digest(headers["X-Segmif-Signature"], "sha256=" + mac.hexdigest())
        forged = hmac.new(SECRET.encode(), stamp.encode() + b"." + body[:-1], hashlib.sha256)
        assert headers["X-Segmif-Signature"] != "sha256=" + forged.hexdigest()
        assert abs(int(stamp) - time.time()) < 60
        assert path == "/hook?token=S3cret" and headers["Content-Type"] == "application/json"
        assert json.loads(body)["zone"] == "yärd"
        deliveries.append(headers["X-Segmif-Delivery"])
    assert deliveries == [f"{7:032x}-start", f"{7:032x}-end"]


def test_a_receiver_that_fails_for_a_while_gets_all_in_order(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.statuses = [503, 500, 429, 204, 502]
    sending = delivery(receiver, monkeypatch)
    for number in range(4):
        sending.put(event(number))
    assert closed(sending)
    assert receiver.ids() == [0, 0, 0, 0, 1, 1, 2, 3]
    assert (sending.sent, sending.retried, sending.dropped, sending.error) == (4, 4, 0, None)


def test_a_stop_ends_the_pause_and_tries_again_while_there_is_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.statuses = [503]
    sending = delivery(receiver, monkeypatch, first_s=600.0)
    for number in range(2):
        sending.put(event(number))
    until = time.monotonic() + 60
    while not sending.retried:
        assert time.monotonic() < until
        time.sleep(0.01)
    receiver.statuses = [503, 204, 503]
    assert closed(sending)
    assert receiver.ids() == [0, 0, 0, 1, 1]
    assert (sending.sent, sending.dropped) == (2, 0)


def test_what_a_receiver_refuses_or_redirects_is_dropped_and_never_sent_elsewhere(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.statuses = [307, 404, 204]
    sending = delivery(receiver, monkeypatch)
    for number in range(3):
        sending.put(event(number))
    closed(sending)
    assert [path.partition("?")[0] for path, _, _ in receiver.got] == ["/hook"] * 3
    assert (sending.sent, sending.dropped) == (1, 2)


def test_a_receiver_that_never_answers_costs_bounded_time_and_memory(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.stalls_s = 3.0
    sending = delivery(receiver, monkeypatch, timeout_s=0.2, waiting=5, give_up_s=0.5)
    for number in range(50):
        sending.put(event(number))
    assert sending.waiting == 5 and sending.dropped == 45
    began = time.monotonic()
    assert not closed(sending, within_s=1.0)
    assert time.monotonic() - began < 3.0
    assert sending.sent == 0 and sending.dropped == 50
    assert sending.error and "0.2 s" in sending.error


def test_a_secret_is_stated_by_its_place_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValidationError) as refused:
        WebhookSettings.model_validate(
            {"kind": "webhook", "url": "https://h/x", "secret": "L1teral"}
        )
    assert "${NAME}" in str(refused.value) and "L1teral" not in str(refused.value)
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    settings = WebhookSettings(
        kind="webhook", url=SecretStr("http://127.0.0.1:1/x"), secret=SecretStr("${HOOK_SECRET}")
    )
    with pytest.raises(SinkError, match="the environment has no HOOK_SECRET"):
        open_notifiers([settings], "gate")
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    (notifier,) = open_notifiers([settings], "gate")
    assert notifier.name == "webhook http://127.0.0.1:1"
    sending = Delivery(notifier, 10, 0.0)
    sending.put(event(1))
    closed(sending, 5)
    assert sending.dropped == 1 and sending.error and "refused" in sending.error
    assert SECRET not in caplog.text


def test_webhooks_of_one_host_have_series_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    settings = [
        WebhookSettings(
            kind="webhook", url=SecretStr(f"http://h/{path}"), secret=SecretStr("${HOOK_SECRET}")
        )
        for path in ("one", "two")
    ]
    notifiers = zip(open_notifiers(settings, "gate"), settings, strict=True)
    rig = RigEvents("gate", (), (), notifiers)
    samples = [
        tuple(sorted(sample.labels.items()))
        for metric in event_metrics({"gate": rig})
        for sample in metric.samples
    ]
    assert len(samples) == len(set(samples)) == 8
    names = {dict(labels)["notifier"] for labels in samples}
    assert names == {"webhook http://h", "webhook http://h #2"}  # the path may hold a secret
    rig.close()
