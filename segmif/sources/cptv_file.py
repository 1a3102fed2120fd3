"""CPTV recordings of a thermal camera, by the package cptv."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO

from segmif.files import check_regular
from segmif.imaging.image_header import MAX_PIXELS
from segmif.install import install_command
from segmif.sources.base import SourceBase
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.options import SourceOptions
from segmif.sources.stamps import RisingStamps

SHUTTER = timedelta(seconds=1)  # for which the shutter of a Lepton is closed
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class CptvSource(SourceBase):
    """The counts of a CPTV file with their times; infrared alone."""

    def __init__(self, path: Path, address: str, part: Part, options: SourceOptions) -> None:
        super().__init__(address)
        if part == "visible":
            raise SourceError(f"{address}: CPTV holds infrared alone, visible was asked for")
        self._path, self._options = path, options

    def frames(self) -> Iterator[SourceFrame]:
        """Give the frames of the file up to where it is cut off; raises SourceError."""
        check_regular(self._path)
        with self._path.open("rb") as file:
            reader = self._reader(file)
            began = reader.timestamp - EPOCH
            stamps = RisingStamps(self._options.period_ns)
            first: timedelta | None = None
            for number, frame in enumerate(self._raw_frames(reader)):
                if self.closed.is_set():
                    return
                first = frame.time_on if number == 0 else first
                known = frame.time_on is not None and first is not None
                time_ns = _nanoseconds(began + frame.time_on - first) if known else None
                stamp_ns = stamps.next(time_ns)
                assert stamp_ns is not None  # none is late without a limit
                yield SourceFrame(
                    frame.pix, stamp_ns, "source", str(number), shutter=shutter_closed(frame)
                )

    def _reader(self, file: BinaryIO) -> Any:
        try:
            from cptv import CPTVReader
        except ImportError:
            raise SourceError(
                f"CPTV recordings need the package cptv: {install_command('live')}"
            ) from None
        try:
            reader = CPTVReader(file)
        except Exception as error:  # the package lets through whatever damage brings about
            raise SourceError(f"{self.address} is no CPTV recording: {error!r:.200}") from None
        if not 0 < reader.x_resolution * reader.y_resolution <= MAX_PIXELS:
            raise SourceError(
                f"{self.address}: its header states {reader.x_resolution}x{reader.y_resolution}"
            )
        return reader

    def _raw_frames(self, reader: Any) -> Iterator[Any]:
        given, frames = 0, iter(reader)
        while True:
            try:
                frame = next(frames, None)
            except Exception as error:
                self.damaged += 1
                if not given:
                    raise SourceError(
                        f"{self.address}: its first frame is damaged: {error!r:.200}"
                    ) from None
                return  # cut off
            if frame is None:
                self.check_given(given)
                return
            if not frame.background_frame:  # of the past, to compare with
                given += 1
                yield frame


def shutter_closed(frame: Any) -> bool:
    """
    Whether a frame was taken while the shutter was closed.

    Of the last correction some cameras write the time since it, others the time of it since start.
    """
    if not frame.last_ffc_time or frame.time_on is None:
        return False  # not stated
    return bool(
        frame.last_ffc_time < SHUTTER
        or timedelta(0) <= frame.time_on - frame.last_ffc_time < SHUTTER
    )


def _nanoseconds(since: timedelta) -> int:
    return since // timedelta(microseconds=1) * 1000
