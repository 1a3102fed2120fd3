"""
`make fuzz`: new input for every target, for as long as is said; exit code 1 if anything broke.

    python -m tests.hostile.fuzz MINUTES [TARGET...]
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import onnx
from hypothesis import HealthCheck, Phase, given, settings

from segmif.manifest import Manifest, sha256
from segmif.runtime import open_runtime
from service.settings import Settings
from tests.conftest import stand_in_model
from tests.hostile.targets import TARGETS, World
from tests.service.conftest import serving

LINE = 2000  # characters shown of an error
AT_ONCE = 100  # examples between two looks at the clock


@contextmanager
def world() -> Iterator[World]:
    """A service around the stand-in network, and a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = folder / "stand_in.onnx"
        onnx.save(stand_in_model(), weights)
        digest = sha256(weights)
        Manifest(variant="nano", taxonomy="mfnet", precision="fp32", sha256=digest).write(weights)
        runtime = open_runtime(weights, threads=1)
        with serving(Settings(weights=weights), runtime) as client:
            yield World(client, folder)


def run(name: str, where: World, examples: int, *, seeded: bool) -> int:
    """Draw that many examples for a target and check each; raises what the first bad one raises."""
    strategy, check = TARGETS[name]
    tried = 0

    def once(drawn: Any) -> None:
        nonlocal tried
        tried += 1
        check(where, drawn)

    chosen = settings(
        max_examples=examples,
        deadline=None,
        derandomize=seeded,
        database=None,
        print_blob=not seeded,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    chosen(given(strategy)(once))()
    return tried


def main(minutes: float, names: list[str]) -> int:
    """Fuzz each target for its share of the time; say what was tried and what broke."""
    broken = 0
    names = names or list(TARGETS)
    with world() as where:
        for name in names:
            end, tried = monotonic() + 60 * minutes / len(names), 0
            try:
                while monotonic() < end:
                    tried += run(name, where, AT_ONCE, seeded=False)
            except Exception as error:
                broken += 1
                say(f"{name}: BROKEN after {tried} examples")
                for each in getattr(error, "exceptions", [error]):
                    say(f"{type(each).__name__}: {str(each)[:LINE]}")
                    say("\n".join(note[:LINE] for note in getattr(each, "__notes__", [])))
            else:
                say(f"{name}: {tried} examples, nothing broke")
    return int(bool(broken))


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
