"""A folder of frames, complete or still filling."""

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from segmif.files import read_frame, shown
from segmif.folders import list_frames
from segmif.imaging.image_header import ImageError
from segmif.sources.base import POLL_S, SourceBase
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.images import image_pixels
from segmif.sources.options import SourceOptions
from segmif.sources.stamps import LATE_NS, RisingStamps
from segmif.sources.timestamps import stamp_in_name

STILL_S = 1.0  # a file that stays damaged for so long is not being written
LATER_NAMES = 3  # so many bear out one that leaps ahead, however far apart they lie
SETTLED_NS = 2_000_000_000  # some file systems state times of change in whole seconds
NameKey = tuple[tuple[str, int], ...]
log = logging.getLogger(__name__)


class Unfinished(Exception):
    """A file cannot be decoded yet; perhaps it is still being written."""


class FolderSource(SourceBase):
    """
    The frames of a folder by name, numbers in names by their value.

    A frame's time is the number in its name if that is a time since 1970, else what the file
    states, else its number at the rate of the options. Damaged files are counted and passed over.

    In a folder that fills, a name that leaps ahead waits until the next name is near to it,
    `LATER_NAMES` come after it, or the folder ends. Else a few false stamps would make all that
    follow too late. So does the first name, unless its file can have come then, or a count can have
    begun there.
    """

    def __init__(self, folder: Path, address: str, part: Part, options: SourceOptions) -> None:
        super().__init__(address)
        self._folder, self._part, self._options = folder, part, options
        self._stamps = RisingStamps(options.period_ns, LATE_NS)
        self._last: NameKey = ()
        self._seen: set[str] = set()
        self._failed: dict[Path, float] = {}  # when a file was first found damaged
        self._listed_ns = 0  # the folder's time of change when it was listed
        self._newest: tuple[int, int] | None = None  # the last name's time, its file's change [ns]
        self._step_ns = 0  # from the name before to that one
        self._waiting = 0  # names, from one that leapt ahead on
        self._told = False  # that frames come late, since the last one that did not

    def frames(self) -> Iterator[SourceFrame]:
        """Give the frames, until none came for the patience of the options; raises SourceError."""
        given, until = 0, time.monotonic() + self._options.patience_s
        while not self.closed.is_set():
            before = len(self._seen), self._waiting
            for frame in self._new_frames():
                given += 1
                yield frame
                if self.closed.is_set():
                    return
            if (len(self._seen), self._waiting) != before:
                until = time.monotonic() + self._options.patience_s
            elif time.monotonic() >= until and not self._failed:
                break
            self.closed.wait(POLL_S if self._options.patience_s or self._failed else 0)
        if self._waiting and not self.closed.is_set():
            self._listed_ns = 0
            for frame in self._new_frames(ends=True):
                given += 1
                yield frame
        self.check_given(given)

    def _new_frames(self, *, ends: bool = False) -> Iterator[SourceFrame]:
        """
        The frames of files not seen before, up to the first that is still being written.

        Those from a name on that leaps ahead wait, unless the folder `ends`.
        """
        files = self._files()
        fresh = sorted((name for name in files if name not in self._seen), key=by_number)
        for number, name in enumerate(fresh):
            self._waiting = 0
            later = [files[each] for each in fresh[number + 1 : number + 1 + LATER_NAMES]]
            if not ends and self._leaps(files[name]) and not self._borne_out(files[name], later):
                self._waiting = len(fresh) - number
                return
            try:
                frame = self._frame(files[name], name)
            except Unfinished:
                return
            self._seen.add(name)
            if frame:
                yield frame

    def _files(self) -> Mapping[str, Path]:
        """The files by name; none if nothing can have changed, since a listing takes its time."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            settled = time.time_ns() - changed_ns > SETTLED_NS
            if changed_ns == self._listed_ns and settled and not self._failed:
                return {}
            files = list_frames(self._folder).files
        except OSError as error:
            raise SourceError(f"{self.address}: {error.strerror or error}") from None
        self._listed_ns = changed_ns
        return files

    def _frame(self, path: Path, name: str) -> SourceFrame | None:
        """The frame of a file; None if it is damaged or came too late. Raises Unfinished."""
        try:
            pixels, taken_ns = image_pixels(read_frame(path), self._part)
        except (ImageError, OSError) as error:
            now = time.monotonic()
            if now - self._failed.setdefault(path, now) < STILL_S:
                raise Unfinished from None
            del self._failed[path]
            self.damaged += 1
            log.warning("%s: %s", shown(path), error)
            return None
        self._failed.pop(path, None)
        key = by_number(name)
        stamp_ns = None if key < self._last else self._stamps.next(self._time(path, taken_ns))
        if stamp_ns is None:
            self.dropped += 1
            if not self._told:
                log.warning("%s came late: frames are dropped that lie before others", shown(path))
            self._told = True
            return None
        self._last, self._told = key, False
        if (named_ns := self._time(path, None)) is not None:
            self._step_ns = named_ns - self._newest[0] if self._newest else 0
            self._newest = named_ns, _changed_ns(path)
        return SourceFrame(pixels, stamp_ns, "source", path.name)

    def _leaps(self, path: Path) -> bool:
        """
        Whether a name's time is further ahead of the last one than their files' changes are.

        Nor does a name fit that comes last but whose time does not: 9999999999 is beyond any clock.
        """
        if not self._options.patience_s:
            return False
        named_ns = self._time(path, None)
        if not self._last:
            stamp_ns = stamp_in_name(path)
            ahead_ns = named_ns if stamp_ns is None else stamp_ns - _changed_ns(path)
            return ahead_ns is None or ahead_ns > LATE_NS
        if self._newest is None:
            return False
        if named_ns is None or named_ns < self._newest[0]:
            return True
        # Names may count microseconds, so that each is far from the one before.
        near_ns = max(LATE_NS, 2 * self._step_ns)
        return _ahead_ns(self._newest, (named_ns, _changed_ns(path))) > near_ns

    def _borne_out(self, path: Path, later: Sequence[Path]) -> bool:
        """Whether the name after one that leaps ahead is near to it, or enough come after it."""
        if not later or len(later) == LATER_NAMES:
            return bool(later)
        named_ns, next_ns = self._time(path, None), self._time(later[0], None)
        if named_ns is None or next_ns is None or next_ns < named_ns:
            return False
        both = (named_ns, _changed_ns(path)), (next_ns, _changed_ns(later[0]))
        return _ahead_ns(*both) <= LATE_NS

    def _time(self, path: Path, taken_ns: int | None) -> int | None:
        named_ns = stamp_in_name(path)
        if named_ns is not None:
            return named_ns
        if taken_ns is not None:
            return taken_ns
        numbers = re.findall(r"\d+", path.stem)
        return int(numbers[-1]) * self._options.period_ns if numbers else None


def _ahead_ns(first: tuple[int, int], second: tuple[int, int]) -> int:
    """How much further apart two names' times are than their files' changes, each a pair [ns]."""
    return second[0] - first[0] - max(0, second[1] - first[1])


def _changed_ns(path: Path) -> int:
    """When a file changed last [ns]; 0 if it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def by_number(name: str) -> NameKey:
    """A key that sorts names by their text, and numbers in them by value."""
    parts = re.findall(r"(\D*)(\d*)", name)
    return tuple((text, int(digits) if digits else -1) for text, digits in parts)
