"""Errors of artefacts and devices."""


class ArtefactError(ValueError):
    """The file is no network, or cannot run on the requested device."""


class SizeError(ValueError):
    """The network was not built for frames of this size or for a batch of this size."""


class EnqueueError(RuntimeError):
    """TensorRT or the driver refused the work for one batch; the GPU goes on."""


class DeviceError(OSError):
    """A call of the GPU failed; the contents of its memory may be lost."""
