"""Scenes for runs without frames: four, and rendered once for all tests of a worker."""

from functools import cache

import pytest

from training.data import sources
from training.data.synthetic import scenes

rendered = cache(scenes.render)


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run of a test would render 64 of them anew."""

    def render(seed: int, height: int, width: int, night: bool) -> scenes.Scene:
        scene = rendered(seed, height, width, night)
        return scenes.Scene(scene.visible.copy(), scene.infrared.copy(), scene.labels.copy())

    monkeypatch.setattr(sources, "RENDERED_SCENES", 4)
    monkeypatch.setattr(scenes, "render", render)
