"""Rendered street scenes as a data set: what training falls back on if there are no frames."""

from dataclasses import dataclass

from segmif.classes import MFNET, Taxonomy

from ..synthetic import scenes
from .frame import LabelledPair, Light


@dataclass(frozen=True)
class RenderedSet:
    """The scenes of the seeds 0 .. count - 1, 640x480, day and night by turns."""

    count: int
    name: str = "rendered"

    @property
    def taxonomy(self) -> Taxonomy:
        return MFNET

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"scene{seed}" for seed in range(self.count))

    def read(self, index: int) -> LabelledPair:
        """Renders one scene."""
        night = index % 2 == 1
        scene = scenes.render(index, 480, 640, night)
        light: Light = "night" if night else "day"
        return LabelledPair(self.names[index], scene.visible, scene.infrared, scene.labels, light)
