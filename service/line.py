"""The production line: which thread does what, how many pairs may wait, does it work."""

import asyncio
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from segmif.frames import FramePair, Prediction
from segmif.runtime import Runtime
from service.answers import Answer, Wish, encode
from service.errors import BadParameter, Busy, NotReady
from service.mounting import Mounting
from service.pipeline import Prepared, Rules, Times, check, infer, prepare
from service.settings import Settings

CODEC_THREADS = 2
FIRST_GUESS_MS = 100.0

logger = logging.getLogger(__name__)


class Line:
    """
    Takes encoded pairs to encoded answers, one network run at a time.

    Codecs and network work in threads of their own; the event loop only waits for them.
    """

    def __init__(
        self, settings: Settings, runtime: Runtime, mounting: Mounting | None = None
    ) -> None:
        self.runtime = runtime
        self._trouble: str | None = "the golden pair has not come through yet"
        self._rules = Rules(settings.max_pixels, mounting)
        self._max_pending = settings.max_pending
        self._codecs = ThreadPoolExecutor(CODEC_THREADS, "codec")
        self._engine = ThreadPoolExecutor(1, "engine")
        self._pending = 0
        self._pair_ms = FIRST_GUESS_MS  # what the last pair took of the network: for Retry-After

    async def process(
        self, visible: bytes, infrared: bytes, wish: Wish, request_id: str
    ) -> tuple[Answer, Times]:
        """Answer one request; raises BadFrame, BadPair, BadParameter, Busy or EngineFailed."""
        if wish.depth_m is not None and not self._rules.mounting:
            raise BadParameter("depth_m is for a service that was started with a rig (--rig)")
        if self._pending >= self._max_pending:
            wait_s = math.ceil(self._pending * self._pair_ms / 1000)
            raise Busy(f"{self._pending} pairs are waiting already; try again", retry_s=wait_s)
        self._pending += 1
        try:
            return await self._process(visible, infrared, wish, request_id)
        finally:
            self._pending -= 1

    async def prove(self, golden: Path) -> None:
        """Send the golden pair (a folder's visible.png and infrared.png) through; see `ready`."""
        loop = asyncio.get_running_loop()
        try:
            prepared = await loop.run_in_executor(self._codecs, self._read, golden)
            prediction = await self._infer(prepared.pair, Times())
            check(prediction, prepared.pair, self.runtime.manifest.classes)
            self._trouble = None
        except Exception as error:
            self._trouble = f"the golden pair failed: {error}"
            logger.exception("the service will not become ready")

    def ready(self) -> None:
        """Raise NotReady with the reason unless the golden pair came out right."""
        if self._trouble:
            raise NotReady(self._trouble, retry_s=1)

    def close(self) -> None:
        """Wait for what runs, then free threads and network."""
        self._codecs.shutdown()
        self._engine.shutdown()
        self.runtime.close()

    async def _process(
        self, visible: bytes, infrared: bytes, wish: Wish, request_id: str
    ) -> tuple[Answer, Times]:
        loop, times = asyncio.get_running_loop(), Times()
        prepared = await loop.run_in_executor(
            self._codecs, prepare, visible, infrared, self._rules, times, wish.depth_m
        )
        prediction = await self._infer(prepared.pair, times)
        answer = await loop.run_in_executor(
            self._codecs, encode, wish, prediction, prepared, self.runtime, times, request_id
        )
        return answer, times

    async def _infer(self, pair: FramePair, times: Times) -> Prediction:
        submitted = perf_counter()

        def in_turn() -> Prediction:
            times.ms["queue"] = (perf_counter() - submitted) * 1000
            return infer(self.runtime, pair, times)

        prediction = await asyncio.get_running_loop().run_in_executor(self._engine, in_turn)
        self._pair_ms = times.ms["infer"]
        return prediction

    def _read(self, golden: Path) -> Prepared:
        visible, infrared = (
            (golden / name).read_bytes() for name in ("visible.png", "infrared.png")
        )
        return prepare(visible, infrared, Rules(self._rules.max_pixels), Times())
