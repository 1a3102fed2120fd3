"""The data sets that a run names, and the folder that they lie in."""

import os
from dataclasses import dataclass
from pathlib import Path

import pydantic.dataclasses
from pydantic import ConfigDict

from . import folds
from .datasets import KINDS, FrameSet, only, open_set
from .datasets.partial_labels import PARTIAL, partial_set
from .datasets.rendered import RenderedSet

STRICT = ConfigDict(extra="forbid")  # a misspelt key of a TOML file is an error
RENDERED_SCENES = 64


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=STRICT)
class Source:
    """A data set of a run, as `datasets.open_set` takes it."""

    kind: str
    folder: str  # under --data
    split: str | None = None
    labels: str | None = None  # folder of other labels, under --data
    share: float | None = None  # of the crops that are of this set; None: the rest, evenly by frame
    names: tuple[str, ...] = ("*",)  # patterns of the pairs to take: one drive of several

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, *PARTIAL):
            raise ValueError(
                f"kind of data is {self.kind!r}; there are {', '.join((*KINDS, *PARTIAL))}"
            )


DATA = (
    Source(kind="mfnet", folder="mfnet", split="train"),
    Source(kind="pairs", folder="roadscene"),
)


@dataclass(frozen=True, kw_only=True)
class SourcesConfig:
    """The data sets to train on."""

    data: tuple[Source, ...] = DATA
    # group of `training/data/folds.toml` that is left out of MFNet and MSRS
    leave_out: int | None = None

    def __post_init__(self) -> None:
        named = [source.share for source in self.data if source.share is not None]
        if any(share <= 0 for share in named) or sum(named) > 1:
            raise ValueError(
                f"the shares of [[data]] are {', '.join(map(str, named))}: numbers above 0 "
                "expected, together at most 1"
            )
        if self.leave_out not in (None, 1, 2, 3, 4):
            raise ValueError(f"leave_out is {self.leave_out}: a group from 1 to 4 expected")


def data_root() -> Path:
    """The folder of the real frames: `SEGMIF_DATA`, or `../shared/data`."""
    return Path(os.environ.get("SEGMIF_DATA", "../shared/data"))


def named_root(named: Path | None) -> Path:
    """`named`, else `data_root`; ValueError if either was named and is no folder."""
    root = named or data_root()
    if (named or "SEGMIF_DATA" in os.environ) and not root.is_dir():
        raise ValueError(
            f"there is no folder {root}, which --data or SEGMIF_DATA names: without either, and "
            "without ../shared/data, training renders scenes"
        )
    return root


def training_sets(config: SourcesConfig, root: Path) -> list[FrameSet]:
    """
    The sets of `config.data` under `root`.

    Where there is no such folder: rendered scenes, or ValueError if the config names its own sets.
    """
    if not root.is_dir():
        if config.data != DATA:
            raise ValueError(
                f"there is no folder {root}, under which the config's [[data]] lie: name it by "
                "--data or SEGMIF_DATA"
            )
        return [RenderedSet(RENDERED_SCENES)]
    sets = [open_source(source, root) for source in config.data]
    fold = config.leave_out
    if fold is None:
        return sets
    if not any(source.kind in folds.NUMBERED for source in config.data):
        raise ValueError(
            f"group {fold} cannot be left out: no set of [[data]] is of {', '.join(folds.NUMBERED)}"
        )
    return [
        folds.without(frames, fold) if source.kind in folds.NUMBERED else frames
        for source, frames in zip(config.data, sets, strict=True)
    ]


def open_source(source: Source, root: Path) -> FrameSet:
    """The pairs that a config names; raises what `open_set` and `only` raise."""
    if source.kind in PARTIAL:
        return only(partial_set(source.kind, root / source.folder), source.names)
    labels = root / source.labels if source.labels else None
    frames = open_set(source.kind, root / source.folder, source.split, labels)
    return only(frames, source.names)
