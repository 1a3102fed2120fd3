"""Who a request comes from and how it was addressed, if a proxy that is trusted passes it on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..settings import Settings
from ..settings.types import Network, clean_prefix

MOST_HOPS = 32  # of a list of addresses: those before it are not read


@dataclass(frozen=True)
class Addressed:
    """How the client addressed a request; None: as it came here."""

    client: str | None = None  # address
    scheme: str | None = None  # http or https
    host: str | None = None  # with its port, if one was named
    prefix: str | None = None  # of the path, as the client sees it


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    if not networks:
        return False
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def addressed(headers: Headers, peer: str, trusted: Sequence[Network], kind: str) -> Addressed:
    """
    Read what proxies say of a request that `peer` sent; nothing unless `peer` is trusted.

    The client is the last address of the list that no trusted proxy has: what stands before it is
    what the client says itself. `kind` is the setting `proxy_headers`.
    """
    if not is_within(peer, trusted):
        return Addressed()
    chain = headers.getlist("x-forwarded-for")
    if kind == "forwarded" or (kind == "any" and not chain and "forwarded" in headers):
        elements = _forwarded(", ".join(headers.getlist("forwarded")))
        hops = [element.get("for", "") for element in elements]
        last = elements[-1] if elements else {}
        scheme, host = last.get("proto"), last.get("host")
    else:
        hops = ", ".join(chain).split(",") if chain else []
        scheme, host = headers.get("x-forwarded-proto"), headers.get("x-forwarded-host")
    return Addressed(
        _client(hops, peer, trusted),
        _scheme(_first(scheme)),
        _first(host) or None,
        clean_prefix(_first(headers.get("x-forwarded-prefix"))),
    )


def _client(hops: Sequence[str], peer: str, trusted: Sequence[Network]) -> str:
    """The last address that no trusted proxy has: from `peer` back through the hops it names."""
    client = peer
    for hop in list(reversed(hops))[:MOST_HOPS]:
        if not is_within(client, trusted):
            break
        address = _address(hop)
        if address is None:  # such as `unknown`: who comes before it is not known
            break
        client = address
    return client


def _address(text: str) -> str | None:
    """An address without its port: 192.0.2.1:80, [2001:db8::1]:80."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _first(text: str | None) -> str:
    """The first of a list with commas; empty without any."""
    return (text or "").partition(",")[0].strip()


def _scheme(text: str) -> str | None:
    plain = {"wss": "https", "ws": "http"}.get(text.lower(), text.lower())
    return plain if plain in ("http", "https") else None


def _forwarded(text: str) -> list[dict[str, str]]:
    """The elements of a Forwarded header (RFC 7239), the nearest proxy's last."""
    return [_forwarded_element(element) for element in text.split(",")]


def _forwarded_element(text: str) -> dict[str, str]:
    """Values by lower-case name: `for=192.0.2.1;proto=https`."""
    values = {}
    for parameter in text.split(";"):
        name, _, value = parameter.partition("=")
        values[name.strip().lower()] = value.strip().strip('"')
    return values


class BehindProxies:
    """
    Puts the client and the public address in a request's scope, and takes the prefix off its path.

    `settings_of` gives the settings in force.
    """

    def __init__(self, app: ASGIApp, settings_of: Callable[[Scope], Settings]) -> None:
        self.app = app
        self.settings_of = settings_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "lifespan":
            settings = self.settings_of(scope)
            peer = scope["client"][0] if scope.get("client") else ""
            public = addressed(
                Headers(scope=scope), peer, settings.trusted_proxies, settings.proxy_headers
            )
            if public.client and public.client != peer:
                scope["client"] = (public.client, 0)  # its port is unknown
            if public.scheme:
                scope["scheme"] = public.scheme
                if scope["type"] == "websocket":
                    scope["scheme"] = "wss" if public.scheme == "https" else "ws"
            prefix = public.prefix or settings.root_path
            state = scope.setdefault("state", {})
            state["public_host"], state["public_prefix"] = public.host, prefix
            take_off(scope, prefix)
        await self.app(scope, receive, send)


def take_off(scope: Scope, prefix: str) -> None:
    """Take the public prefix off a path, if the proxy has left it there."""
    if prefix and (scope["path"] + "/").startswith(prefix + "/"):
        scope["path"] = scope["path"][len(prefix) :] or "/"
        raw = scope.get("raw_path")
        if raw is not None and raw.startswith(prefix.encode()):
            scope["raw_path"] = raw[len(prefix) :] or b"/"
