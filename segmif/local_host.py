"""Names that mean only this machine, wherever they are looked up."""

from ipaddress import ip_address


def is_loopback(name: str) -> bool:
    """Tell whether a name or address means this machine; a name other than localhost may not."""
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
