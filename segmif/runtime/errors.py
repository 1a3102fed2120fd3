"""What is wrong with an artefact that cannot be run."""


class ArtefactError(ValueError):
    """The file is not a network that this runtime can run, or cannot run on the asked device."""


class SizeError(ValueError):
    """The network runs, but was not built for frames of this size or for so many at once."""


class DeviceError(OSError):
    """A GPU did not do what it was asked for; what it holds may be lost."""
