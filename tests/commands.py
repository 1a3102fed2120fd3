"""Commands of `segmif` in processes that share one import of torch, killed at a moment if asked."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

PRELOADED = [
    "segmif.export.to_onnx",
    "segmif.export.verify",
    "segmif.service.commands.cli",
    "segmif.training.finetune.run",
    "segmif.training.labels.export_command",
    "segmif.training.labels.import_command",
    __name__,
]


@dataclass(frozen=True)
class Moment:
    """Before Python does `event` (of its audit hooks) with a file called `name`, the nth time."""

    event: str
    name: str = ""
    count: int = 1


def start(
    words: Sequence[str],
    said: Path,
    folder: Path,
    environment: Mapping[str, str],
    kill: Moment | None = None,
) -> ForkServerProcess:
    """Begin `segmif WORDS` in `folder`; what it says goes to the file `said`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(words, said, folder, environment, kill))
    process.daemon = True
    process.start()
    return process


def _run(
    words: Sequence[str],
    said: Path,
    folder: Path,
    environment: Mapping[str, str],
    kill: Moment | None,
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with said.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    from segmif.__main__ import main

    if kill:
        _kill_at(kill)
    sys.exit(main(words))


def _kill_at(moment: Moment) -> None:
    left = moment.count

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == moment.event:
            paths = [each for each in arguments if isinstance(each, str | os.PathLike)]
            left -= not moment.name or any(Path(each).name == moment.name for each in paths)
            if left == 0:
                signal.raise_signal(signal.SIGKILL)

    sys.addaudithook(heard)
