"""TLS in front of a connection: counted from its first moment, and bounded in time."""

import asyncio
import ssl
from typing import Any, ClassVar

from segmif.files import check_regular

from ..settings import Settings
from .connections import Connection


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What the settings name for TLS; raises OSError if it cannot be used."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if not (certificate and key):
        return None
    for pem in (certificate, key):
        check_regular(pem)  # a pipe would be waited for
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class TlsConnection(Connection):
    """
    A connection that begins with a handshake.

    A server with a TLS context makes the handshake before its protocol sees the connection. An
    unfinished one would not be counted, and could not be closed to make room. Here the protocol
    sees it first.
    """

    tls: ClassVar[ssl.SSLContext]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._begun = self._lost = False
        self._early = b""  # what came in one piece with the end of the handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and start the clock of its handshake."""
        self.enter(transport)
        loop = asyncio.get_running_loop()
        self._clock = loop.call_later(self.all.limits.handshake_s, self._cut_handshake)
        self._shaking = loop.create_task(self._shake_hands(transport))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._begun:
            super().connection_lost(exc)
        self._lost = True
        self._clock.cancel()
        self.all.remove(self)

    def eof_received(self) -> None:
        """Pass on that the client has nothing more to say."""
        if self._begun:
            super().eof_received()

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read, once the handshake is over."""
        if self._begun:
            super().buffer_updated(nbytes)
        else:
            self._early += self.memory[:nbytes]

    def leave(self) -> None:
        """Make room at once: TLS would wait for the client's word, and be in no account."""
        self.all.remove(self)
        self._socket.abort()

    async def _shake_hands(self, plain: asyncio.Transport) -> None:
        secure = None
        try:
            if not plain.is_closing():
                secure = await asyncio.get_running_loop().start_tls(
                    plain,
                    self,
                    self.tls,
                    server_side=True,
                    ssl_handshake_timeout=2 * self.all.limits.handshake_s,  # ours comes first
                )
        except OSError:
            pass  # what came is no TLS, or the client has gone
        self._clock.cancel()
        if secure is None or self._lost:
            plain.abort()
            self.all.remove(self)
            return
        self._begun = True
        self.begin(secure)
        if self._early:
            early, self._early = self._early, b""
            self.pass_on(early)

    def _cut_handshake(self) -> None:
        self.all.limits.refused("too_slow")
        self.leave()
