"""Events through a real broker (mosquitto): password, TLS, and a broker that goes and returns."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from service.live.events.delivery import Delivery
from service.live.events.notify_settings import MqttSettings
from service.live.events.open_notifiers import open_notifiers
from tests.service.conftest import free_port
from tests.service.live.events.test_webhook import event

paho = pytest.importorskip("paho.mqtt.client")
PASSWORD = "Br0ker#Secret"
PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


class Broker:
    """A broker with one user, which keeps on the disk what was not delivered."""

    def __init__(self, folder: Path, authority: trustme.CA | None = None) -> None:
        self.port, self._folder = free_port(), folder
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "mosquitto.log"
        users = folder / "users"
        users.write_text("")
        words = ["mosquitto_passwd", "-b", str(users), "rig", PASSWORD]
        subprocess.run(words, check=True, capture_output=True)
        lines = [f"listener {self.port} 127.0.0.1", f"password_file {users}"]
        lines += ["allow_anonymous false", "persistence true", f"persistence_location {folder}/"]
        lines += [f"user {folder.owner()}", f"log_dest file {self.log}", "log_type all"]
        if authority:
            certificate = authority.issue_cert("127.0.0.1")
            certificate.private_key_pem.write_to_path(folder / "key.pem")
            certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
            lines += [f"certfile {folder}/certificate.pem", f"keyfile {folder}/key.pem"]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        assert PROGRAM
        before = self.log.read_text().count(" running") if self.log.exists() else 0
        self._process = subprocess.Popen([PROGRAM, "-c", str(self._folder / "mosquitto.conf")])
        wait(lambda: self.log.exists() and self.log.read_text().count(" running") > before)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process:
            process.send_signal(signal.SIGTERM)  # it writes what it keeps
            process.wait(20)

    def connections(self) -> int:
        """How often a publisher of ours has connected."""
        return self.log.read_text().count("as segmif-gate-")


def wait(condition: Callable[[], object], limit_s: float = 30) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.02)


@contextmanager
def running(folder: Path, authority: trustme.CA | None = None) -> Iterator[Broker]:
    broker = Broker(folder, authority)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def subscribed(broker: Broker, ca_file: Path | None = None) -> Iterator[list[dict[str, Any]]]:
    """What a subscriber gets that the broker remembers while it is away."""
    got: list[dict[str, Any]] = []
    listening: list[bool] = []

    def keep(message: Any) -> None:
        value = json.loads(message.payload)
        # What the broker gives again because this reader was cut off before it acknowledged.
        if not (message.dup and value in got):
            got.append(value)

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "reader", clean_session=False)
    client.username_pw_set("rig", PASSWORD)
    if ca_file:
        client.tls_set(str(ca_file))
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda *_: client.subscribe("site/gate", qos=1)
    client.on_subscribe = lambda *_: listening.append(True)
    client.on_message = lambda _, __, message: keep(message)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        wait(lambda: listening)
        yield got
    finally:
        client.disconnect()
        client.loop_stop()


def delivery(broker: Broker, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Delivery:
    monkeypatch.setenv("BROKER_PASSWORD", PASSWORD)
    stated = {
        "kind": "mqtt",
        "url": f"mqtt://127.0.0.1:{broker.port}",
        "topic": "site/{rig}",
        "user": "rig",
        "password": "${BROKER_PASSWORD}",
        "timeout_s": 2,
    }
    settings = MqttSettings.model_validate(stated | more)
    (notifier,) = open_notifiers([settings], "gate")
    return Delivery(notifier, settings.waiting, settings.give_up_s)


def test_a_broker_that_goes_and_returns_costs_no_event_and_makes_no_flood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as broker, subscribed(broker) as got:
        # A slow machine must not make it publish twice: that is allowed, and not what is tested.
        sending = delivery(broker, monkeypatch, timeout_s=30)
        for number in range(5):
            sending.put(event(number))
        wait(lambda: len(got) == 5)
        broker.stop()
        for number in range(5, 25):
            sending.put(event(number))
        wait(lambda: sending.retried >= 2, 60)
        assert sending.waiting == 20
        broker.start()
        wait(lambda: len(got) >= 25, 60)
        time.sleep(0.5)
        sending.begin_to_close(10)
        assert sending.closed()
        assert [int(each["id"], 16) for each in got] == list(range(25))
        assert (sending.sent, sending.dropped, sending.error) == (25, 0, None)
        assert sending.retried <= 12  # the pauses double
        assert broker.connections() == 2
        assert PASSWORD not in broker.log.read_text()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
def test_tls_is_checked_and_a_wrong_password_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    for name, maker in (("ours.pem", authority), ("strange.pem", stranger)):
        maker.cert_pem.write_to_path(tmp_path / name)
    ours = tmp_path / "ours.pem"
    with running(tmp_path, authority) as broker, subscribed(broker, ours) as got:
        url = f"mqtts://127.0.0.1:{broker.port}"
        safe = delivery(broker, monkeypatch, url=url, ca_file=ours)
        safe.put(event(1))
        wait(lambda: got)
        fooled = delivery(broker, monkeypatch, url=url, ca_file=tmp_path / "strange.pem")
        fooled.put(event(2))
        wait(lambda: fooled.error)
        monkeypatch.setenv("WRONG", "wr0ng")
        wrong = delivery(broker, monkeypatch, url=url, ca_file=ours, password="${WRONG}")
        wrong.put(event(3))
        wait(lambda: wrong.error)
        for each in (safe, fooled, wrong):
            each.begin_to_close(0.1)
            each.closed()
    assert [int(each["id"], 16) for each in got] == [1]
    assert safe.sent == 1 and fooled.sent == wrong.sent == 0
    assert wrong.error and "Not authorized" in wrong.error and "wr0ng" not in wrong.error


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "mqtt://rig:L1teral@host"},
        {"url": "http://host"},
        {"topic": "a/#"},
        {"password": "L1teral"},
        {"user": None},
    ],
)
def test_what_can_be_no_broker_is_refused(changed: dict[str, Any]) -> None:
    stated = {"kind": "mqtt", "url": "mqtt://host", "user": "u", "password": "${P}"}
    with pytest.raises(ValidationError) as refused:
        MqttSettings.model_validate(stated | changed)
    assert "L1teral" not in str(refused.value)
