"""Ctrl-C, SIGTERM and SIGHUP while a program starts."""

import os
import signal
from types import FrameType

_hung_up = False  # SIGHUP came since `note_hang_up`, and nobody asked yet


def end_at_once() -> None:
    """
    Make Ctrl-C and SIGTERM end the process with one line of text, until `end_in_order`.

    KeyboardInterrupt within an import shows as an import failure or is dropped. The default action
    of the system does not reach PID 1 of a container.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in a background job
            signal.signal(number, _end)


def end_in_order() -> None:
    """Make Ctrl-C raise KeyboardInterrupt again, so that cleanup runs."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def note_hang_up() -> None:
    """
    Make SIGHUP wait for `hung_up` in a program that reloads on it, instead of ending the process.

    systemd and operators may ask for a reload before the program is ready.
    """
    signal.signal(signal.SIGHUP, _note)


def hung_up() -> bool:
    """Whether SIGHUP came since `note_hang_up`; the next call gives False."""
    global _hung_up
    came, _hung_up = _hung_up, False
    return came


def _note(number: int, frame: FrameType | None) -> None:
    global _hung_up
    _hung_up = True


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + number)
