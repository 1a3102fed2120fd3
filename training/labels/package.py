"""
What came back from a tool: a file, a folder or a ZIP archive, read within bounds.

An archive is unpacked into a folder of its own that is gone at the end. Nothing in it names a path
that is written to anywhere else.
"""

import json
import lzma
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from segmif.files import read_text, shown
from segmif.folders import listed
from segmif.parsing import parse_json

LABEL_BYTES = 1 << 29  # of one file of labels: ten thousand frames have a tenth of it
ARCHIVE_BYTES = 8 << 30  # of all files of an archive, unpacked
ARCHIVE_FILES = 200_000
RATIO = 1100  # of unpacked to packed bytes; Deflate reaches 1032

Value = TypeVar("Value")

# Of an archive, as its decompressors say it.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """
    The file or folder at `source`; of a ZIP archive, a folder of its content.

    Raises ValueError for a damaged archive, for names that lead out of it, and for more than
    ARCHIVE_FILES or ARCHIVE_BYTES; FileNotFoundError if there is nothing.
    """
    if not source.exists():
        raise FileNotFoundError(f"{shown(source)} does not exist: name what the tool exported")
    if source.is_dir() or source.suffix.lower() != ".zip":
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="segmif-") as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                _unpack(archive, Path(folder))
        except (*DAMAGE, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{shown(source)} cannot be unpacked: {error}") from error
        except ValueError as error:
            raise ValueError(f"{shown(source)}: {error}") from None
        try:
            yield Path(folder)
        except ValueError as error:
            # Nobody knows the temporary folder, which is gone by then.
            raise ValueError(str(error).replace(folder, shown(source))) from error


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    members = [each for each in archive.infolist() if not each.is_dir()]
    if len(members) > ARCHIVE_FILES:
        raise ValueError(f"it holds {len(members):,} files, at most {ARCHIVE_FILES:,} are taken")
    if sum(each.file_size for each in members) > ARCHIVE_BYTES:
        raise ValueError(f"its files have more than {ARCHIVE_BYTES:,} bytes together")
    room = ARCHIVE_BYTES
    for member in members:
        _check(member)
        target = folder / PurePosixPath(member.filename)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, target.open("xb") as file:
            while piece := packed.read(1 << 20):
                room -= len(piece)
                if room < 0:
                    raise ValueError("it unpacks to more bytes than it states")
                file.write(piece)


def _check(member: zipfile.ZipInfo) -> None:
    """ValueError for a member that is no plain file below the folder, or a bomb."""
    name = member.filename
    path = PurePosixPath(name)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in path.parts[0]
    ):
        raise ValueError(f"the name {shown(name)} leads out of the archive")
    if kind not in (0, stat.S_IFREG):
        raise ValueError(f"{shown(name)} is a link or a device, not a file")
    if member.file_size > RATIO * max(member.compress_size, 1):
        raise ValueError(f"{shown(name)} states more bytes than its packed ones can hold")


def files_of(source: Path, suffix: str) -> list[Path]:
    """The file itself, or the files with a suffix in a folder and below it, sorted; no links."""
    if source.is_file():
        return [source]
    found = [
        Path(folder) / name
        for folder, _, names in os.walk(source)
        for name in names
        if name.lower().endswith(suffix) and not name.startswith(".")
    ]
    return sorted(path for path in found if not path.is_symlink())


def one_file(source: Path, suffix: str, what: str) -> Path:
    """The one file with a suffix; ValueError if there is none or several."""
    found = files_of(source, suffix)
    if len(found) != 1:
        there = listed(path.name for path in found) or "no such file"
        raise ValueError(f"{shown(source)} should hold one {what}, there is {there}: name the file")
    return found[0]


def json_as(kind: type[Value], path: Path) -> Value:
    """A JSON file as a dataclass of its form; ValueError says which value has another."""
    return value_as(kind, parse_json(path, LABEL_BYTES), path.name)


def value_as(kind: type[Value], value: Any, where: str) -> Value:
    """A parsed value as a dataclass of its form; ValueError says which part has another."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "its root"
        raise ValueError(f"{shown(where)}: {place}: {fault['msg']}") from None


def label_text(path: Path) -> str:
    """The text of a label file; raises as `read_text`."""
    return read_text(path, LABEL_BYTES)


def as_json(value: Any) -> bytes:
    """A value as the bytes of a JSON file."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8")
