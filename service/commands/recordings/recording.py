"""Two recordings, what they are to become, and how far an earlier run came with them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from segmif.files import shown

from ...live.sinks.image_folder import name_of
from ..infer_report import note_on_others
from .clock import OffsetMs, Openers
from .kept_lines import KeptLine, kept_lines, read_lines
from .output import Output, part_of
from .run_record import RunRecord, read_record

RIG = "rig"  # the name of the stream, as `segmif run` has it


@dataclass(frozen=True)
class Recording:
    """Two recordings, and what is to become of them."""

    sources: Openers
    output: Output
    report: Path  # a line of JSON for each pair
    record: Path  # of what the run was begun with
    begun_with: RunRecord
    offset_ms: OffsetMs = 0.0  # added to infrared stamps
    tolerance_ns: int | None = None
    refine: bool = False
    registration: bool = False
    objects: bool = False
    overwrite: bool = False
    expected: int | None = None  # pairs, about, for the progress

    def earlier(self) -> RunRecord | None:
        """
        The record of the run that this one goes on with.

        Raises ValueError if that had other inputs or settings, or if the output is of no run.
        """
        if self.overwrite:
            return None
        target, found = self.output.target, read_record(self.record)
        begun = self._holds_results()
        if found is None:
            if target.is_file() or begun:
                raise ValueError(
                    f"{shown(target)} or its report is there, and no record of its run: "
                    "--overwrite starts anew"
                )
        elif not begun:  # nothing would be lost
            return None
        elif changes := "; ".join(self.begun_with.changes(found)):
            raise ValueError(
                f"{shown(target)} was begun with something else: {changes}; call it as it was "
                "begun, or start anew with --overwrite"
            )
        return found

    def usable_lines(self) -> list[KeptLine]:
        """The lines of an earlier run whose results its output still holds."""
        lines = kept_lines(self.report)
        done = [at for at, line in enumerate(lines) if line.done]
        usable = self.output.usable([lines[at].stamps_ns[0] for at in done])
        return lines[: done[usable]] if usable < len(done) else lines

    def is_whole(self, complete: RunRecord) -> bool:
        """
        Whether the output still holds all that a complete run wrote.

        Raises ValueError if its file is another one by now.
        """
        target = self.output.target
        if not self.output.publish():
            return False
        if not target.is_file():
            return len(self.usable_lines()) == len(kept_lines(self.report))
        if complete.size not in (None, size := target.stat().st_size):
            raise ValueError(
                f"{shown(target)} is not what its run wrote: it had {complete.size} bytes, it has "
                f"{size}; put it back, or start anew with --overwrite"
            )
        return True

    def note_on_others(self) -> list[str]:
        """A sentence, if a folder of pictures holds some that are of none of these pairs."""
        stamps = (line.stamps_ns[0] for line in kept_lines(self.report) if line.done)
        target = self.output.target
        return note_on_others(target, set(map(name_of, stamps))) if target.is_dir() else []

    def write_record(self, *, complete: bool = False) -> None:
        """Note what the run was begun with, and whether it has ended."""
        part = part_of(self.output.target)
        size = part.stat().st_size if complete and part.is_file() else None
        replace(self.begun_with, complete=complete, size=size).write(self.record)

    def forget_if_empty(self) -> None:
        """Remove what a run has left beside its output, if it did no pair."""
        if not self._holds_results():
            self.record.unlink(missing_ok=True)
            self.report.unlink(missing_ok=True)

    def _holds_results(self) -> bool:
        return any(line["status"] == "done" for _, line in read_lines(self.report))


@contextmanager
def locked(report: Path) -> Iterator[None]:
    """Keep other processes from a report; raises ValueError if one is at work, or OSError."""
    folder = report.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"the folder {shown(folder)} cannot be made ({error.strerror}): name another output"
        ) from None
    with report.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process writes {shown(report)}") from None
        yield
