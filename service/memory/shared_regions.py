"""Files of shared memory that the service makes, and reads and writes without mapping them."""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from re import compile as pattern
from secrets import token_hex
from time import monotonic

from ..errors import BadWire, Busy, NoSharedMemory, UnknownRegion
from ..settings.limits import Limits, share_of
from ..settings.settings import SHARED_MEMORY_FOLDER as MEMORY

PREFIX = "segmif-"
OURS = pattern(PREFIX + "[0-9a-f]{32}")
MAX_REGION_BYTES = 64 * 2**20
IDLE_S = 60.0  # after which a region may be taken from its client for another
FREE_SHARE = 0.1  # of /dev/shm that is left to other programs


@dataclass
class Region:
    """A file that is open here, whatever its client does to its name."""

    file: int  # descriptor
    path: Path
    client: str
    size: int
    used: float  # on the clock of `time.monotonic`


class Regions:
    """
    Regions made by the service, each under a name that nobody can guess.

    A client never names memory of its own: it could name that of another. Its bytes are copied
    before they are parsed, so it cannot change them meanwhile. The copy is a read of the file: a
    mapping whose file the client cuts short would end this process (SIGBUS).
    """

    def __init__(self) -> None:
        self._regions: dict[str, Region] = {}

    def reserved(self) -> int:
        """Bytes that are reserved for all."""
        return sum(region.size for region in self._regions.values())

    def make(self, client: str, size: int, limits: Limits) -> str:
        """
        Make a region for a client, readable by this user only, whose memory is there.

        Raises Busy if there are too many, of all or of this client, or if it would have more than
        its share of the bytes; NoSharedMemory if /dev/shm has no room.
        """
        for id in [i for i, region in self._regions.items() if region.used < monotonic() - IDLE_S]:
            self.drop(id)
        own = [region.size for region in self._regions.values() if region.client == client]
        if len(own) >= limits.regions_of_one:
            raise busy(f"{len(own)} regions of this client are in use, which is its share")
        if len(self._regions) >= limits.regions:
            raise busy(f"{len(self._regions)} regions are in use")
        free = room()
        if size > free:
            raise no_room(size, None, free)
        share = share_of(free + self.reserved())
        if own and sum(own) + size > share:  # a first one may have all: pairs may be that large
            raise busy(f"{sum(own):,} bytes are reserved for this client; {share:,} are its share")
        id = token_hex(16)
        path = MEMORY / f"{PREFIX}{id}"
        # Locked before it has a name: `remove_leftovers` of another service must not find it free.
        file = os.open(MEMORY, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # shows that its service lives
            os.posix_fallocate(file, 0, size)
            # Python follows the link only with a descriptor, which an absolute path ignores.
            os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file, follow_symlinks=True)
        except OSError as error:
            os.close(file)
            raise no_room(size, error) from error
        self._regions[id] = Region(file, path, client, size, monotonic())
        return id

    def read(self, id: str, size: int) -> bytes:
        """Copy the first bytes of a region; raises UnknownRegion or BadWire."""
        region = self._fitting(id, size)
        data = os.pread(region.file, size, 0)
        if len(data) < size:
            raise BadWire(
                f"the region's file ends after {len(data)} bytes of {size}: its client has cut it"
            )
        return data

    def write(self, id: str, parts: tuple[bytes | memoryview, ...]) -> None:
        """Put parts at the start of a region; raises UnknownRegion, BadWire or NoSharedMemory."""
        region = self._fitting(id, sum(map(len, parts)))
        at = 0
        for part in parts:
            left = memoryview(part).cast("B")
            while len(left):
                try:
                    count = os.pwrite(region.file, left, at)
                except OSError as error:
                    raise no_room(region.size, error) from error
                left, at = left[count:], at + count

    def drop(self, id: str) -> None:
        """Free a region; raises UnknownRegion."""
        region = self._region(id)
        del self._regions[id]
        with suppress(OSError):  # the client may have removed the name, or put its own there
            if os.path.samestat(region.path.lstat(), os.fstat(region.file)):
                region.path.unlink()
        os.close(region.file)

    def close(self) -> None:
        """Free all."""
        for id in list(self._regions):
            self.drop(id)

    def _region(self, id: str) -> Region:
        if id not in self._regions:
            raise UnknownRegion
        return self._regions[id]

    def _fitting(self, id: str, size: int) -> Region:
        region = self._region(id)
        region.used = monotonic()
        if size > region.size:
            raise BadWire(f"{size} bytes do not fit the region of {region.size}")
        return region


def room() -> int:
    """Bytes that /dev/shm has for regions, and leaves for others beside them."""
    found = os.statvfs(MEMORY)
    return max(0, int((found.f_bavail - FREE_SHARE * found.f_blocks) * found.f_frsize))


def busy(why: str) -> Busy:
    """The error for a region that would be one too many."""
    return Busy(f"{why}; free one, or try again", retry_s=int(IDLE_S))


def no_room(size: int, error: OSError | None, free: int | None = None) -> NoSharedMemory:
    """The error for a region whose memory is not there."""
    why = f"{free:,} are free for it" if error is None else error.strerror
    return NoSharedMemory(
        f"a region of {size:,} bytes has no room in {MEMORY} ({why}): free regions, or give it "
        "more (docker run --shm-size)"
    )


def remove_leftovers() -> None:
    """Remove the regions of services that were killed: those that nobody holds locked."""
    for path in MEMORY.glob(f"{PREFIX}*") if MEMORY.is_dir() else ():
        if not OURS.fullmatch(path.name):
            continue
        with suppress(OSError):
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(path, flags)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(file)
