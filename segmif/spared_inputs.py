"""Refuses outputs that would destroy what they are made from."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from segmif.files import shown

REMEDY = "name another output"
Identity = tuple[int, int]  # device and inode
NONE = -1, -1


def check_spared(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """
    Raise ValueError if writing `outputs` would change `inputs`; both are files or folders.

    No output may be an input or lie directly in an input folder, and no input may lie directly in
    an output folder. Hard and symbolic links are followed. What does not exist is no input.
    """
    written = {_resolved(out): out for out in outputs}
    known = {_identity(out): out for out in written.values() if out.exists()}
    for source in inputs:
        if not source.exists():
            continue
        for place, found in _members(source, identified=bool(known)):
            out = written.get(place) or written.get(place.parent) or known.get(found)
            if out:
                raise ValueError(f"{shown(out)} would replace the input {shown(source)}: {REMEDY}")
        whole = _resolved(source)
        for place, out in written.items():
            if place.parent == whole:
                raise ValueError(
                    f"{shown(out)} would lie among the frames of the input {shown(source)}: "
                    f"{REMEDY}"
                )


def check_apart(outputs: Iterable[Path]) -> None:
    """Raise ValueError if two outputs are one file, whatever the names: the last would be all."""
    known: dict[str, Path] = {}
    for out in outputs:
        first = known.setdefault(os.path.realpath(out), out)
        if first is not out:
            raise ValueError(f"{shown(first)} and {shown(out)} are one file: {REMEDY}")


def _members(source: Path, *, identified: bool) -> Iterator[tuple[Path, Identity]]:
    """A file or folder, and the files in it: where each lies, and which it is if `identified`."""
    whole = _resolved(source)
    yield whole, _identity(source)
    if not source.is_dir():
        return
    for entry in os.scandir(source):
        if _is_file(entry):
            # A folder of many frames: only links need to be resolved.
            place = _resolved(Path(entry.path)) if entry.is_symlink() else whole / entry.name
            yield place, _identity(Path(entry.path)) if identified else NONE


def _resolved(path: Path) -> Path:
    """Where a path leads; `Path.resolve` raises RuntimeError for a link to itself."""
    return Path(os.path.realpath(path))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_dev, found.st_ino
