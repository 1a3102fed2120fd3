"""Writes a line of JSON for the start and the end of each event."""

import sys

from segmif.files import shown

from ...schemas.events import Event
from ..sinks.jsonl import LineFiles, encoded
from ..sinks.sink_error import SinkError
from .delivery import TryAgain
from .notify_settings import LinesSettings

SUFFIX = ".events.jsonl"  # in a folder that may hold other recordings of the rig


class EventLines:
    """Writes events to files, or to the standard output."""

    def __init__(self, settings: LinesSettings) -> None:
        """Raises SinkError for a folder that cannot be used."""
        self.name = f"lines {shown(settings.path)}"
        self._files = None if str(settings.path) == "-" else LineFiles(settings, SUFFIX)

    def send(self, event: Event) -> None:
        """As `Notifier.send`."""
        value = event.model_dump(mode="json")
        try:
            if self._files:
                self._files.add(event.rig, event.stamp_ns, value)
            else:
                sys.stdout.buffer.write(encoded(value))
                sys.stdout.buffer.flush()
        except (SinkError, OSError) as error:
            raise TryAgain(getattr(error, "strerror", None) or str(error)) from None

    def close(self) -> None:
        """Finish the file."""
        if self._files:
            self._files.close()
