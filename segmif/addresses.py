"""Addresses of cameras and streams without their passwords."""

import re

# An address within a text ends at a blank or a quotation mark, which a password before `@` may hold
# as well. As a path it has one slash.
ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*:/{1,2})"
    r"(?P<rest>(?:[^:/?#@\s'\"]*:(?!\d*(?:[/?#\s'\"<>),]|$))[^@\n]*@)?[^\s'\"<>]*)"
)
AUTHORITY = re.compile(r"[^/?#]*")
HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:@]*)(:\d*)?")
SECRET_PARAMETER = re.compile(
    r"([?&;#][^=&;#]*(?:pass|pwd|token|secret|key|auth|sig|credential)[^=&;#]*=)[^&;#]*",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """A text, such as an address, with `***` for each password and secret parameter in it."""
    return ADDRESS.sub(lambda found: found["scheme"] + _masked_rest(found["rest"]), text)


def _masked_rest(rest: str) -> str:
    authority = AUTHORITY.match(rest)
    assert authority is not None  # it matches the empty text too
    end = authority.end()
    # A password may itself hold `/`, `?` or `#`, which ends the authority too early.
    if "@" not in authority[0] and not HOST_AND_PORT.fullmatch(authority[0]) and "@" in rest:
        end = len(rest)
    user_info, at, host = rest[:end].rpartition("@")
    if at:
        user, colon, _ = user_info.partition(":")
        user_info = f"{user}:***" if colon else user
    return user_info + at + SECRET_PARAMETER.sub(r"\1***", host + rest[end:])
