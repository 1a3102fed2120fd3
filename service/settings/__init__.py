"""What an operator may choose, and the limits that follow from it."""

from .settings import DEFAULT_WEIGHTS, Settings, as_toml, load_settings

__all__ = ["DEFAULT_WEIGHTS", "Settings", "as_toml", "load_settings"]
