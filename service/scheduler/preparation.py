"""From encoded frames to a job of the network: decoded side by side, aligned in stream order."""

import asyncio
from functools import partial

from segmif.frames import CONFIDENCE

from ..pipeline.decode import DecodeOptions, decode
from ..pipeline.decoder.pool import Decoder
from ..pipeline.half_size import halved
from ..pipeline.pair_rules import PairRules
from ..pipeline.prepare import PreparedPair, align_pair, prepare
from .batching import Batcher
from .camera_streams import QueuedPair, Stream
from .latest_pairs import LatestPairs
from .pair_queues import PairQueues
from .worker_threads import memory_errors


class Preparation:
    """Prepares pairs for the network, and submits them to it."""

    def __init__(self, queues: PairQueues, decoder: Decoder, batcher: Batcher) -> None:
        self._queues, self._decoder, self._batcher = queues, decoder, batcher

    async def prepare(
        self, queued: QueuedPair, rules: PairRules, stream: Stream, kept: LatestPairs | None
    ) -> PreparedPair:
        """
        Prepare a pair and set `queued.job`; raises as `prepare` and `Workers.run`.

        A named stream's pair is kept in `kept` if there is one.
        """
        pair = queued.request
        decode_options = DecodeOptions(self._decoder, self._queues.codecs.both, pair.due)
        with self._batcher.coming():
            if stream.memory is not None:
                return await self._prepare_in_order(queued, rules, stream, kept, decode_options)
            # A lone pair has no order to keep: one job for the threads is enough.
            frames = pair.visible, pair.infrared
            work = partial(prepare, *frames, rules, queued.times, pair.options, decode_options)
            if self._queues.may_do_at_once(pair, rules):
                with memory_errors():
                    prepared = work()
            else:
                prepared = await self._queues.run(queued.heavy or queued.slot, work)
            return self._submit(prepared, queued)

    async def _prepare_in_order(
        self,
        queued: QueuedPair,
        rules: PairRules,
        stream: Stream,
        kept: LatestPairs | None,
        decode_options: DecodeOptions,
    ) -> PreparedPair:
        """Decode beside the stream's other pairs; align and submit in the order of the stream."""
        pair, times = queued.request, queued.times
        frames, cameras = (pair.visible, pair.infrared), rules.cameras_for(pair.options)
        work = partial(decode, *frames, rules.max_pixels, times, decode_options, cameras)
        decoding = asyncio.ensure_future(self._queues.run(queued.slot, work))
        try:
            async with stream.order:
                decoded = await decoding
                # Before `align_pair`, which may refuse an uncalibrated pair.
                if kept and not pair.own_stream:
                    await self._queues.codecs.run(kept.keep, decoded, pair.options, pair.client)
                align = partial(
                    align_pair, decoded, rules, times, pair.options, stream.memory, pair.same_stamps
                )
                prepared = await self._queues.run(queued.heavy or queued.slot, align)
                stream.line_up(queued)
                return self._submit(prepared, queued, remembers=rules.remembers(pair.options))
        finally:
            decoding.cancel()

    def _submit(
        self, prepared: PreparedPair, queued: QueuedPair, *, remembers: bool = False
    ) -> PreparedPair:
        pair = queued.request
        if pair.half_size:
            prepared = halved(prepared)
        options = pair.options
        confidence = remembers or CONFIDENCE in options.views or options.objects
        queued.job = self._batcher.submit(
            prepared.pair,
            pair.due,
            queued.times,
            confidence=confidence,
            tint=prepared.tint,
            rank=queued.slot.rank,
        )
        return prepared
