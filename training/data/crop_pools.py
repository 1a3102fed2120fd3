"""From which frames a crop is drawn, and how often which class is looked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segmif.classes import Taxonomy

from .frames import FrameFacts
from .sources import SourcesConfig


@dataclass(frozen=True, kw_only=True)
class PoolConfig(SourcesConfig):
    """The data sets to train on, and which of their classes crops show more often."""

    favour: dict[str, float] = field(default_factory=dict)  # class: how much oftener it is drawn


@dataclass(frozen=True)
class Pool:
    """Frames that are drawn from together."""

    share: float  # of all crops
    places: Sequence[int]
    holders: Mapping[int, Mapping[bool, Sequence[int]]]  # class, dark: places of frames
    classes: NDArray[np.float64] | None  # how often each class is drawn; None: all alike


def pools_of(
    facts: Sequence[FrameFacts], taxonomy: Taxonomy, config: PoolConfig, sources: Sequence[int]
) -> list[Pool]:
    """A pool for each set with a share of its own, and one of all other frames."""
    named = {n: s.share for n, s in enumerate(config.data) if s.share is not None and sources}
    members: dict[int | None, list[int]] = {}
    for place in range(len(facts)):
        number = sources[place] if sources else None
        members.setdefault(number if number in named else None, []).append(place)
    rest = 1 - sum(named.values())
    shares = [named.get(number, rest) for number in members]  # type: ignore[arg-type]
    return [
        _pool(share / sum(shares), places, facts, taxonomy, config)
        for share, places in zip(shares, members.values(), strict=True)
    ]


def _pool(
    share: float,
    places: Sequence[int],
    facts: Sequence[FrameFacts],
    taxonomy: Taxonomy,
    config: PoolConfig,
) -> Pool:
    holders: dict[int, dict[bool, list[int]]] = {}
    for place in places:
        for id_ in np.flatnonzero(facts[place].pixels[: len(taxonomy.names)]):
            if id_ == taxonomy.background:
                continue
            holders.setdefault(int(id_), {}).setdefault(facts[place].dark, []).append(place)
    return Pool(share, places, holders, _shares(sorted(holders), taxonomy, config.favour))


def _shares(
    ids: Sequence[int], taxonomy: Taxonomy, favour: Mapping[str, float]
) -> NDArray[np.float64] | None:
    """How often each class is drawn, all together 1; None if all are drawn alike."""
    if unknown := favour.keys() - set(taxonomy.names):
        raise ValueError(
            f"favour names {', '.join(sorted(unknown))}; the classes of {taxonomy.name} are "
            f"{', '.join(taxonomy.names)}"
        )
    if not favour:
        return None
    weights = np.array([favour.get(taxonomy.names[id_], 1.0) for id_ in ids])
    return np.asarray(weights / weights.sum())
