"""Ctrl-C and SIGTERM while a program only imports, or opens what it will work with."""

import os
import signal
from types import FrameType


def end_at_once() -> None:
    """
    Have Ctrl-C and SIGTERM end the process in one line, until `end_in_order`.

    An exception could come up in any import, which shows it as its own failure or drops it. The
    default of the system would do, but PID 1 of a container does not hear it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of a job in the background
            signal.signal(number, _end)


def end_in_order() -> None:
    """Have Ctrl-C raise KeyboardInterrupt again, so that what is half done is cleared away."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + number)
