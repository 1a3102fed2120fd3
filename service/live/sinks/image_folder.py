"""Writes pictures of each result to folders, as `infer` does."""

from pathlib import PurePath

from segmif.files import shown

from ...pipeline.result_files import encode_pictures, make_folders, write_pictures
from ..live_result import LiveResult
from .rotation import FULL
from .settings import ImagesSettings
from .sink import SinkError


class ImageFolder:
    """Writes fused/NAME.png, mask/NAME.png and, if asked for, overlay/NAME.png."""

    dropped = 0

    def __init__(self, settings: ImagesSettings) -> None:
        """Raises SinkError for a folder that cannot be made."""
        self.name = f"images {shown(settings.path)}"
        self._settings = settings
        try:
            make_folders(settings.path, with_overlay=settings.overlay)
        except OSError as error:
            words = f"no pictures to {shown(settings.path)}: {error.strerror}"
            raise SinkError(words) from None

    def write(self, result: LiveResult) -> None:
        """Write the pictures; raises SinkError if the disk is full, and other kinds of OSError."""
        pictures = encode_pictures(
            result.result.prediction, result.taxonomy, with_overlay=self._settings.overlay
        )
        try:
            write_pictures(self._settings.path, self._name(result), pictures)
        except OSError as error:
            if error.errno not in FULL:
                raise
            words = f"the disk of {shown(self._settings.path)} is full: make room"
            raise SinkError(words) from None

    def close(self) -> None:
        """Do nothing: each file is whole."""

    def _name(self, result: LiveResult) -> str:
        """Digits of a stamp sort as time does, and `infer` reads them."""
        name = PurePath(result.frame.name).stem if self._settings.names == "source" else ""
        return name or name_of(result.stamp_ns)


def name_of(stamp_ns: int) -> str:
    """The name of a pair's pictures by its stamp."""
    return f"{stamp_ns:019d}"
