"""The newest raw pair of each stream, kept for the calibration of the rig that sends them."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic, time_ns

import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import Pixels

from ..errors import NoPair
from ..pipeline.decode import Decoded
from ..schemas.answers import LatestPairInfo
from ..schemas.pair_options import PairOptions

KEPT_PAIRS = 4  # one of each stream; of a client with most, the longest without one goes first
HELD_S = 10.0  # since its last pair, a stream's name is its client's
KEPT_BYTES = 64 * 2**20  # of all together


@dataclass(frozen=True)
class KeptPair:
    """Two frames as their cameras took them."""

    visible: NDArray[np.uint8]  # (H, W, 3) RGB
    infrared: Pixels  # (h, w)
    about: LatestPairInfo
    client: str
    kept_s: float  # on the clock of `time.monotonic`

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return self.visible.nbytes + self.infrared.nbytes

    @property
    def tag(self) -> str:
        """Identifies this pair within its stream (ETag, RFC 9110, section 8.8.3)."""
        return f'"{self.about.received_ns}"'


class LatestPairs:
    """
    Keeps the newest whole pair of each named stream.

    A name belongs to the client that sends pairs under it: pairs of others under the same name are
    not kept.
    """

    def __init__(self) -> None:
        self._pairs: OrderedDict[str, KeptPair] = OrderedDict()
        self._lock = Lock()  # streams are decoded in several threads

    def keep(self, decoded: Decoded, options: PairOptions, client: str) -> None:
        """Copy a pair in place of its stream's last; a moment without one of its frames is none."""
        if options.stream is None or self._held_by_another(options.stream, client):
            return
        if decoded.visible is None or decoded.infrared is None:
            return
        about = LatestPairInfo(
            stream=options.stream,
            received_ns=time_ns(),
            visible_ns=options.visible_ns,
            infrared_ns=options.infrared_ns,
        )
        # Raw frames lie in the request's body, which would live on with them.
        pair = KeptPair(decoded.visible.copy(), decoded.infrared.copy(), about, client, monotonic())
        with self._lock:
            self._pairs[options.stream] = pair
            self._pairs.move_to_end(options.stream)
            while len(self._pairs) > KEPT_PAIRS:
                self._forget_one(lambda pair: 1)
            while self._bytes() > KEPT_BYTES:
                self._forget_one(lambda pair: pair.bytes)

    def newest(self, stream: str) -> KeptPair:
        """The last pair of a stream; raises NoPair."""
        pair = self._pairs.get(stream)
        if pair is None:
            raise NoPair(f"no pair of a stream {stream!r} is kept; send some with ?stream={stream}")
        return pair

    def _held_by_another(self, stream: str, client: str) -> bool:
        last = self._pairs.get(stream)
        return bool(last and last.client != client and monotonic() - last.kept_s < HELD_S)

    def _forget_one(self, weight: Callable[[KeptPair], int]) -> None:
        """Forget the oldest pair of the client that holds most, so that none drives others out."""
        held: Counter[str] = Counter()
        for pair in self._pairs.values():
            held[pair.client] += weight(pair)
        del self._pairs[max(self._pairs, key=lambda name: held[self._pairs[name].client])]

    def _bytes(self) -> int:
        return sum(pair.bytes for pair in self._pairs.values())
