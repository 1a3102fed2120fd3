"""What systemd is to know of the process: that it has started, that it lives, that it stops."""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any

INTERVALS = 3  # of the watchdog's time between two messages, so that one may come late


async def keep_systemd_informed(started: "asyncio.Task[Any]") -> None:
    """Say once `started` is done, and from then on that the event loop runs, until cancelled."""
    await asyncio.wait([started])
    notify("READY=1")
    while interval_s := _watchdog_s():
        await asyncio.sleep(interval_s / INTERVALS)
        notify("WATCHDOG=1")


def notify(state: str) -> None:
    """Send a state to systemd, if it started this process; a message that is lost harms nobody."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract sockets
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door, suppress(OSError):
        door.setblocking(False)
        door.sendto(state.encode(), address)


def _watchdog_s() -> float:
    """After how long a silence systemd ends this process; 0: never."""
    stated, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    ours = process in ("", str(os.getpid()))
    return int(stated) / 1e6 if ours and stated.isdecimal() else 0.0
