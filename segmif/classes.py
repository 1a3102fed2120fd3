"""Class names and display colours of each benchmark: what the ids in a mask mean."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = 255  # a label that training and evaluation skip

RGB = tuple[int, int, int]

BACKGROUNDS = frozenset({"background", "unlabelled", "unlabeled", "_background_"})
# What has no countable instances, as panoptic segmentation calls it ("stuff").
AREAS = frozenset(
    {"road", "sidewalk", "building", "wall", "fence", "vegetation", "terrain", "sky", "ground"}
    | {"grass", "water"}
)


@dataclass(frozen=True)
class Taxonomy:
    """
    The classes of one benchmark: the position in `names` and `palette` is the id in the mask.

    Raises ValueError for more classes than 8 bits hold beside IGNORE, for names that are none or
    stand twice, and for invalid colours.
    """

    name: str
    names: tuple[str, ...]
    palette: tuple[RGB, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.palette):
            raise ValueError(
                f"taxonomy {self.name!r}: {len(self.names)} names, {len(self.palette)} colours"
            )
        if not 1 <= len(self.names) <= IGNORE:
            raise ValueError(
                f"taxonomy {self.name!r}: {len(self.names)} classes, expected 1 to {IGNORE}: a "
                "mask has 8 bits"
            )
        if not all(isinstance(name, str) and name for name in self.names):
            raise ValueError(f"taxonomy {self.name!r}: a class has no name")
        if twice := [name for name in self.names if self.names.count(name) > 1]:
            raise ValueError(f"taxonomy {self.name!r}: two classes have the name {twice[0]!r}")
        for colour in self.palette:
            if len(colour) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in colour):
                raise ValueError(
                    f"taxonomy {self.name!r}: {colour} is no colour, expected [red, green, blue] "
                    "of 0 to 255"
                )

    @property
    def background(self) -> int:
        """The id of the background, which overlays leave out: by its name, else 0."""
        called = (id_ for id_, name in enumerate(self.names) if name.lower() in BACKGROUNDS)
        return next(called, 0)

    @property
    def things(self) -> tuple[int, ...]:
        """The ids of what can be counted: all but the background and areas such as road and sky."""
        named = enumerate(self.names)
        areas = {id_ for id_, name in named if name.lower() in AREAS} | {self.background}
        return tuple(id_ for id_ in range(len(self.names)) if id_ not in areas)

    def shared_with(self, other: "Taxonomy") -> dict[int, int]:
        """The ids of classes that both have, with the other's: by name, or as the background."""
        names = enumerate(self.names)
        shared = {id_: other.names.index(name) for id_, name in names if name in other.names}
        ours, theirs = self.background, other.background
        # without such a name the background is a guess, and may be any class
        if {self.names[ours].lower(), other.names[theirs].lower()} <= BACKGROUNDS:
            shared.setdefault(ours, theirs)
        return shared

    def id_of(self, name: str) -> int:
        """The id of a class; ValueError names those that there are."""
        if name not in self.names:
            there = ", ".join(self.names)
            raise ValueError(f"there is no class {name!r:.60}; {self.name} has {there}")
        return self.names.index(name)


MFNET = Taxonomy(
    "mfnet",
    (
        "unlabelled",
        "car",
        "person",
        "bike",
        "curve",
        "car_stop",
        "guardrail",
        "color_cone",
        "bump",
    ),
    (
        (0, 0, 0),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
        (0, 0, 192),
        (128, 128, 0),
        (64, 64, 128),
        (192, 128, 128),
        (192, 64, 0),
    ),
)

FMB = Taxonomy(
    "fmb",
    (
        "unlabelled",
        "road",
        "sidewalk",
        "building",
        "traffic_light",
        "traffic_sign",
        "vegetation",
        "sky",
        "person",
        "car",
        "truck",
        "bus",
        "motorcycle",
        "bicycle",
        "pole",
    ),
    (
        (0, 0, 0),
        (179, 228, 228),
        (181, 57, 133),
        (67, 162, 177),
        (200, 178, 50),
        (132, 45, 199),
        (66, 172, 84),
        (179, 73, 79),
        (76, 99, 166),
        (66, 121, 253),
        (137, 165, 91),
        (155, 97, 152),
        (105, 153, 140),
        (222, 215, 158),
        (135, 113, 90),
    ),
)

PST900 = Taxonomy(
    "pst900",
    ("background", "fire_extinguisher", "backpack", "hand_drill", "survivor"),
    ((0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)),
)

TAXONOMIES = {taxonomy.name: taxonomy for taxonomy in (MFNET, FMB, PST900)}


def colorize(labels: NDArray[np.uint8], taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """
    Class ids (..., H, W) to display colours (..., H, W, 3) RGB; ids outside the taxonomy are white.
    """
    table = np.full((256, 3), 255, np.uint8)
    table[: len(taxonomy.palette)] = taxonomy.palette
    return table[labels]


def overlay_palette(taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """Colours (256, 3) of the class ids for an overlay, brightened for night frames."""
    colours = colorize(np.arange(256, dtype=np.uint8), taxonomy)
    return np.asarray(np.sqrt(colours * np.float32(255)), np.uint8)


def overlay(
    frame: NDArray[np.uint8], labels: NDArray[np.uint8], taxonomy: Taxonomy
) -> NDArray[np.uint8]:
    """
    Tint the classes (H, W) on an RGB frame (H, W, 3) and outline them.

    The background and ids outside the taxonomy are not drawn.
    """
    outline = np.zeros(labels.shape, bool)
    outline[1:] |= labels[1:] != labels[:-1]
    outline[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    shown = (labels != taxonomy.background) & (labels < len(taxonomy.names))
    at = np.flatnonzero(shown)  # few of the pixels, usually: the rest stays as it is
    colours = overlay_palette(taxonomy)[labels.ravel()[at]]
    drawn = np.ascontiguousarray(frame).copy()
    pixels = drawn.reshape(-1, 3)
    tinted = (pixels[at] >> 1) + (colours >> 1)
    pixels[at] = np.where(outline.ravel()[at, None], colours, tinted)
    return drawn
