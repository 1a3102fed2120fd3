"""Addresses of cameras and servers as they may be shown: without their passwords."""

import re

HIDDEN = "***"
_USER = r"(?P<user>[^:@/?#\s]*)"
# `user:password@`; a password may hold @, /, ? and # although it should be percent-encoded.
_PASSWORD = re.compile(rf"(?<=://){_USER}:(?!\d+(?:[/?#\s]|$)(?!\S*@))\S*@")
_SECRET_WORDS = "token|pass|pwd|secret|auth|signature|sig|credential|key|user-pw"
# `?token=...`, `&key=...` of an address, and `password=...` of a GStreamer pipeline.
_PARAMETER = re.compile(
    rf"(?P<name>[?&;#\s][^=&;#\s]*(?:{_SECRET_WORDS})[^=&;#\s]*=)[^&;#\s]*", re.IGNORECASE
)


def masked(text: str) -> str:
    """
    An address, or a text with addresses, with `***` for passwords and secret parameters.

    A colon and a later @ count as a password, even if they stand in a path: rather too much.
    """
    shown = _PASSWORD.sub(lambda found: f"{found['user']}:{HIDDEN}@", text)
    return _PARAMETER.sub(lambda found: f"{found['name']}{HIDDEN}", shown)
