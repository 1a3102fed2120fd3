"""Reads a recording in a thread, some frames ahead of who takes them."""

from collections.abc import Iterator
from queue import Empty, Queue
from threading import Thread

from segmif.sources.frame import Source, SourceError, SourceFrame

AHEAD = 4  # frames
JOIN_S = 0.05  # between two looks at whether the thread has ended


class ReadAhead:
    """The frames of a recording, up to where it ends or breaks off."""

    def __init__(self, source: Source, name: str) -> None:
        self.source = source
        self.broke: SourceError | None = None  # why it gave no more
        self.frames = 0  # that came
        self._error: BaseException | None = None
        self._waiting: Queue[SourceFrame | None] = Queue(AHEAD)
        self._thread = Thread(target=self._read, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[SourceFrame]:
        while (frame := self._waiting.get()) is not None:
            self.frames += 1
            yield frame
        if self._error:
            raise self._error

    def close(self) -> None:
        """End the thread; what it has read is lost."""
        self.source.close()
        while self._thread.is_alive():
            try:
                self._waiting.get_nowait()
            except Empty:
                self._thread.join(JOIN_S)

    def _read(self) -> None:
        try:
            for frame in self.source.frames():
                self._waiting.put(frame)
        except SourceError as error:
            self.broke = error
        except BaseException as error:  # raised again where the frames are taken
            self._error = error
        finally:
            self._waiting.put(None)
