"""The kinds of settings that are lists, names and secrets, each refused in words if it is none."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

ANY = "*"
Network = IPv4Network | IPv6Network
ProxyHeaders = Literal["any", "x-forwarded", "forwarded"]
LogFormat = Literal["text", "json"]


def _listed(value: object) -> object:
    """A list as a variable holds it: with commas between."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _networks(value: object) -> object:
    listed = _listed(value)
    if isinstance(listed, list | tuple):
        return tuple(read_network(part) if isinstance(part, str) else part for part in listed)
    return listed


def _host_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not name or {"/", " "} & set(name):
            raise ValueError(f"{name!r} is no name such as rig.example or *.rig.example")
    return tuple(name.lower().strip("[]") for name in names)


def _origins(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        scheme, _, host = name.partition("://")
        if name not in (ANY, "null") and (not scheme or not host or "/" in host):
            raise ValueError(f"{name!r} is no origin such as https://rig.example:8443")
    return tuple(name.lower() for name in names)


def _listen_host(host: str) -> str:
    if not host or "/" in host or host.startswith("[") or host.count(":") == 1:
        raise ValueError(
            f"{host!r} is no address or name to listen on, such as 127.0.0.1, ::1 or 0.0.0.0; the "
            "port is a setting of its own, and Unix sockets are not served"
        )
    return host


def _token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError("the token is empty, or begins or ends with a blank: no header carries it")
    return token


def _prefix(path: str) -> str:
    if not path.strip("/"):
        return ""
    clean = clean_prefix(path)
    if clean is None:
        raise ValueError(f"{path!r} is no path such as /segmif")
    return clean


def read_network(text: str) -> Network:
    """A network such as 10.0.0.0/8, or one address; raises ValueError in words."""
    try:
        return ip_network(text.strip().strip("[]"), strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither an address nor a network such as 10.0.0.0/8 or fd00::/8"
        ) from None


def clean_prefix(text: str) -> str | None:
    """A path's prefix such as /cameras; None for what is none."""
    whole = "/" + text.strip("/")
    plain = all(part and part not in (".", "..") for part in whole[1:].split("/"))
    safe = whole.isascii() and whole.isprintable() and not set(whole) & set(" \"'<>\\?#%")
    return whole if plain and safe else None


ListenHost = Annotated[str, AfterValidator(_listen_host)]
ClassNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
HostNames = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_host_names)
]
OriginNames = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_origins)
]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
Token = Annotated[SecretStr, AfterValidator(_token)]
Prefix = Annotated[str, AfterValidator(_prefix)]
