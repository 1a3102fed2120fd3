"""
Bounded reading and atomic writing of files.

Only regular files are read, up to a limit. A file is written under a temporary name to the disk,
then renamed.
"""

import codecs
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

TEXT_BYTES = 1 << 20  # settings, cameras and manifests have a hundredth of it
TABLE_BYTES = 64 << 20  # a CSV file of a million stamps
ARTEFACT_BYTES = 4 << 30  # protobuf ends at 2 GiB, so an ONNX is smaller
FRAME_BYTES = 1 << 29  # 50 million pixels of four 16-bit channels have four fifths of it
WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFSOCK: "socket",
}


class FileError(OSError, ValueError):
    """The path is no regular file, or its content is too large or not text."""


def read_bytes(path: Path, limit: int = ARTEFACT_BYTES) -> bytes:
    """
    The content of a regular file of at most `limit` bytes, read once.

    Raises FileError for any other kind of path, and OSError as `open` does.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _check_kind(path, os.fstat(handle))
        pieces, size = [], 0
        while size <= limit and (piece := os.read(handle, min(limit + 1 - size, 1 << 24))):
            pieces.append(piece)
            size += len(piece)
    finally:
        os.close(handle)
    if size > limit:
        raise FileError(
            f"{shown(path)} has more than {limit:,} bytes, at most that many are read: is it the "
            "file that was meant?"
        )
    return b"".join(pieces)


def read_frame(path: Path) -> bytes:
    """The bytes of an image file, as `read_bytes` with a limit of `FRAME_BYTES`."""
    return read_bytes(path, FRAME_BYTES)


def read_text(path: Path, limit: int = TEXT_BYTES, *, names_files: bool = False) -> str:
    """
    The text of a regular file: UTF-8 with or without a byte-order mark, line ends as `\\n`.

    `names_files` keeps bytes that are no UTF-8 as Python keeps them in paths. Raises FileError with
    the line of what is no text, and as `read_bytes`.
    """
    return text_of(read_bytes(path, limit), path, names_files=names_files)


def text_of(data: bytes, path: Path, *, names_files: bool = False) -> str:
    """The text that `data` from `path` holds, as `read_text`."""
    for mark, name in WIDE_MARKS.items():
        if data.startswith(mark):
            raise FileError(f"{shown(path)} is {name} text, expected UTF-8: save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8", "surrogateescape" if names_files else "strict")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(
            f"{shown(path)}, line {line}: the byte 0x{data[error.start]:02x} is no UTF-8, expected "
            "UTF-8 text: save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FileError(
            f"{shown(path)}, line {line}: a zero byte, expected UTF-8 text: is the file "
            "binary, or UTF-16?"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_bytes(path: Path, data: bytes, *, wait_for_disk: bool = True) -> None:
    """
    Write a file atomically: a reader never sees a part of it.

    A power cut leaves no part of it either, unless `wait_for_disk` is False. Callers that write
    many files so do it within `synced_at_end`. Raises OSError.
    """
    with staged(path, data, wait_for_disk=wait_for_disk) as part:
        part.replace(path)
        if wait_for_disk:
            sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 as `write_bytes`; what no UTF-8 can hold, as names of files may, is escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_all(contents: dict[Path, bytes]) -> None:
    """Write files in this order, each as `write_bytes`; none before all of them are on the disk."""
    with ExitStack() as parts:
        ready = {path: parts.enter_context(staged(path, data)) for path, data in contents.items()}
        for path, part in ready.items():
            part.replace(path)
            sync_folder(path.parent)


@contextmanager
def staged(path: Path, data: bytes, *, wait_for_disk: bool = True) -> Iterator[Path]:
    """A temporary file beside `path` that holds `data`, on the disk; removed at the end."""
    check_target(path)
    part = path.with_name(f"{temporary_stem(path)}-{uuid4().hex[:8]}.part")
    try:
        with part.open("xb", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            if wait_for_disk:
                os.fsync(file.fileno())
        yield part
    except OSError as error:
        if error.filename is None or str(error.filename) == str(part):
            error.filename = str(path)  # a full disk gives no name, other errors the temporary one
        raise
    finally:
        with suppress(OSError):
            part.unlink()


def temporary_stem(path: Path) -> str:
    """The start of the names of temporary files of `path`: 17 bytes, whatever its length."""
    return "." + hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]


def check_target(path: Path) -> None:
    """Raise FileError if `path` cannot be replaced by a file: it is a folder or a device."""
    try:
        _check_kind(path, path.stat())
    except FileNotFoundError:
        return


def check_regular(path: Path) -> None:
    """Raise FileError or FileNotFoundError if `path` is no regular file."""
    _check_kind(path, path.stat())


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """A lock on a folder for all who ask for it so; the system releases it with the process."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def in_use(folder: Path) -> bool:
    """Whether a process holds `exclusive` of a folder, or that cannot be found out."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def sync_all() -> None:
    """Have the disks hold all that was written."""
    os.sync()


@contextmanager
def synced_at_end() -> Iterator[None]:
    """Have the disks hold what is written within, also what an error or Ctrl-C leaves of it."""
    try:
        yield
    finally:
        sync_all()


def sync_file(path: Path) -> None:
    """Have the disk hold what was written to a file."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Have the disk hold a folder's names; errors of file systems without it are ignored."""
    with suppress(OSError):
        _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def words_of(error: BaseException) -> str:
    """What an error says; of one of the system the file first, and no number."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{shown(error.filename)}: {error.strerror}"
    return str(error)


def shown(name: object) -> str:
    """A name of a file in characters that can be printed, logged and written as UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_kind(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "thing of its own")
        raise FileError(f"{shown(path)} is a {kind}, expected a regular file")
