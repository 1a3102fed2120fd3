"""The connections of a server: how many a client may have, and a reserve that answers probes."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from ..memory.budget import MemoryBudget, client_key
from ..settings.limits import Limits
from .lingering_close import LingeringTransport, LingerLimits

READ_BYTES = 256 * 2**10  # at a time
BODY_BYTES = 2 * 2**20  # the same within a body of stated length, which has no heads to parse
RESERVE = 16  # connections beyond the limit, for probes alone


def not_counted(kind: str) -> None:
    """Count no refusal: there is nothing yet to count in."""


def nobody(address: str) -> bool:
    """Trust no address as that of a proxy."""
    return False


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be, and how much of memory and time each."""

    most: int
    of_one: int  # of one client's address
    buffered_bytes: int
    buffered_of_one: int
    answer_s: float  # until a client has read its answer
    handshake_s: float  # of TLS
    linger: LingerLimits
    http: Limits  # of a request, whatever it asks for
    websocket: Limits
    is_proxy: Callable[[str], bool] = nobody  # whose connections are many clients'
    refused: Callable[[str], None] = not_counted  # gets the kind of each refusal
    buffered: MemoryBudget = field(default_factory=MemoryBudget)


class Inner(Protocol):
    """The protocol within a connection: HTTP or WebSocket."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""

    def data_received(self, data: Any) -> None:
        """Parse what came."""

    def eof_received(self) -> None:
        """Note that nothing more comes."""

    def pause_writing(self) -> None:
        """Write no more for now."""

    def resume_writing(self) -> None:
        """Write again."""


class Connections:
    """Counts the open connections by client, and knows which of them are idle."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open: set[Connection] = set()
        self._by_client: Counter[str] = Counter()
        self._idle: dict[Connection, None] = {}  # the longest idle first
        self._reserved: OrderedDict[Connection, None] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: "Connection") -> None:
        """Take a connection, as one of the reserve if there are too many of its client or all."""
        self._open.add(connection)
        if client := connection.client:
            self._by_client[client] += 1
        connection.reserved = self._over_share(client) or self._over_all()
        if not connection.reserved:
            self.idle(connection)
            return
        self._reserved[connection] = None
        if len(self._reserved) > RESERVE:
            next(iter(self._reserved)).leave()

    def admit(self, connection: "Connection") -> bool:
        """
        Whether a connection may ask for more than a probe.

        For one of the reserve an idle connection is closed, of its client or of the greediest.
        """
        if not connection.reserved:
            return True
        client = connection.client
        idle = self._longest_idle(client) if self._over_share(client) else self._longest_idle(None)
        if idle is None:
            return False
        idle.leave()
        connection.reserved = False
        del self._reserved[connection]
        return True

    def remove(self, connection: "Connection") -> None:
        """Forget a connection that is closed."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._idle.pop(connection, None)
        self._reserved.pop(connection, None)
        if client := connection.client:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def idle(self, connection: "Connection") -> None:
        """Note that a connection waits for its client, which has asked for nothing."""
        if connection in self._open and not connection.reserved:
            self._idle[connection] = None

    def busy(self, connection: "Connection") -> None:
        """Note that a connection is in use, or about to be."""
        self._idle.pop(connection, None)

    def _over_share(self, client: str | None) -> bool:
        return client is not None and self._by_client[client] > self.limits.of_one

    def _over_all(self) -> bool:
        return len(self._open) - len(self._reserved) > self.limits.most

    def _longest_idle(self, client: str | None) -> "Connection | None":
        """The longest idle connection of a client, None: of the client with the most."""
        mine = (each for each in self._idle if client in (None, each.client))
        return max(mine, key=lambda each: self._by_client[each.client or ""], default=None)


class Connection(asyncio.BufferedProtocol):
    """
    One connection, around uvicorn's protocols: counted, and bounded in what its client leaves open.

    The event loop reads into memory that is there already. A loop that must allocate drops the
    connection if there is no memory; here the protocol fails instead, and answers. The connections
    of one event loop share that buffer: a loop reads and passes on in one step.
    """

    http: ClassVar[Callable[..., Inner]]
    all: ClassVar[Connections]
    memory: ClassVar[memoryview]

    def __init__(self, **given: Any) -> None:
        self.client: str | None = None  # None: a trusted proxy, or a socket without an address
        self.reserved = False  # for probes alone
        self.unread = False  # whether a body is not yet whole
        self.to_come = 0  # bytes of a body of stated length that have not come yet
        self._inner: Inner = self.http(self, **given)
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        self.enter(transport)
        self.begin(transport)

    def enter(self, transport: asyncio.Transport) -> None:
        """Count a connection, by the address of its client."""
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and not self.all.limits.is_proxy(str(peer[0])):
            self.client = client_key(str(peer[0]))
        self._socket = transport
        self.all.add(self)

    def begin(self, transport: asyncio.Transport) -> None:
        """Begin with HTTP."""
        self._socket = transport
        self._transport = LingeringTransport(transport, self.all.limits.linger, self)
        self._inner.connection_made(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.all.remove(self)
        self._caught_up()
        self._transport.forget()
        self._inner.connection_lost(exc)

    def eof_received(self) -> None:
        """Pass on that the client has nothing more to say."""
        if not self._transport.lingers:
            self._inner.eof_received()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer to read into; larger for a body, whose every piece costs a step of its own."""
        return self.memory[: max(READ_BYTES, min(self.to_come, BODY_BYTES))]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        if self._transport.lingers:
            self._transport.drop(nbytes)
        else:
            self.pass_on(self.memory[:nbytes])

    def pass_on(self, data: memoryview | bytes) -> None:
        """Pass on to the current protocol."""
        self._inner.data_received(data)

    def hand_over(self, protocol: Inner) -> None:
        """Give what comes from now on to another protocol."""
        self._inner = protocol

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read its answer, which fills our memory."""
        self._inner.pause_writing()
        limits = self.all.limits
        loop = asyncio.get_running_loop()
        self._taking = loop.call_later(limits.answer_s, self.cut_answer)
        # The write that fills the buffer is still under way: it must not find a closed socket.
        loop.call_soon(self._count_unread)

    def resume_writing(self) -> None:
        """Stop the clock."""
        self._caught_up()
        self._inner.resume_writing()

    def unread_bytes(self) -> int:
        """Bytes of answers that wait for the client."""
        return self._socket.get_write_buffer_size()

    def leave(self) -> None:
        """Close for another connection's sake: this one has no request."""
        self.all.remove(self)
        self._socket.close()

    def cut_answer(self) -> None:
        """Close at once, because the client does not read its answer."""
        self.all.limits.refused("answer_not_taken")
        self.all.remove(self)
        self._socket.abort()

    def _count_unread(self) -> None:
        limits = self.all.limits
        if self._taking:
            limits.buffered.slow(self, limits.buffered_bytes, limits.buffered_of_one)

    def _caught_up(self) -> None:
        self.all.limits.buffered.fast(self)
        if self._taking:
            self._taking.cancel()
            self._taking = None
