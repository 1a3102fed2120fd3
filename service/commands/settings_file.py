"""Changes single settings in a settings file, and leaves all else in it as it is."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import tomli

from segmif.files import read_text, shown, write_text

from ..settings import load_settings

TABLE = re.compile(r"\s*\[")  # the line that begins the first table


def change_settings(file: Path, values: Mapping[str, str | float | None]) -> None:
    """
    Set these settings in a file of TOML, None: remove; comments and tables stay.

    Raises ValueError, and leaves the file as it is, if the settings cannot be, or if a line of the
    file cannot be told from another; OSError.
    """
    before = read_text(file)
    text = changed(before, values)
    wanted = {**tomli.loads(before), **{name: v for name, v in values.items() if v is not None}}
    for name in (name for name, value in values.items() if value is None):
        wanted.pop(name, None)
    try:
        right = tomli.loads(text) == wanted
    except tomli.TOMLDecodeError:
        right = False
    if not right:
        raise ValueError(
            f"{shown(file)} cannot be changed safely: write each setting on one line of its own, "
            "before the first table"
        )
    load_settings(wanted)  # raises ValueError for what no setting can be
    write_text(file, text)


def changed(text: str, values: Mapping[str, str | float | None]) -> str:
    """The text of a settings file with these settings in its first lines."""
    lines = text.splitlines(keepends=True)
    end = next((n for n, line in enumerate(lines) if TABLE.match(line)), len(lines))
    stated = re.compile(rf"\s*({'|'.join(map(re.escape, values))})\s*=")
    kept = [line for line in lines[:end] if not stated.match(line)]
    new = [
        f"{n} = {json.dumps(v, ensure_ascii=False)}\n" for n, v in values.items() if v is not None
    ]
    return "".join([*new, *kept, *lines[end:]])
