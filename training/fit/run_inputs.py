"""What a run learns from, noted in its folder, so that it goes on from the same or says it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import Self

from segmif.files import ARTEFACT_BYTES, read_text, write_text
from segmif.folders import listed

INPUTS = "inputs.json"


@dataclass(frozen=True)
class Inputs:
    """Frames by set and name with digests of what was read; weights by their sha256."""

    frames: Mapping[str, str]
    validation: Mapping[str, str]  # empty if the run never was validated
    start: str | None = None
    teachers: Sequence[str] = ()
    classes: Mapping[str, Any] = field(default_factory=dict)  # `start_classes`, `lesson_classes`
    descent: Mapping[str, Any] = field(default_factory=dict)  # as `initial_network.descent`

    @property
    def weights(self) -> dict[str, Any]:
        """Those that there are, as a manifest names them."""
        named: dict[str, Any] = {"start": self.start, "teachers": list(self.teachers)}
        return {name: value for name, value in named.items() if value}

    def note(self, folder: Path) -> None:
        """Writes them into the folder of a run."""
        write_text(folder / INPUTS, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def of_run(cls, folder: Path) -> Self | None:
        """What a run has noted; None for one of an earlier release. ValueError if damaged."""
        path = folder / INPUTS
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(read_text(path, ARTEFACT_BYTES)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} cannot be read ({error}): start a new run") from error


def resumed(noted: Inputs | None, found: Inputs, folder: Path, *, accept: bool) -> Inputs:
    """
    The inputs to go on with: weights to start from, and what the manifest says of them, are known
    though they are not named again.

    Raises ValueError for others than the run has noted, unless they are accepted.
    """
    if noted is None:
        return found
    if noted.start and not (found.start or noted.descent):
        raise ValueError(
            f"{folder} is of an earlier release, which did not note what its weights descend from: "
            "name them by --weights, or --from"
        )
    found = replace(
        found, start=found.start or noted.start, classes=noted.classes, descent=noted.descent
    )
    if not found.validation:  # as a run that stops before its first one
        found = replace(found, validation=noted.validation)
    changed = changes(noted, found)
    if changed and not accept:
        raise ValueError(
            f"{folder} was begun with other inputs: {'; '.join(changed)}. Put them back, start a "
            "new run from its weights in another folder (--folder), or go on by "
            "--accept-changed-inputs"
        )
    return found


def changes(noted: Inputs, found: Inputs) -> list[str]:
    """A sentence on each kind of input that differs."""
    differences = [
        *_changed_frames("frames", noted.frames, found.frames),
        *(
            _changed_frames("validation", noted.validation, found.validation)
            if noted.validation
            else ()
        ),
    ]
    if noted.start != found.start:
        differences.append(
            f"the weights to start from were {_short(noted.start)}, now they are "
            f"{_short(found.start)}"
        )
    if list(noted.teachers) != list(found.teachers):
        before, now = (", ".join(map(_short, each.teachers)) or "none" for each in (noted, found))
        differences.append(f"--teacher was {before}, now it is {now}")
    return differences


def _changed_frames(what: str, noted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    kinds = {
        "changed": [name for name in noted if name in found and found[name] != noted[name]],
        "gone": [name for name in noted if name not in found],
        "new": [name for name in found if name not in noted],
    }
    return [
        f"{len(names)} {what} are {kind} ({listed(names)})"
        for kind, names in kinds.items()
        if names
    ]


def _short(sha256: str | None) -> str:
    return f"{sha256[:12]}..." if sha256 else "none"
