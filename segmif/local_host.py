"""Host names and addresses of this machine."""

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(64)  # every request names a host, mostly the same
def is_loopback(name: str) -> bool:
    """Whether a host is this machine: localhost or a loopback address, but no other name."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def host_name(host: str) -> str:
    """The name in a Host header, without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")
