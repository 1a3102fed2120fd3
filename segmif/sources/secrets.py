"""Passwords that stand in the environment or in a file instead of a source's address."""

import os
import re
from pathlib import Path
from urllib.parse import quote

from segmif.files import read_text
from segmif.sources.frame import SourceError

PLACEHOLDER = re.compile(r"\$\{(?P<file>file:)?(?P<name>[^{}]+)\}")  # ${NAME} or ${file:/path}
SECRET_BYTES = 4096


def filled(spec: str) -> str:
    """
    `spec` with the values of `${NAME}` (environment) and `${file:/path}` (first line) put in.

    Within an address (after `://`) a value is percent-encoded. A value that is a whole address is
    taken as it is. Raises SourceError with the name of what is missing, never with a value.
    """

    def value(place: re.Match[str]) -> str:
        found = _of_file(place["name"]) if place["file"] else _of_environment(place["name"])
        return quote(found, safe="") if "://" in spec[: place.start()] else found

    return PLACEHOLDER.sub(value, spec)


def _of_environment(name: str) -> str:
    if not (found := os.environ.get(name)):
        raise SourceError(f"${{{name}}}: the environment has no {name}: set it")
    return found


def _of_file(name: str) -> str:
    try:
        lines = read_text(Path(name), SECRET_BYTES).splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no text"
        raise SourceError(f"${{file:{name}}} cannot be read: {reason}") from None
    if not lines or not lines[0].strip():
        raise SourceError(f"${{file:{name}}}: its first line is empty, expected the secret")
    return lines[0].strip()
