"""Frames judged are never frames trained on, and together they are all frames."""

from fnmatch import fnmatch

import pytest

from lab.drives import ARMS

DRIVES = ((1, "D"), (5, "D"), (7, "N"), (11, "N"))
MOMENTS = [f"{drive:03d}{frame:02d}{light}" for drive, light in DRIVES for frame in range(1, 41)]


@pytest.mark.parametrize("name", ARMS)
def test_halves_part_the_frames(name: str) -> None:
    settings = ARMS[name].settings
    patterns = settings["data"][0].names, settings["validation"].names
    trained, judged = (
        {moment for moment in MOMENTS if any(fnmatch(moment, each) for each in half)}
        for half in patterns
    )
    assert not trained & judged
    assert trained | judged == set(MOMENTS)
    for half in (trained, judged):
        assert {moment[-1] for moment in half} == {"D", "N"}
