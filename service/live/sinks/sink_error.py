"""The error of sinks, in a module that imports nothing."""


class SinkError(Exception):
    """A sink cannot take results; the message says what to do, without a password."""
