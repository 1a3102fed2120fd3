"""What each benchmark holds as its authors publish it, and what there is to mind in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from segmif.classes import FMB, RGB


@dataclass(frozen=True)
class Published:
    """A benchmark as a whole download should be."""

    size: str  # WIDTHxHEIGHT of its frames and labels
    pairs: int  # in all splits together
    splits: Mapping[str, int] = field(default_factory=dict)  # pairs; empty if nobody says it
    traps: tuple[str, ...] = ()  # what misleads those who do not know it

    def expected(self, split: str | None) -> int | None:
        """Pairs of one split, or of all together if there is no split or only their sum."""
        if split is None or not self.splits:
            return self.pairs
        return self.splits.get(split)


def count_note(of: str, there: int, expected: int | None) -> tuple[str, ...]:
    """A sentence if there are other than as many pairs as were published."""
    if expected is None or there == expected:
        return ()
    if there > expected:
        return (f"{of} has {there} pairs, {expected} were published: see what lies among them",)
    return (
        f"{of} has {there} of the {expected} pairs that were published: download it again, or go "
        "on knowing that it is a part",
    )


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "mfnet": Published("640x480", 1569, {"train": 784, "val": 392, "test": 393}),
        "msrs": Published(
            "640x480",
            1444,
            {"train": 1083, "test": 361},
            ("some pairs of MSRS are misregistered, as its authors say themselves",),
        ),
        "fmb": Published(
            "800x600",
            1500,
            {"train": 1220, "test": 280},
            (
                "the test labels of FMB contain no bicycle: our mean is over all "
                f"{len(FMB.names)} ids, where it counts 0 (tables show an absent class as absent); "
                "means that leave it out are higher",
                "the figures of FMB's paper have other colours than its label files; only those of "
                "the label files are read",
                "early archives of FMB held unequal numbers of visible and infrared frames; where "
                "pairs lack a part, get the archive again",
            ),
        ),
        "pst900": Published("1280x720", 894),
    }
)

# Colours of the figures of a benchmark's paper, by taxonomy: a label file painted in them looks
# right to people and holds not one code. Black, which both palettes have, is left out.
FIGURES: Mapping[str, frozenset[RGB]] = MappingProxyType(
    {
        FMB.name: frozenset(
            (
                (173, 229, 229),  # road
                (187, 57, 134),  # sidewalk
                (45, 163, 178),  # building
                (206, 176, 47),  # traffic_light
                (131, 54, 200),  # traffic_sign
                (56, 171, 83),  # vegetation
                (183, 71, 78),  # sky
                (66, 102, 167),  # person
                (14, 127, 255),  # car
                (138, 163, 91),  # truck
                (156, 98, 153),  # bus
                (101, 153, 140),  # motorcycle
                (225, 214, 155),  # bicycle
                (136, 111, 89),  # pole
            )
        )
    }
)
