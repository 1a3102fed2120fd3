"""GStreamer pipelines, if its bindings for Python are installed."""

import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from segmif.sources.base import SourceBase, ThreadedReader
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.options import SourceOptions

FORMATS = {"visible": "RGB", "infrared": "(string){GRAY16_LE,GRAY8}"}
POLL_NS = 100_000_000


class GStreamerSource(SourceBase):
    """The frames of a pipeline; the end of `gst:PIPELINE` is linked to a sink of ours."""

    live = True

    def __init__(self, pipeline: str, address: str, part: Part, options: SourceOptions) -> None:
        super().__init__(address)
        self._pipeline, self._part, self._options = pipeline, part, options

    def frames(self) -> Iterator[SourceFrame]:
        """Run the pipeline and give its newest frames; raises SourceError."""
        yield from ThreadedReader(self._samples, self).items()

    def _samples(self) -> Generator[SourceFrame]:
        Gst = self._imported()
        caps = f"video/x-raw,format={FORMATS[self._part]}"
        last = f'appsink name=frames max-buffers=1 drop=true caps="{caps}"'
        try:
            pipeline = Gst.parse_launch(f"{self._pipeline} ! {last}")
        except Exception as error:  # GLib.Error
            raise SourceError(f"{self.address} is no pipeline: {_words(error)}") from None
        try:
            pipeline.set_state(Gst.State.PLAYING)
            yield from self._pulled(Gst, pipeline)
        finally:
            pipeline.set_state(Gst.State.NULL)

    def _pulled(self, Gst: Any, pipeline: Any) -> Iterator[SourceFrame]:
        sink, number = pipeline.get_by_name("frames"), 0
        until = time.monotonic() + self._options.timeout_s
        while not self.closed.is_set():
            sample = sink.emit("try-pull-sample", POLL_NS)
            if sample is not None:
                yield self._frame(Gst, sample, number)
                number, until = number + 1, time.monotonic() + self._options.timeout_s
            elif sink.get_property("eos"):
                return
            elif time.monotonic() > until or self._failed(Gst, pipeline):
                raise SourceError(
                    f"{self.address}: no frame came within {self._options.timeout_s:g} s, or an "
                    "element failed: try the pipeline with gst-launch-1.0"
                )

    def _failed(self, Gst: Any, pipeline: Any) -> bool:
        return pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR) is not None

    def _frame(self, Gst: Any, sample: Any, number: int) -> SourceFrame:
        caps, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
        width, height = caps.get_value("width"), caps.get_value("height")
        deep = caps.get_value("format") == "GRAY16_LE"
        channels = 3 if self._part == "visible" else 1
        row = width * channels * (2 if deep else 1)
        data = buffer.extract_dup(0, buffer.get_size())
        # GStreamer pads rows to four bytes.
        rows = np.frombuffer(data, np.uint8).reshape(height, -1)[:, :row]
        pixels = np.ascontiguousarray(rows).view("<u2" if deep else "u1")
        shape = (height, width, 3) if channels == 3 else (height, width)
        return SourceFrame(pixels.reshape(shape), time.time_ns(), "arrival", str(number))

    def _imported(self) -> Any:
        try:
            import gi

            gi.require_version("Gst", "1.0")
            gi.require_version("GstApp", "1.0")
            from gi.repository import Gst, GstApp  # noqa: F401  appsink's methods
        except (ImportError, ValueError):
            raise SourceError(
                f"{self.address}: GStreamer's bindings are missing: install python3-gi and "
                "gir1.2-gst-plugins-base-1.0, and make them visible to this Python"
            ) from None
        Gst.init(None)
        return Gst


def _words(error: Exception) -> str:
    """What GStreamer says, unless it may repeat the value of a property, such as a password."""
    message = str(getattr(error, "message", ""))
    return message if message.startswith("no element") else "its syntax, or a property, is wrong"
