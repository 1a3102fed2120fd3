"""Publishes events to an MQTT broker, QoS 1."""

from threading import Event as Flag
from typing import Any
from urllib.parse import urlsplit

from segmif.install import install_command
from segmif.sources.frame import SourceError
from segmif.sources.secrets import filled

from ...schemas.events import Event
from ..sinks.sink_error import SinkError
from .delivery import TryAgain
from .notify_settings import MqttSettings
from .webhook import reason_of, trusted

PORTS = {"mqtt": 1883, "mqtts": 8883}
KEEPALIVE_S = 30


class Mqtt:
    """
    Publishes one message after the other; each arrived once the broker acknowledged it.

    After any failure the connection is made anew, and what was not acknowledged is published
    again: a receiver may get an event twice, with the same id and phase.
    """

    def __init__(self, settings: MqttSettings, rig: str) -> None:
        """Raises SinkError for a missing secret, package or certificate; connects when needed."""
        _check_paho()
        parts = urlsplit(settings.url)
        self._host, self._port = str(parts.hostname), parts.port or PORTS[parts.scheme]
        self.name = f"{parts.scheme}://{parts.hostname}:{self._port}"
        self._settings, self._client_id = settings, f"segmif-{rig}"
        self._topic = settings.topic.replace("{rig}", rig)
        self._trust = trusted(settings.ca_file, self.name) if parts.scheme == "mqtts" else None
        self._login()  # a missing secret shows at the start
        self._client: Any = None

    def send(self, event: Event) -> None:
        """As `Notifier.send`."""
        if not (self._client and self._client.is_connected()):
            self.close()
            self._client = self._connected()
        timeout_s = self._settings.timeout_s
        try:
            message = self._client.publish(self._topic, event.model_dump_json(), qos=1)
            message.wait_for_publish(timeout_s)
            arrived = message.is_published()
        except (ValueError, RuntimeError, OSError):
            arrived = False
        if not arrived:
            self.close()
            raise TryAgain(f"the broker did not acknowledge within {timeout_s:g} s")

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client:
            client.disconnect()
            client.loop_stop()

    def _connected(self) -> Any:
        """A client that the broker has accepted; raises TryAgain."""
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        client = paho.Client(
            CallbackAPIVersion.VERSION2, self._unique_id(), reconnect_on_failure=False
        )
        try:
            client.username_pw_set(*self._login())
        except SinkError as error:
            raise TryAgain(str(error)) from None
        if self._trust:
            client.tls_set_context(self._trust)
        client.connect_timeout = self._settings.timeout_s
        answered, refusal = Flag(), [""]

        def on_connect(_: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
            refusal[0] = str(reason) if reason.is_failure else ""
            answered.set()

        client.on_connect = on_connect
        try:
            client.connect(self._host, self._port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise TryAgain(f"cannot be reached: {reason_of(error)}") from None
        client.loop_start()
        in_time = answered.wait(self._settings.timeout_s)
        if not in_time or refusal[0]:
            client.disconnect()
            client.loop_stop()
            raise TryAgain(f"the broker refuses: {refusal[0]}" if in_time else "no answer")
        return client

    def _login(self) -> tuple[str | None, str | None]:
        """User and password, which may be others each time; raises SinkError."""
        settings = self._settings
        try:
            stated = settings.password.get_secret_value() if settings.password else None
            return settings.user and filled(settings.user), stated and filled(stated)
        except SourceError as error:
            raise SinkError(f"{self.name}: {error}") from None

    def _unique_id(self) -> str:
        from uuid import uuid4

        return f"{self._client_id}-{uuid4().hex[:8]}"


def _check_paho() -> None:
    try:
        import paho.mqtt.client  # noqa: F401
    except ModuleNotFoundError:
        raise SinkError(f"MQTT needs the package paho-mqtt: {install_command('mqtt')}") from None
