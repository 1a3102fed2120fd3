"""The rig file by which the pairs of a live rig are aligned; it may be moved by hand and saved."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

from segmif.files import read_bytes, write_all
from segmif.geometry.alignment import align
from segmif.geometry.nudge import nudged
from segmif.geometry.rig import rig_bytes
from segmif.parsing import MAX_YAML_BYTES

from ..errors import BadParameter, RigChanged, RigKept, RigNotWritten
from ..pipeline.align import RigAligner
from ..pipeline.pair_rules import PairRules
from ..scheduler.dispatcher import Dispatcher
from ..schemas.live_state import SavedRig
from .camera_match import CameraMatch
from .open_rig import OpenRig

BACKUP_DIGITS = 12  # of the old file's SHA-256, in the name of its copy
# What `_moved_source` appends to the source of a rig.
NUMBER = r"(-?[0-9.]+(?:e[+-]?[0-9]+)?)"
MOVED = re.compile(rf"(?:; )?moved by hand by {NUMBER} px to the right and {NUMBER} px down$")


class RigFile:
    """The rig file of one rig: its own, else the service's."""

    def __init__(self, opened: OpenRig, dispatcher: Dispatcher) -> None:
        self._opened, self._dispatcher = opened, dispatcher
        self._matched: RigAligner | None = None  # whose cameras `_match` compares
        self._match = CameraMatch(None)

    @property
    def aligner(self) -> RigAligner | None:
        """What brings infrared into the visible view; None: frames come aligned."""
        return self._opened.aligner or self._dispatcher.rules.rig_aligner

    @property
    def match(self) -> CameraMatch:
        """Compares the cameras that sources state with those of the file in force."""
        if (aligner := self.aligner) is not self._matched:  # a reload or a nudge has made another
            self._matched, self._match = aligner, CameraMatch(aligner.rig if aligner else None)
        return self._match

    @property
    def moved(self) -> bool:
        """Whether pairs have shown that the cameras moved since the file was made."""
        return self.aligner is not None and self.aligner.moved

    @property
    def savable(self) -> bool:
        """Whether the operator lets clients write it."""
        return self._dispatcher.settings.save_rig and self.aligner is not None

    def rules(self, tolerance_ms: float) -> PairRules:
        """The rules for the pairs of this rig."""
        return self._opened.rules(self._dispatcher.rules, tolerance_ms)

    def changed(self) -> bool:
        """Whether the rig's own file is no longer the one that was read."""
        return self._opened.aligner is not None and digest_of(self._opened.aligner) is None

    def for_nudge(self) -> RigAligner:
        """What a nudge changes; raises RigKept or RigChanged if there is nothing to change."""
        if not self._dispatcher.settings.save_rig:
            raise RigKept
        if self.aligner is None:
            raise RigChanged(
                f"{self._opened.settings.name} has no rig file: start with --rig rig.yaml"
            )
        return self.aligner

    @property
    def own(self) -> RigAligner | None:
        """What aligns by a file that this rig states; None: as the service aligns."""
        return self._opened.aligner

    def align_by(self, aligner: RigAligner) -> None:
        """Go on with its own file, which was written anew."""
        self._opened = replace(self._opened, aligner=aligner)


def digest_of(aligner: RigAligner) -> str | None:
    """SHA-256 of the rig file if it still is the one that was read; else None."""
    try:
        found = hashlib.sha256(read_bytes(aligner.path, MAX_YAML_BYTES)).hexdigest()
    except OSError:
        return None
    return found if found == aligner.sha256 else None


def same_file(first: RigAligner, second: RigAligner) -> bool:
    """Whether two align by one file, whatever the names by which they read it."""
    try:
        return first.path.samefile(second.path)
    except OSError:  # one of them is gone
        return first.path == second.path


def _moved_source(source: str, right_px: float, down_px: float) -> str:
    """Where a rig is from, and how far it was moved by hand in all; one clause, however often."""
    if said := MOVED.search(source):
        source = source[: said.start()]
        right_px, down_px = right_px + float(said[1]), down_px + float(said[2])
    words = f"moved by hand by {right_px:g} px to the right and {down_px:g} px down"
    return f"{source}; {words}" if source else words


def save_nudged(
    aligner: RigAligner, right_px: float, down_px: float, depths_m: Sequence[float]
) -> tuple[list[RigAligner], SavedRig]:
    """
    Write the rig file with infrared moved by pixels of visible, and a copy of the old file.

    Gives what aligns by it at each of `depths_m`. Raises BadParameter, RigChanged or RigNotWritten,
    and then the file is as it was.
    """
    path, name = aligner.path.resolve(), aligner.path.name  # a symbolic link stays one
    if digest_of(aligner) is None:
        raise RigChanged(f"{name} is no longer the file that was read: reload the service first")
    if right_px == down_px == 0:
        raise BadParameter("parameters 'right' and 'down' are 0: state by how many pixels to move")
    rig = nudged(aligner.rig, right_px, down_px, aligner.depth_m)
    rig = replace(rig, source=_moved_source(rig.source, right_px, down_px))
    try:
        for depth_m in depths_m:
            align(rig, depth_m)
    except ValueError as error:
        raise BadParameter(f"parameters 'right' and 'down': {error}") from error
    backup = path.with_name(f"{path.stem}.{aligner.sha256[:BACKUP_DIGITS]}{path.suffix}")
    try:
        old = read_bytes(path, MAX_YAML_BYTES)
        write_all({backup: old, path: rig_bytes(rig)})  # in this order, so that no version is lost
        made = [RigAligner(aligner.path, depth_m) for depth_m in depths_m]
    except (OSError, ValueError) as error:
        raise RigNotWritten(f"{name} cannot be written: {error}") from error
    return made, SavedRig(sha256=made[0].sha256, backup=backup.name)
