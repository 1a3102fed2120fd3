"""The end of a connection: it reads what the client still sends, so that the answer is not lost."""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class LingerLimits:
    """How long a connection that is closed waits for what its client still sends."""

    bytes: int
    idle_s: float  # without a byte
    total_s: float
    answer_s: float  # for the client to read what was written before


class Owner(Protocol):
    """Whose transport it is."""

    unread: bool  # whether the client has said that more of a body will come

    def hand_over(self, protocol: Any) -> None:
        """Give what comes from now on to another protocol."""


class LingeringTransport(asyncio.Transport):
    """
    A transport whose `close` half-closes first, and drops what comes until the client closes.

    A socket closed with bytes unread is reset, and a reset discards the answer on its way
    (RFC 9112, section 9.6).
    """

    def __init__(
        self,
        inner: asyncio.Transport,
        limits: LingerLimits,
        owner: Owner,
    ) -> None:
        super().__init__()
        self.owner = owner
        self._inner = inner
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._closed_at: float | None = None  # None: open
        self._heard_at = 0.0
        self._dropped = 0
        self._check: asyncio.TimerHandle | None = None

    @property
    def lingers(self) -> bool:
        """Whether it was closed and drops what comes."""
        return self._closed_at is not None

    def close(self) -> None:
        """Send what was written, then wait for the client within the limits."""
        if self.lingers or self._inner.is_closing():
            return
        self._closed_at = self._heard_at = self._loop.time()
        half = self._inner.can_write_eof()  # not with TLS
        try:
            if half or self.owner.unread:
                self._inner.resume_reading()
            if half:
                self._inner.write_eof()
            elif not self.owner.unread:
                self._inner.close()  # TLS says so, and waits for the client to say the same
        except OSError:  # the client has reset the connection
            self._inner.abort()
        self._check = self._loop.call_later(self._limits.idle_s, self._see)

    def drop(self, size: int) -> None:
        """Note that `size` bytes came after `close`."""
        self._heard_at = self._loop.time()
        self._dropped += size
        if self._dropped > self._limits.bytes:
            self._inner.abort()

    def forget(self) -> None:
        """Stop the clock: the connection is gone."""
        if self._check:
            self._check.cancel()

    def _see(self) -> None:
        assert self._closed_at is not None
        limits, now = self._limits, self._loop.time()
        if self._inner.get_write_buffer_size():
            over = now - self._closed_at >= limits.answer_s
        else:
            quiet = now - self._heard_at >= limits.idle_s
            over = quiet or now - self._closed_at >= limits.total_s
        if over:
            self._inner.abort()
        else:
            self._check = self._loop.call_later(limits.idle_s / 4, self._see)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, unless it was closed; uvloop's own transport raises RuntimeError then."""
        if not self.is_closing():
            self._inner.write(data)

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.lingers or self._inner.is_closing()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._inner.abort()

    def pause_reading(self) -> None:
        """Take no more from the client."""
        if not self.is_closing():
            self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Take from the client again."""
        if not self.is_closing():
            self._inner.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """A fact about the socket, as of asyncio."""
        return self._inner.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return self._inner.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes from now on to another protocol."""
        self.owner.hand_over(protocol)
