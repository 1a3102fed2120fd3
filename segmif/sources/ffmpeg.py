"""FFmpeg by PyAV: what it opens, and what it says, without passwords."""

from dataclasses import dataclass, field
from typing import Any

from segmif.install import install_command
from segmif.sources.frame import SourceError


@dataclass(frozen=True)
class Target:
    """What FFmpeg opens, and how."""

    url: str = field(repr=False)  # with its password
    format: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    prompt: bool = False  # its packets are joined here, not by FFmpeg's parser


def imported() -> Any:
    """PyAV; raises SourceError with what to install."""
    try:
        import av
    except ImportError:
        raise SourceError(
            f"videos and streams need the package av: {install_command('live')}"
        ) from None
    return av


def error_words(av: Any, error: Any) -> str:
    """What FFmpeg says of an error, without the address that its text holds."""
    if isinstance(error, av.error.ExitError):
        return "nothing came within the timeout"
    words = str(error.strerror or "unknown error")
    if isinstance(error, av.InvalidDataError):
        return f"{words} (no video, or cut off before its index was written)"
    return words
