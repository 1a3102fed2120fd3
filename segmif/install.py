"""How this installation gets what it lacks, and which version it is."""

import json
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

ROOT = Path(__file__).parents[1]


def version() -> str:
    """The version that is installed; "0+source" for a tree that was never installed."""
    try:
        return distribution("segmif").version
    except PackageNotFoundError:
        return "0+source"


def install_command(extra: str = "") -> str:
    """
    The command that installs all of an extra (none: of the base) from where this came from.

    The bare name `segmif` is never given to pip: on an index it may be somebody else's.
    """
    extras = f"[{extra}]" if extra else ""
    if (ROOT / "pyproject.toml").is_file():
        return f"pip install --editable '{ROOT}{extras}'"
    try:
        wheel = _wheel(distribution("segmif"))
    except PackageNotFoundError:
        wheel = "WHEEL"
    return f"pip install '{wheel}{extras}'"


def _wheel(installed: Distribution) -> str:
    """The wheel's path if pip has noted one that is still there (PEP 610), else its name."""
    noted = json.loads(installed.read_text("direct_url.json") or "{}")
    path = url2pathname(urlsplit(noted.get("url", "")).path)
    if path.endswith(".whl") and Path(path).is_file():
        return path
    return f"./segmif-{installed.version}-py3-none-any.whl"
