"""A process of Ray: it holds a network, and processes pairs of folders or recordings."""

from collections.abc import Sequence
from dataclasses import dataclass

from segmif.folders import FilePair
from segmif.frames import FramePair, Prediction
from segmif.manifest import Manifest

from ...errors import ServiceError
from ...pipeline.decoder.pool import open_decoder
from ...pipeline.infer import infer
from ...pipeline.pair_rules import PairRules
from ...pipeline.stage_times import StageTimes
from ...scheduler.model_loading import hangs, load_model, too_slow
from ...settings import Settings
from ..folder_pairs import FolderWork, Line, Workshop, process_pairs


@dataclass(frozen=True)
class NetworkFacts:
    """What is known of a network that runs elsewhere."""

    name: str
    outputs: tuple[str, ...]
    default_tint: float | None
    manifest: Manifest


@dataclass(frozen=True)
class Predicted:
    """A prediction and its milliseconds, or why there is none."""

    prediction: Prediction | None
    ms: float
    refused: str | None = None


class Worker:
    """A network with what is around it, in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._shop: Workshop | None = None

    def open(self) -> NetworkFacts:
        """Open the network, once; raises as `load_model`, or TimeoutError if it hangs."""
        if self._shop is None:
            opened = load_model(self._settings)
            if hangs(opened.runtime, self._settings.self_test_s):
                raise TimeoutError(too_slow(self._settings.self_test_s))
            decoder = open_decoder(self._settings.decode_processes, self._settings.decode_limit_s)
            rules = PairRules.of(opened.settings, opened.rig_aligner)
            self._shop = Workshop(opened.runtime, rules, decoder)
        runtime = self._shop.runtime
        return NetworkFacts(runtime.name, runtime.outputs, runtime.default_tint, runtime.manifest)

    def process(self, pairs: Sequence[FilePair], work: FolderWork) -> list[Line]:
        """Write the pictures of pairs; gives their lines."""
        self.open()
        assert self._shop
        return list(process_pairs(pairs, work, self._shop))

    def predict(self, pair: FramePair, tint: float | None, confidence: bool) -> Predicted:
        """Predict a pair."""
        self.open()
        assert self._shop
        times = StageTimes()
        try:
            made = infer(self._shop.runtime, pair, times, tint, confidence=confidence)
        except ServiceError as error:
            return Predicted(None, 0.0, str(error))
        return Predicted(made, times.ms["infer"])
