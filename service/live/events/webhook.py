"""Posts events to an address, signed."""

import asyncio
import hashlib
import hmac
import os
import socket
import ssl
import time
from urllib.parse import urlsplit

from segmif.install import install_command, version
from segmif.sources.frame import SourceError
from segmif.sources.secrets import filled

from ...schemas.events import Event
from ..sinks.sink_error import SinkError
from .delivery import Refused, TryAgain
from .notify_settings import WebhookSettings

TIMESTAMP, SIGNATURE, DELIVERY = "X-Segmif-Timestamp", "X-Segmif-Signature", "X-Segmif-Delivery"
AGAIN = {408, 425, 429}  # and all of 500 and above: another try may succeed
LONGEST_RETRY_AFTER_S = 300.0


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) of the timestamp, a dot and the body, as the header has it."""
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


class Webhook:
    """
    Sends one request for each event; any status of 200 to 299 means that it arrived.

    Redirects are not followed, answers are not read, proxies of the environment are not used: only
    the stated address is ever asked.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        """Raises SinkError for a missing secret, package or certificate."""
        _check_httpx()
        self._settings = settings
        self._url = _filled(settings.url.get_secret_value())
        self._secret()  # a missing one shows at the start
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SinkError("webhook: expected https://HOST/PATH or http://HOST/PATH")
        self.name = f"webhook {parts.scheme}://{_host(parts.hostname, parts.port)}"
        self._trust = trusted(settings.ca_file, self.name) if parts.scheme == "https" else None

    def send(self, event: Event) -> None:
        """As `Notifier.send`."""
        body = event.model_dump_json().encode()
        asked = asyncio.wait_for(
            self._status(body, f"{event.id}-{event.phase}"), self._settings.timeout_s
        )
        try:
            status, after_s = asyncio.run(asked)
        except (TimeoutError, asyncio.TimeoutError):
            raise TryAgain(f"no answer within {self._settings.timeout_s:g} s") from None
        if 200 <= status < 300:
            return
        if status in AGAIN or status >= 500:
            raise TryAgain(f"status {status}", after_s)
        hint = "; redirects are not followed" if 300 <= status < 400 else ""
        raise Refused(f"status {status}{hint}")

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    async def _status(self, body: bytes, delivery: str) -> tuple[int, float]:
        """The status of the answer, and the seconds that it asks to wait; raises TryAgain."""
        import httpx

        verify: ssl.SSLContext | bool = self._trust or False  # False: plain HTTP, no certificate
        try:
            headers = self._headers(body, delivery)
            async with (
                # the whole try has its own limit
                httpx.AsyncClient(
                    verify=verify, follow_redirects=False, trust_env=False, timeout=None
                ) as client,
                client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                return answer.status_code, _seconds(answer.headers.get("Retry-After", ""))
        except SinkError as error:
            raise TryAgain(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise TryAgain(f"cannot be reached: {reason_of(error)}") from None

    def _headers(self, body: bytes, delivery: str) -> dict[str, str]:
        timestamp = str(int(time.time()))  # of this try, so that a receiver can refuse old ones
        return {
            "Content-Type": "application/json",
            "User-Agent": f"segmif/{version()}",
            TIMESTAMP: timestamp,
            SIGNATURE: signature(self._secret(), timestamp, body),
            DELIVERY: delivery,
        }

    def _secret(self) -> bytes:
        """The key, which may be another each time; raises SinkError."""
        return _filled(self._settings.secret.get_secret_value()).encode()


def reason_of(error: BaseException) -> str:
    """What the system says of an error; the words of libraries may hold the address."""
    deeper: BaseException | None = error
    for _ in range(8):
        match deeper:
            case None:
                break
            case ssl.SSLError(reason=str(words)) | socket.gaierror(strerror=str(words)):
                return words
            case OSError(errno=int(number)):
                return os.strerror(number)
        deeper = deeper.__cause__ or deeper.__context__
    return type(error).__name__


def trusted(ca_file: object, name: str) -> ssl.SSLContext:
    """Whom to trust; raises SinkError for a file that holds no certificates."""
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        words = f"ca_file {ca_file} cannot be used: {reason_of(error)}"
        raise SinkError(f"{name}: {words}") from None


def _check_httpx() -> None:
    try:
        import httpx  # noqa: F401
    except ModuleNotFoundError:
        raise SinkError(f"a webhook needs the package httpx: {install_command('live')}") from None


def _filled(spec: str) -> str:
    try:
        return filled(spec)
    except SourceError as error:
        raise SinkError(f"webhook: {error}") from None


def _host(host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def _seconds(text: str) -> float:
    return min(float(text), LONGEST_RETRY_AFTER_S) if text.isdecimal() and len(text) < 9 else 0.0
