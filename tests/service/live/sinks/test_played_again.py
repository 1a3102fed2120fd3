"""What a rig recorded is a source again, also if the recorder was killed."""

from pathlib import Path

import numpy as np
import pytest

from segmif.sources.open_source import open_source
from service.live.sinks.open_sinks import open_sinks
from service.live.sinks.settings import McapSettings, SinkSettings, VideoSettings
from tests.service.live.sinks.conftest import KilledAfter, Results
from tests.service.live.sinks.made_results import counts


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("kind", ["mcap", "video"])
def test_counts_and_stamps_come_back(
    tmp_path: Path, results: Results, killed_after: KilledAfter, kind: str, killed: bool
) -> None:
    settings: SinkSettings = McapSettings(path=tmp_path)
    if kind == "video":
        settings = VideoSettings(path=tmp_path, container="mkv", counts=True)
    written = list(results(40))
    if killed:
        killed_after(settings, 40)
    else:
        (sink,) = open_sinks([settings], "front", None)
        for result in written:
            sink.write(result)
        sink.close()
    (path,) = tmp_path.glob("*.mcap" if kind == "mcap" else "*counts*")
    spec = f"{path}:/front/infrared" if kind == "mcap" else str(path)
    found = list(open_source(spec, "infrared").frames())
    assert len(found) > 10 if killed else len(found) == 40
    resolution_ns = 0 if kind == "mcap" else 1_000_000  # Matroska counts milliseconds
    for number, frame in enumerate(found):
        np.testing.assert_array_equal(frame.pixels, counts(number, (64, 96)))
        since_ns = frame.stamp_ns - found[0].stamp_ns
        assert abs(since_ns - (written[number].stamp_ns - written[0].stamp_ns)) <= resolution_ns
