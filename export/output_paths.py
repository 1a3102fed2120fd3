"""The paths that the commands of `export` may write to."""

from pathlib import Path


def check_output_path(source: Path, out: Path) -> None:
    """Raises ValueError if `out` would overwrite `source`."""
    if out.resolve() == source.resolve():
        raise ValueError(f"--out {out} is the file that it is made from: name another one")
