"""
A camera that is killed and comes back, and memory over a quarter of an hour.

    python -m benchmarks.live.faults --minutes 15 --out benchmarks/results/live_faults.json

Each camera is a real RTSP server. That of the infrared camera is killed and started again three
times. A viewer notes every picture, and whether it has both cameras. Then the service runs on, and
its memory is noted.
"""

import argparse
import json
import struct
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.live.streams import GST_PYTHON, rtsp_server
from benchmarks.live.videos import write_videos
from benchmarks.results_file import save
from benchmarks.service.servers import Server, serving
from segmif.argument_types import FloatRange, IntegerRange

PORTS = 18554, 18556
KILLS, OUTAGE_S, BETWEEN_S = 3, 5.0, 15.0
SAMPLE_S, SETTLED_S = 10.0, 300.0  # memory: between two samples, and before it is judged


@dataclass(frozen=True)
class Picture:
    """What a viewer notes of a picture."""

    at_s: float
    visible_ns: int
    whole: bool  # both cameras gave a frame


class Viewer(threading.Thread):
    """Asks for one picture after the other and notes each."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.seen: list[Picture] = []
        while not httpx.get(f"{server.url}/live").json()["rigs"]:
            time.sleep(0.1)
        self._url = f"ws://127.0.0.1:{server.port}/live/rig"

    def run(self) -> None:
        with connect(self._url, max_size=None) as socket:
            while True:
                try:
                    socket.send("next")
                    message = socket.recv()
                except ConnectionClosed:
                    return
                (length,) = struct.unpack("<I", message[:4])
                header = json.loads(message[4 : 4 + length])
                stamp_ns, whole = int(header["visible_ns"]), header["infrared_ns"] is not None
                self.seen.append(Picture(time.monotonic(), stamp_ns, whole))


def main() -> None:
    """Kill, restart, wait, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--minutes", type=FloatRange(0.1), default=15)
    parser.add_argument(
        "--rate", type=IntegerRange(1), default=10, help="frames a second of each camera (10)"
    )
    parser.add_argument("--gst-python", default=GST_PYTHON, metavar="PROGRAM")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = 60 * options.minutes + KILLS * (OUTAGE_S + BETWEEN_S) + 60
        visible, infrared = write_videos(folder, round(options.rate * seconds), options.rate)
        sources = f"rtsp://127.0.0.1:{PORTS[0]}/visible", f"rtsp://127.0.0.1:{PORTS[1]}/infrared"
        command = ["-m", "service", "run", "--visible", sources[0], "--infrared", sources[1]]
        with (
            rtsp_server(PORTS[0], [visible], folder / "visible.txt", options.gst_python),
            ExitStack() as camera,
        ):
            start(camera, infrared, folder, options.gst_python)
            with serving(command, log=folder / "log") as server:
                viewer = Viewer(server)
                viewer.start()
                time.sleep(BETWEEN_S)
                outages = [
                    killed(camera, infrared, folder, options.gst_python) for _ in range(KILLS)
                ]
                memory = watched_memory(server, 60 * options.minutes)
                (rig,) = httpx.get(f"{server.url}/live").json()["rigs"]
        save(
            {
                "outages": [stall(viewer.seen, *outage) for outage in outages],
                "stamps_rise": bool((np.diff([each.visible_ns for each in viewer.seen]) > 0).all()),
                "pictures": len(viewer.seen),
                "frames": balance(rig),
                "memory": memory,
                "rig": rig,
            },
            options.out,
        )


def start(camera: ExitStack, file: Path, folder: Path, python: str) -> None:
    camera.enter_context(rtsp_server(PORTS[1], [file], folder / "infrared.txt", python))


def killed(camera: ExitStack, file: Path, folder: Path, python: str) -> tuple[float, float]:
    """Kill the infrared camera for a while; gives when it went and when it was there again."""
    gone = time.monotonic()
    camera.close()
    time.sleep(OUTAGE_S)
    start(camera, file, folder, python)
    back = time.monotonic()
    time.sleep(BETWEEN_S)
    return gone, back


def stall(seen: Sequence[Picture], gone: float, back: float) -> dict[str, float]:
    """How long a viewer had no picture around an outage, and none of both cameras."""
    outage_s = back - gone
    whole_s = longest_gap_s([each.at_s for each in seen if each.whole], gone, back)
    return {
        "outage_s": round(outage_s, 2),
        "without_picture_s": round(longest_gap_s([each.at_s for each in seen], gone, back), 2),
        "without_both_cameras_s": round(whole_s, 2),
        "beyond_outage_s": round(whole_s - outage_s, 2),
    }


def longest_gap_s(times_s: Sequence[float], gone: float, back: float) -> float:
    """The longest time between two pictures, from before an outage to the end of the pause."""
    around = [at for at in times_s if gone - BETWEEN_S / 2 < at < back + BETWEEN_S]
    return float(np.diff(around).max())


def balance(rig: dict[str, Any]) -> dict[str, int]:
    """
    Frames that came, and those that no counter explains: a few wait for a partner.

    A pair of one camera alone has no frame of the other.
    """
    pairs, cameras = sum(rig["pairs"].values()), rig["sources"]
    alone = sum(camera["alone"] for camera in cameras.values())
    return {
        f"{part}_unexplained": camera["frames"]
        - camera["unpaired"]
        - (pairs - alone + camera["alone"])
        for part, camera in cameras.items()
    } | {"pairs": pairs}


def watched_memory(server: Server, seconds: float) -> dict[str, float]:
    """Resident memory over time; its slope once it has settled."""
    samples = []
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        samples.append((passed, server.resident_mib()))
        time.sleep(SAMPLE_S)
    at, mib = np.array(samples).T
    late = at >= min(SETTLED_S, seconds / 3)
    slope = np.polyfit(at[late], mib[late], 1)[0] if late.sum() > 2 else float("nan")
    mean = float(mib[late].mean())
    return {
        "settled_mib": round(mean, 1),
        "percent_in_ten_minutes": round(100 * 600 * float(slope) / mean, 3),
        "samples": len(samples),
    }


if __name__ == "__main__":
    main()
