"""How far TensorRT is with an engine, as its builder reports it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tell = Callable[[int, str], None]  # percent, phase


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Progress:
    """Whole percents, told as they rise; phases lie within steps of others."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._phases: dict[str, _Phase] = {}
        self._told = 0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins, within another or on its own."""
        self._phases[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, step: int) -> None:
        """A step of a phase, counted from 0, is done."""
        phase = self._phases[name]
        phase.done = min(step + 1, phase.steps)
        begin, width = self._share(phase)
        percent = int(100 * (begin + width * phase.done / phase.steps))
        if percent > self._told:
            self._told = percent
            self._tell(percent, name)

    def finish(self, name: str) -> None:
        """A phase is over."""
        self._phases.pop(name, None)

    def _share(self, phase: _Phase) -> tuple[float, float]:
        """Where in the whole (0 to 1) a phase begins, and how much of it it is."""
        parent = self._phases.get(phase.parent or "")
        if parent is None:
            return 0.0, 1.0
        begin, width = self._share(parent)
        one = width / parent.steps
        return begin + one * min(parent.done, parent.steps - 1), one


def monitor(trt: Any, tell: Tell) -> Any:
    """The `progress_monitor` of a builder's configuration."""
    progress = Progress(tell)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the module is only known when it runs
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            progress.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            progress.step(name, step)
            return True  # go on

        def phase_finish(self, name: str) -> None:
            progress.finish(name)

    return Monitor()
