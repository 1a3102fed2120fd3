"""What our own recordings say of themselves, in the comment of a video file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast, get_args

from segmif.parsing import ParseError, json_value
from segmif.sources.frame import StampFrom
from segmif.thermal.camera_profile import CameraProfile, cameras_from

MAKER = "segmif"
MAX_CHARACTERS = 1 << 16


@dataclass(frozen=True)
class RecordingFacts:
    """The facts of a recording that its video stream cannot hold."""

    rig: str
    shows: str  # the picture, or `counts`
    first_stamp_ns: int  # of the frame at time 0 of the file
    stamp_from: StampFrom = "source"
    padding: tuple[int, int] = (0, 0)  # pixels added at the right and at the bottom
    profile: CameraProfile = field(default_factory=CameraProfile)  # of counts

    def text(self, version: str) -> str:
        """The comment, as JSON."""
        facts = {
            "made_by": f"{MAKER} {version}",
            "rig": self.rig,
            "shows": self.shows,
            "first_stamp_ns": self.first_stamp_ns,
            "stamp_from": self.stamp_from,
            "padding": list(self.padding),
            "camera": self.profile.stated(),
        }
        return json.dumps(facts)


def facts_of(metadata: Mapping[str, str]) -> RecordingFacts | None:
    """The facts in the metadata of a video file; None for those of others, or damaged ones."""
    text = next((text for name, text in metadata.items() if name.lower() == "comment"), "")
    if MAKER not in text or len(text) > MAX_CHARACTERS:
        return None
    try:
        return _facts(json_value(text))
    except (ParseError, KeyError, TypeError, ValueError):
        return None


def _facts(stated: object) -> RecordingFacts:
    if not isinstance(stated, dict) or not str(stated["made_by"]).startswith(MAKER):
        raise ValueError
    first_ns, stamp_from, padding = (
        stated[name] for name in ("first_stamp_ns", "stamp_from", "padding")
    )
    whole = isinstance(first_ns, int) and abs(first_ns) < 2**63
    if not whole or stamp_from not in get_args(StampFrom) or not _is_padding(padding):
        raise ValueError
    return RecordingFacts(
        str(stated["rig"]),
        str(stated["shows"]),
        first_ns,
        cast(StampFrom, stamp_from),
        (padding[0], padding[1]),
        cameras_from({"infrared": stated["camera"]}).infrared,
    )


def _is_padding(stated: object) -> bool:
    return isinstance(stated, list) and len(stated) == 2 and all(side in (0, 1) for side in stated)
