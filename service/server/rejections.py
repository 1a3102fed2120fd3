"""
What is refused by the head of a request alone, before anything of its body is read.

* ServiceError
  - ForeignHost        403
  - ForeignOrigin      403
  - TooManyGuesses     429  with Retry-After
  - CodedBody          415
  - UpgradeNeeded      426
"""

from types import MappingProxyType

from ..errors import ServiceError


class ForeignHost(ServiceError):
    """The request is for another host: its name was perhaps pointed at this machine by a page."""

    status = 403
    kind = "foreign_host"
    example = (
        "the request is for the host 'evil.example', which is none of this service's; ask for "
        "localhost, or allow the name with SEGMIF_ALLOWED_HOSTS"
    )


class ForeignOrigin(ServiceError):
    """A page of another origin asks, which the operator has not allowed."""

    status = 403
    kind = "foreign_origin"
    example = (
        "a page of the origin 'https://evil.example' asks, this service is 'localhost:8000'; "
        "allow it with SEGMIF_ALLOWED_ORIGINS"
    )


class CodedBody(ServiceError):
    """The body has a Content-Encoding, which is not undone here."""

    status = 415
    kind = "coded_body"
    fixed_headers = MappingProxyType({"Accept-Encoding": "identity"})  # RFC 9110, section 15.5.16
    example = (
        "the body is coded as 'gzip'; send it as it is, without Content-Encoding: the frames in "
        "it are compressed already"
    )


class UpgradeNeeded(ServiceError):
    """The path speaks WebSocket, and the request does not ask for it."""

    status = 426
    kind = "upgrade_needed"
    fixed_headers = MappingProxyType(
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    )
    example = (
        "this path speaks WebSocket (RFC 6455, version 13), but no valid 'Upgrade: websocket' came "
        "with the request; a proxy on the way may have dropped it: have it pass on Upgrade and "
        "Connection"
    )


class TooManyGuesses(ServiceError):
    """Wrong tokens come from this address faster than they are answered."""

    status = 429
    kind = "too_many_guesses"
    example = "16 wrong tokens of this address wait for their answer; try again"


# that may be met at every path
OF_ALL = (ForeignHost, ForeignOrigin, CodedBody)
