"""Where the commands of `export` may write."""

from pathlib import Path


def spare_source(source: Path, out: Path) -> None:
    """ValueError where what is written would take the place of what it is made from."""
    if out.resolve() == source.resolve():
        raise ValueError(f"--out {out} is the file that it is made from: name another one")
