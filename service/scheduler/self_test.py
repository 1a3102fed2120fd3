"""The self-test: whether the network turns a known pair into what a healthy network gives."""

import asyncio
import logging
import math
from collections.abc import Callable

from segmif.frames import FramePair, Prediction
from segmif.wire.raw_frames import Frame

from ..errors import EngineFailed, NotReady
from ..pipeline.infer import check, compare, predict_all
from ..pipeline.pair_rules import PairRules
from ..pipeline.prepare import prepare
from ..pipeline.stage_times import StageTimes
from ..samples import SAMPLES
from .batching import Batcher
from .model_loading import LoadedModel, too_slow
from .worker_threads import Workers, end_aside

GOLDEN = SAMPLES / "day"

logger = logging.getLogger(__name__)


class SelfTest:
    """Whether the network in service has passed on the golden pair, and if not, why."""

    def __init__(self, model: LoadedModel, codecs: Workers, batcher: Batcher) -> None:
        self.on_hang: Callable[[], None] = lambda: None  # the network in service ended no pair
        self._model, self._codecs, self._batcher = model, codecs, batcher
        self._not_ready_reason: str | None = "the golden pair has not come through yet"
        self._repeated: asyncio.Task[None] | None = None

    def passed(self) -> bool:
        """Whether the golden pair came out right."""
        return self._not_ready_reason is None

    def check_ready(self) -> None:
        """Raise NotReady with the reason unless the golden pair came out right."""
        if self._not_ready_reason:
            raise NotReady(self._not_ready_reason, retry_s=1)

    async def run(self) -> None:
        """Send the golden pair through the network in service, and log what is wrong."""
        model, reason = self._model, None
        limit_s = model.settings.self_test_s
        try:
            await asyncio.wait_for(self._test_in_service(model), limit_s)
        except asyncio.TimeoutError:
            reason = too_slow(limit_s)
            logger.error("the service will not become ready: %s", reason)
            end_aside(model.close)
            if model is self._model:
                self.on_hang()
        except Exception:
            reason = "the golden pair did not come out right; the log says why"
            logger.exception("the service will not become ready")
        if model is self._model:  # else another has replaced it, and passed
            self._not_ready_reason = reason

    def repeat(self) -> None:
        """Test a network that has failed once more, beside the requests."""
        if not self._repeated or self._repeated.done():
            self._repeated = asyncio.create_task(self.run())

    async def accept(self, model: LoadedModel) -> None:
        """
        Take another network as the one in service, once it has passed.

        Raises EngineFailed and closes it if it has not.
        """
        limit_s = model.settings.self_test_s
        try:
            await asyncio.wait_for(self._codecs.run(test_aside, model), limit_s)
        except asyncio.TimeoutError:
            end_aside(model.close)
            raise EngineFailed(too_slow(limit_s)) from None
        except BaseException:
            model.close()
            raise
        self._model, self._not_ready_reason = model, None

    async def _test_in_service(self, model: LoadedModel) -> None:
        pair = await self._codecs.run(golden_pair, model.settings.max_pixels)
        job = self._batcher.submit(pair, math.inf, StageTimes(), confidence=True)
        prediction = await job.result
        await self._codecs.run(check_golden, prediction, pair, model)


def test_aside(model: LoadedModel) -> None:
    """Send the golden pair through a network that does not serve; raises EngineFailed."""
    pair = golden_pair(model.settings.max_pixels)
    check_golden(predict_all(model.runtime, pair), pair, model)


def check_golden(prediction: Prediction, pair: FramePair, model: LoadedModel) -> None:
    """Raise EngineFailed unless the prediction of the golden pair is right."""
    check(prediction, pair, model.runtime.manifest.classes)
    if model.reference:
        compare(prediction, predict_all(model.reference, pair))


def golden_pair(max_pixels: int) -> FramePair:
    """The golden pair, ready for the network; raises as `prepare`, or OSError."""
    visible, infrared = (
        Frame((GOLDEN / name).read_bytes()) for name in ("visible.png", "infrared.png")
    )
    return prepare(visible, infrared, PairRules(max_pixels), StageTimes()).pair
