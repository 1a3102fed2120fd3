"""Results of a rig for the sinks."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from segmif.runtime import Runtime, open_runtime
from service.live.live_result import LiveResult
from service.live.sinks.settings import SinkSettings

Results = Callable[..., Iterator[LiveResult]]
KilledAfter = Callable[[SinkSettings, int], None]
ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def runtime(stand_in_weights: Path) -> Runtime:
    """The stand-in network."""
    return open_runtime(stand_in_weights, threads=1)


@pytest.fixture(scope="session")
def results(runtime: Runtime) -> Results:
    """Give results as `make_results` does."""
    from tests.service.live.sinks.made_results import make_results

    return partial(make_results, runtime)


@pytest.fixture(scope="session")
def killed_after(stand_in_weights: Path) -> KilledAfter:
    """Have a process record so many results, then kill it."""

    def killed(settings: SinkSettings, count: int) -> None:
        module = "tests.service.live.sinks.made_results"
        words = [str(stand_in_weights), settings.model_dump_json(), str(count)]
        with subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == "written\n"
            process.kill()

    return killed
