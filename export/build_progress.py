"""The progress of TensorRT's builder, in percent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ReportProgress = Callable[[int, str], None]  # percent, phase


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Progress:
    """Reports whole percents as they rise. A phase may lie within a step of another phase."""

    def __init__(self, report: ReportProgress) -> None:
        self._report = report
        self._phases: dict[str, _Phase] = {}
        self._reported = 0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of `steps` steps begins, within the phase `parent` or on its own."""
        self._phases[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, step: int) -> None:
        """A step of a phase, counted from 0, is done."""
        phase = self._phases[name]
        phase.done = min(step + 1, phase.steps)
        begin, width = self._share(phase)
        percent = int(100 * (begin + width * phase.done / phase.steps))
        if percent > self._reported:
            self._reported = percent
            self._report(percent, name)

    def finish(self, name: str) -> None:
        """A phase is over."""
        self._phases.pop(name, None)

    def _share(self, phase: _Phase) -> tuple[float, float]:
        """Begin and width of a phase as shares of the whole, 0 to 1."""
        parent = self._phases.get(phase.parent or "")
        if parent is None:
            return 0.0, 1.0
        begin, width = self._share(parent)
        one = width / parent.steps
        return begin + one * min(parent.done, parent.steps - 1), one


def monitor(trt: Any, report: ReportProgress) -> Any:
    """The `progress_monitor` of a builder's configuration."""
    progress = Progress(report)

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
