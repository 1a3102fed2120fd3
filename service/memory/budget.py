"""How much memory clients hold, all kinds together: bodies, messages and answers not yet taken."""

from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from ..errors import Busy

SHARE_PREFIX = 64  # [bits] of an IPv6 address: one customer has as many addresses as it likes there


def client_key(address: str) -> str:
    """The client that an address belongs to: itself, or the /64 network of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> (128 - SHARE_PREFIX) << (128 - SHARE_PREFIX)))


class SlowReader(Protocol):
    """A connection whose client does not read its answer as fast as it is written."""

    client: str | None  # None: a trusted proxy, which has no share of its own

    def unread_bytes(self) -> int:
        """Bytes that wait for the client."""

    def cut_answer(self) -> None:
        """Close at once, without sending the rest."""


class MemoryBudget:
    """
    The bytes held for clients at a time: bodies, WebSocket messages, unread answers.

    Lives on the event loop: nothing here is locked.
    """

    def __init__(self) -> None:
        self.peak = 0  # the most that was held since it was last reset
        self._taken = 0
        self._by_client: Counter[str] = Counter()
        self._slow: dict[SlowReader, None] = {}  # the longest waiting first

    @property
    def bytes(self) -> int:
        """All bytes held."""
        return self._taken + sum(reader.unread_bytes() for reader in self._slow)

    def of(self, client: str | None) -> int:
        """The bytes held for one client."""
        unread = (r.unread_bytes() for r in self._slow if r.client == client)
        return self._by_client[client] + sum(unread) if client else 0

    def take(self, client: str | None, size: int, most: int, most_of_one: int) -> None:
        """
        Hold `size` more bytes; raises Busy if they are too many together, or too many of this one.

        They are held even then: `give` them back.
        """
        self._taken += size
        self.peak = max(self.peak, self._taken)
        if client:
            self._by_client[client] += size
        if self.bytes > most:
            raise Busy(f"bodies of {self.bytes:,} bytes are held already; try again", retry_s=1)
        if self.of(client) > most_of_one:
            raise Busy(
                f"{self.of(client):,} bytes of this client are held already, {most_of_one:,} are "
                "its share; read the answers, or send less at a time",
                retry_s=1,
            )

    def give(self, client: str | None, size: int) -> None:
        """Hold `size` bytes less."""
        self._taken -= size
        if client:
            self._by_client[client] -= size
            if not self._by_client[client]:
                del self._by_client[client]

    def slow(self, reader: SlowReader, most: int, most_of_one: int) -> None:
        """Count what a client does not read; cuts the longest waiting if that is too much."""
        self._slow[reader] = None
        self.peak = max(self.peak, self.bytes)
        while self.of(reader.client) > most_of_one:
            own = next((r for r in self._slow if r.client == reader.client), None)
            if own is None:
                return
            self._cut(own)
        while self._slow and self.bytes > most:
            self._cut(max(self._slow, key=lambda each: self.of(each.client)))

    def fast(self, reader: SlowReader) -> None:
        """Forget a reader that has caught up, or left."""
        self._slow.pop(reader, None)

    def _cut(self, reader: SlowReader) -> None:
        del self._slow[reader]
        reader.cut_answer()
