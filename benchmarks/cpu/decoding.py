"""The cost of sandboxed decoding for a pair at 640x480: `python -m benchmarks.cpu.decoding`."""

import argparse
import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from segmif.argument_types import IntegerRange
from segmif.imaging import codecs
from segmif.machine import fingerprint
from service.pipeline.decoder.pool import IN_PROCESS, Decoder, DecoderPool
from service.scheduler.pair_queues import CODEC_THREADS
from service.settings import Settings

SAMPLE = Path(__file__).parents[2] / "service" / "web" / "samples" / "day"
MAX_PIXELS = 4_000_000


def files() -> dict[str, tuple[bytes, bytes]]:
    """A pair of 640x480 in each format."""
    png = tuple((SAMPLE / f"{name}.png").read_bytes() for name in ("visible", "infrared"))
    colour, warm = codecs.decode_visible(png[0]), codecs.decode_infrared(png[1])
    return {
        "JPEG": (codecs.encode_jpeg(colour), codecs.encode_jpeg(warm)),
        "PNG": (png[0], png[1]),
    }


def decode(pool: ThreadPoolExecutor, decoder: Decoder, visible: bytes, infrared: bytes) -> float:
    """Milliseconds of a pair, both frames in parallel as in the service."""
    start = time.perf_counter()
    other = pool.submit(decoder.infrared, infrared, MAX_PIXELS, math.inf)
    decoder.visible(visible, MAX_PIXELS, None, math.inf)
    other.result()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Alternate both ways and print medians, and quartiles of the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=IntegerRange(1), default=200)
    rounds = parser.parse_args().rounds
    print(fingerprint())
    processes = DecoderPool(Settings().decode_processes, Settings().decode_limit_s)
    with ThreadPoolExecutor(CODEC_THREADS) as pool:
        for name, pair in files().items():
            ask = partial(decode, pool)
            times = [(ask(IN_PROCESS, *pair), ask(processes, *pair)) for _ in range(rounds)]
            more = statistics.quantiles([after - before for before, after in times])
            here, there = (statistics.median(kind) for kind in zip(*times, strict=True))
            print(
                f"{name}: {here:.2f} ms here, {there:.2f} ms in processes; "
                f"{more[1]:+.2f} ms a pair ({more[0]:+.2f} to {more[2]:+.2f})"
            )
    processes.close()


if __name__ == "__main__":
    main()
