"""
How old the picture is that the page shows, and how many pairs a second two cores take.

Two encoded videos are served by a real RTSP server; `segmif run` reads them; headless Chromium
shows the live tab. Each visible frame holds its number as blocks, which are read back from the
page's canvas. The server notes when it sends each frame, on the same clock.

    python -m benchmarks.live.latency --rate 10 --seconds 60 --out benchmarks/results/live.json

Needs `make servers` and `pip install playwright`; GStreamer's bindings are those of --gst-python.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.live.streams import GST_PYTHON, rtsp_server
from benchmarks.live.videos import BITS, BLOCK, SIZE, write_videos
from benchmarks.results_file import save
from benchmarks.service.servers import ROOT, Server, serving
from segmif.argument_types import IntegerRange

PORT = 18558
GSTREAMER = (
    "gst:rtspsrc location={url} latency=0 protocols=tcp ! rtph264depay ! h264parse "
    "! avdec_h264 max-threads=1 ! videoconvert"
)
WARM_S, SPARE_S = 10, 20
EVENTS = """
[[rigs.zones]]
name = "middle"
polygon = [[0.3, 0.3], [0.7, 0.3], [0.7, 1], [0.3, 1]]

[[rigs.events]]
kind = "object"
name = "intruder"
zones = ["middle"]

