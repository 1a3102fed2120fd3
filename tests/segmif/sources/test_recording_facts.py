"""The comment of our recordings, read again; those of others are left alone."""

import json
from typing import Any

import pytest

from segmif.sources.recording_facts import RecordingFacts, facts_of
from segmif.thermal.camera_profile import CameraProfile

FACTS = RecordingFacts("front", "counts", 10**18, "arrival", (1, 0), CameraProfile(bits=14))


@pytest.mark.parametrize("name", ["comment", "COMMENT"])
def test_facts_come_back(name: str) -> None:
    assert facts_of({"title": "x", name: FACTS.text("1.0")}) == FACTS


@pytest.mark.parametrize(
    "changed",
    [
        {"made_by": "somebody"},
        {"first_stamp_ns": 2**63},
        {"first_stamp_ns": "0"},
        {"stamp_from": "nowhere"},
        {"padding": [1, 2]},
        {"padding": 1},
        {"camera": {"bits": 99}},
        {"camera": [1]},
        {"rig": "x" * 10**5},
    ],
)
def test_other_comments_are_none_of_ours(changed: dict[str, Any]) -> None:
    stated = json.loads(FACTS.text("1.0")) | changed
    assert facts_of({"comment": json.dumps(stated)}) is None


@pytest.mark.parametrize("text", ["", "a drive with segmif", '"segmif"', '{"segmif": 1}'])
def test_a_text_is_no_fact(text: str) -> None:
    assert facts_of({"comment": text}) is None
