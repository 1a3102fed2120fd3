"""Folders of pictures that a later run goes on with."""

from collections.abc import Sequence
from pathlib import Path

from segmif.files import sync_all

from ...live.live_result import LiveResult
from ...live.sinks.image_folder import ImageFolder, name_of
from ...live.sinks.settings import ImagesSettings
from ...pipeline.result_files import FOLDERS, are_whole

TEMPORARY = f".{'?' * 16}-{'?' * 8}.part"  # names of `segmif.files`


class ImageOutput:
    """Writes fused/STAMP.png, mask/STAMP.png and perhaps overlay/STAMP.png."""

    def __init__(self, settings: ImagesSettings) -> None:
        """Raises SinkError for a folder that cannot be made."""
        self.target: Path = settings.path
        self._sink = ImageFolder(settings)
        self._folders = (*FOLDERS, *(["overlay"] if settings.overlay else []))
        self._finished = False

    def usable(self, stamps: Sequence[int]) -> int:
        """As Output says: up to the first whose files are not all there."""
        for at, stamp_ns in enumerate(stamps):
            if not are_whole(self.target, name_of(stamp_ns), self._folders):
                return at
        return len(stamps)

    def go_on_behind(self, stamps: Sequence[int]) -> None:
        """Remove temporary files of a killed run; what is computed again replaces its file."""
        remove_temporaries(self.target, self._folders)

    def write(self, result: LiveResult) -> None:
        """As Output says."""
        self._sink.write(result)

    def finish(self) -> None:
        """As Output says."""
        sync_all()
        self._finished = True

    def publish(self) -> bool:
        """Each file has its name."""
        return True

    def leave(self) -> None:
        """Have the disk hold what a later run goes on with."""
        if not self._finished:
            sync_all()


def remove_temporaries(out: Path, folders: Sequence[str]) -> None:
    """Remove what a killed run has left half written in folders of `out`."""
    for folder in folders:
        for path in (out / folder).glob(TEMPORARY):
            path.unlink(missing_ok=True)