[[rigs.notify]]
kind = "lines"
path = "FOLDER/events/"
"""
# What a rig does beside fusing, as lines of its settings; FOLDER is one of the run.
EXTRAS = {
    "nothing": "memory = false\nobjects = false\n",
    "memory": "objects = false\n",
    "objects": "memory = false\n",
    "events": f"memory = false\n{EVENTS}",
    "registration": "memory = false\nobjects = false\nregistration = true\n",
    "unknown": "memory = false\nobjects.unknown = true\n",
    "all": f"registration = true\nobjects.unknown = true\n{EVENTS}",
}
# Reads the number from the canvas at each repaint; kept with the time at which it first showed.
WATCH = """
([bits, block, width, height]) => {
  const canvas = document.getElementById("canvas");
  const context = canvas.getContext("2d");
  const seen = window.seen = [];
  let last = -1;
  const look = () => {
    const scale = Math.min(canvas.width / width, canvas.height / height);
    const left = (canvas.width - width * scale) / 2, top = (canvas.height - height * scale) / 2;
    const y = Math.round(top + block / 2 * scale);
    const row = context.getImageData(0, y, canvas.width, 1).data;
    let number = 0;
    for (let bit = 0; bit < bits; bit += 1) {
      const x = Math.round(left + (bit + 0.5) * block * scale);
      if (row[4 * x + 1] > 127) number += 2 ** bit;
    }
    if (number !== last) seen.push([number, performance.timeOrigin + performance.now()]);
    last = number;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


def main() -> None:
    """Measure each rate, with and without a recording, or with each of the extras."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument(
        "--rates", type=IntegerRange(1), nargs="+", default=[10], help="frames a second (10)"
    )
    parser.add_argument(
        "--seconds", type=IntegerRange(1), default=60, help="of each measurement (60)"
    )
    parser.add_argument("--gst-python", default=GST_PYTHON, metavar="PROGRAM")
    parser.add_argument("--no-recording", action="store_true", help="measure the page alone")
    parser.add_argument(
        "--extras", nargs="+", choices=EXTRAS, default=["default"], help="what to measure beside"
    )
    parser.add_argument("--gstreamer", metavar="FOLDER", help="read by GStreamer; folder of `gi`")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for rate in options.rates:
        with tempfile.TemporaryDirectory() as folder:
            files = write_videos(Path(folder), rate * (options.seconds + WARM_S + SPARE_S), rate)
            recordings = (False, True)[: 1 if options.no_recording else 2]
            for extras, recorded in product(options.extras, recordings):
                row = measured(options, files, Path(folder), rate, recorded, extras)
                print(row, file=sys.stderr)
                rows.append(row)
    save({"rows": rows}, options.out)


def measured(
    options: argparse.Namespace,
    files: tuple[Path, Path],
    folder: Path,
    rate: int,
    recorded: bool,
    extras: str,
) -> dict[str, Any]:
    """One measurement."""
    with rtsp_server(PORT, files, folder / "sent.txt", options.gst_python):
        sources = [source(part, options.gstreamer) for part in ("visible", "infrared")]
        config = folder / "rig.toml"
        sinks = ["FOLDER/recording.mkv"] if recorded else []
        rig = f"[[rigs]]\nvisible = '{sources[0]}'\ninfrared = '{sources[1]}'\nsinks = {sinks}\n"
        config.write_text((rig + EXTRAS.get(extras, "")).replace("FOLDER", str(folder)))
        command = ["-m", "service", "run", "--config", str(config)]
        environment = {"PYTHONPATH": f"{ROOT}:{options.gstreamer}"} if options.gstreamer else None
        with serving(command, environment=environment, log=folder / "log") as server:
            with live_page(server) as page:
                time.sleep(WARM_S)
                before, cpu_before = state_of(server), server.cpu_seconds()
                page.evaluate(WATCH, [BITS, BLOCK, *SIZE])
                time.sleep(options.seconds)
                seen = page.evaluate("window.seen")
                after, cpu_s = state_of(server), server.cpu_seconds() - cpu_before
            stages = stages_ms(server)
        sent = sent_ms(folder / "sent.txt", rate)
    return {
        "rate": rate,
        "reader": "GStreamer" if options.gstreamer else "PyAV",
        "recording": recorded,
        "extras": extras,
        **latencies(seen, sent),
        **drops(before, after),
        "cpu_ms_a_pair": round(1000 * cpu_s / max(after["pairs"]["ok"] - before["pairs"]["ok"], 1)),
        "stages_ms": stages,
        "resident_mib": after["resident_mib"],
    }


@contextmanager
def live_page(server: Server) -> Iterator[Page]:
    """The live tab in Chromium, which shows the fused picture over the whole stage."""
    program = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(server.url)
        page.get_by_role("tab").last.click()
        page.wait_for_selector("#live:visible")
        for side in ("left", "right"):
            page.select_option(f"#{side}-view", "fused")
        page.uncheck("#show-marks")  # a box over the number would change it
        yield page
        browser.close()


def source(part: str, gstreamer: str | None) -> str:
    """The stream of a part, by PyAV or by a pipeline."""
    url = f"rtsp://127.0.0.1:{PORT}/{part}"
    return GSTREAMER.format(url=url) if gstreamer else url


def state_of(server: Server) -> dict[str, Any]:
    """The rig's state, and the memory of the service."""
    (rig,) = httpx.get(f"{server.url}/live").json()["rigs"]
    return {**rig, "resident_mib": round(server.resident_mib())}


def stages_ms(server: Server) -> dict[str, float]:
    """Mean time of each stage."""
    sums: dict[str, dict[str, float]] = {"sum": {}, "count": {}}
    for line in httpx.get(f"{server.url}/metrics").text.splitlines():
        for kind, values in sums.items():
            if line.startswith(f"segmif_stage_seconds_{kind}"):
                values[line.split('"')[1]] = float(line.split()[-1])
    return {s: round(1000 * v / sums["count"][s], 2) for s, v in sums["sum"].items()}


def sent_ms(log: Path, rate: int) -> dict[int, float]:
    """When each frame was sent, by its number [ms since 1970]."""
    lines = (line.split() for line in log.read_text().splitlines() if line[:1].isdigit())
    return {round(int(pts) * rate / 1e9): int(at) / 1e6 for pts, at in lines}


def latencies(seen: Sequence[Sequence[float]], sent: dict[int, float]) -> dict[str, Any]:
    """Age of the pictures at their first repaint; numbers that were never sent are misread."""
    ages = [at - sent[int(number)] for number, at in seen[1:] if int(number) in sent]
    gaps = np.diff([at for _, at in seen])
    return {
        "pictures": len(ages),
        "misread": len(seen) - 1 - len(ages),
        "median_ms": round(median(ages), 1),
        "p90_ms": round(float(np.percentile(ages, 90)), 1),
        "p99_ms": round(float(np.percentile(ages, 99)), 1),
        "longest_gap_ms": round(float(gaps.max())),
    }


def drops(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Pairs between two states, and the share that was not processed."""
    counts = {k: n - before["pairs"].get(k, 0) for k, n in after["pairs"].items()}
    unpaired = sum(
        after["sources"][part]["unpaired"] - before["sources"][part]["unpaired"]
        for part in ("visible", "infrared")
    )
    pairs = sum(counts.values())
    share = 1 - counts.get("ok", 0) / max(pairs, 1)
    return {
        "pairs": counts,
        "dropped_share": round(share, 4),
        "unpaired": unpaired,
        "level": after["level"],
    }


if __name__ == "__main__":
    main()
