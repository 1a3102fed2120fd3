"""Files of recordings: their names, when a new one begins, and how much of them is kept."""

import errno
import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from io import SEEK_SET
from pathlib import Path

from segmif.clock import earliest_now_s
from segmif.files import shown

from .sink import SinkError

SUFFIXES = (".mp4", ".mkv", ".mcap", ".jsonl")  # of a single file
# Ours by their name: rig, time of the first pair, perhaps a number, what a video shows.
OURS = re.compile(r".+-\d{8}T\d{6}\.\d{3}Z(-\d+)?(\.[a-z]+)?\.(mp4|mkv|mcap|jsonl)", re.DOTALL)
UNSAFE = re.compile(r"[^\w.-]|^\.")  # in the name of a file
LONGEST_NAME = 80  # characters of a rig's name in that of a file
ROOM_BYTES = 16 << 20  # without so much of it no file is begun
ENFORCE_EVERY_S = 10.0
LOOK_EVERY_S = 10.0  # whether the file that is written still has a name
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rotation:
    """When a new file begins, and what all recordings in the folder may hold; None: no bound."""

    file_bytes: float | None = None
    file_s: float | None = None
    kept_bytes: float | None = None
    kept_s: float | None = None


class RecordingFile:
    """
    A new file, locked as long as it is open.

    It writes all or raises OSError. After an error it takes bytes and drops them, so that a muxer
    can be closed.
    """

    def __init__(self, path: Path) -> None:
        """Make the file; raises FileExistsError and other kinds of OSError."""
        self.path, self.name = path, str(path)
        self.error: OSError | None = None
        self._size = 0
        self._looked_s = time.monotonic()
        self._file = path.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._size

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        left = memoryview(data)
        try:
            self._check_name()
            while left and not self.error:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
            raise
        self._size = max(self._size, self.tell())
        return len(data)

    def _check_name(self) -> None:
        """Raise FileNotFoundError if the file was deleted: what is written would be lost."""
        if self.error or time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        if not os.fstat(self._file.fileno()).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "it was deleted while it was written", self.name)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to a place in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Give the place in the file."""
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def close(self) -> None:
        """Close it, once the disk holds it; what failed and holds nothing is removed."""
        if self._file.closed:
            return
        if not self.error:
            os.fsync(self._file.fileno())
        if not self._size:
            self.path.unlink(missing_ok=True)
        self._file.close()


class Recordings:
    """
    The recordings of one sink, in a folder or in one file.

    In a folder they are called RIG-TIME.SUFFIX, by the UTC time of the first pair. Further files
    beside a single FILE.SUFFIX are called FILE-2.SUFFIX and so on.
    """

    def __init__(self, target: Path, rotation: Rotation, suffixes: Sequence[str]) -> None:
        """`target` is one file if it ends as one does; raises SinkError."""
        self._single = target.stem if target.suffix in SUFFIXES else None
        self.folder = target.parent if self._single else target
        self.rotation, self._suffixes = rotation, suffixes
        self._enforced = -float("inf")
        self._undeletable: set[Path] = set()  # of which the log says so
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"no recording to {shown(self.folder)}: {error.strerror}") from None
        if not os.access(self.folder, os.W_OK):
            raise SinkError(f"no recording to {shown(self.folder)}: nothing may be written there")
        if self._single and target.exists():
            raise SinkError(f"{shown(target)} exists, and no recording is replaced: name another")

    def begin(self, rig: str, stamp_ns: int) -> list[RecordingFile]:
        """Make a file for each suffix; raises SinkError if the disk is full, and OSError."""
        self.enforce()
        free = shutil.disk_usage(self.folder).free
        if free < ROOM_BYTES:
            raise SinkError(_no_room(self.folder, f"{free / 1e6:.0f} MB are left"))
        stem = self._single or f"{_file_name(rig)}-{_utc(stamp_ns)}"
        while True:
            with suppress(FileExistsError):  # another process took the name: the next is free
                return _opened(self._free_paths(stem))

    def failed(self, error: Exception) -> Exception:
        """What to raise for an error of a file: an OSError, or a SinkError that says what to do."""
        if not isinstance(error, OSError):
            return SinkError(f"no recording to {shown(self.folder)}: {error}")
        if error.errno in FULL:
            return SinkError(_no_room(self.folder, error.strerror or "full"))
        return error

    def is_due(self, file_bytes: int, seconds: float) -> bool:
        """Whether a file of this size and length is to be followed by another."""
        rotation = self.rotation
        return bool(
            (rotation.file_bytes and file_bytes >= rotation.file_bytes)
            or (rotation.file_s and seconds >= rotation.file_s)
        )

    def enforce(self) -> None:
        """Delete the oldest recordings in the folder until the limits hold; none that is open."""
        rotation = self.rotation
        self._enforced = time.monotonic()
        if not (rotation.kept_bytes or rotation.kept_s):
            return
        held = sorted(_recordings(self.folder))
        total = sum(size for _, size, _ in held)
        now_s = earliest_now_s()
        for changed, size, path in held:
            too_old = rotation.kept_s and now_s - changed > rotation.kept_s
            too_many = rotation.kept_bytes and total > rotation.kept_bytes
            if not (too_old or too_many):
                break
            if self._deleted(path):
                total -= size

    def enforce_now_and_then(self) -> None:
        """As `enforce`, every ten seconds at most."""
        if time.monotonic() - self._enforced > ENFORCE_EVERY_S:
            self.enforce()

    def _deleted(self, path: Path) -> bool:
        """Delete a recording unless it is in use; one that cannot be must not end the others."""
        try:
            return _delete(path)
        except OSError as error:
            if path not in self._undeletable:
                self._undeletable.add(path)
                logger.warning("%s cannot be deleted: %s", shown(path), error.strerror)
            return False

    def _free_paths(self, stem: str) -> list[Path]:
        number = 1
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            paths = [self.folder / (name + suffix) for suffix in self._suffixes]
            if not any(os.path.lexists(path) for path in paths):
                return paths
            number += 1


def _opened(paths: Sequence[Path]) -> list[RecordingFile]:
    """All files or none; raises FileExistsError and other kinds of OSError."""
    files: list[RecordingFile] = []
    try:
        for path in paths:
            files.append(RecordingFile(path))
    except OSError:
        for file in files:
            file.close()
        raise
    return files


def _recordings(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of the last change, size and path of each of our recordings in a folder."""
    for entry in os.scandir(folder):
        if OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):  # another sink has deleted it
                found = entry.stat(follow_symlinks=False)
                yield found.st_mtime, found.st_size, Path(entry.path)


def _delete(path: Path) -> bool:
    """Delete a recording that nobody writes; gives whether it is gone, or raises OSError."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


def _no_room(folder: Path, words: str) -> str:
    return (
        f"the disk of {shown(folder)} is full ({words}): make room; "
        "the recording goes on by itself then"
    )


def _file_name(rig: str) -> str:
    return UNSAFE.sub("_", rig)[:LONGEST_NAME] or "rig"


def _utc(stamp_ns: int) -> str:
    try:
        moment = EPOCH + timedelta(microseconds=stamp_ns // 1000)
    except OverflowError:  # a camera's clock may show anything
        moment = datetime.now(timezone.utc)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"
