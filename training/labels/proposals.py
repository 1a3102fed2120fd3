"""Masks that a labeller proposes, in classes of ours, each frame asked once."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmif.addresses import masked
from segmif.classes import BACKGROUNDS, IGNORE, Taxonomy
from segmif.files import read_bytes, shown, temporary_stem, write_bytes

from .labeller import (
    ANSWER_BYTES,
    Ask,
    LabellerError,
    Proposal,
    opened_labeller,
    proposal_of,
    request_of,
)
from .shapes import Labels


@dataclass
class Proposals:
    """Asks a labeller, and keeps its answers until the work is done."""

    where: str  # address or command
    ask: Ask
    classes: Taxonomy
    folder: Path  # of the answers
    foreign: set[str] = field(default_factory=set)  # its classes that are none of ours

    def labels(self, name: str, visible: NDArray[np.uint8]) -> Labels | None:
        """The mask (H, W) of a frame, 255 where it is not known; None: nothing is proposed."""
        request = request_of(name, visible)
        path = self.folder / f"{sha256(self.where.encode() + request).hexdigest()}.json"
        size = visible.shape[0], visible.shape[1]
        if path.is_file():
            return self._labels(proposal_of(read_bytes(path, ANSWER_BYTES), size))
        try:
            answer = self.ask(request)
            proposal = proposal_of(answer, size)
        except LabellerError as error:
            count = sum(1 for _ in self.folder.iterdir())
            raise LabellerError(
                f"{shown(name)}: the labeller {masked(self.where)}: {error}. {count} answers are "
                "kept: the same command goes on from there"
            ) from None
        write_bytes(path, answer)
        return self._labels(proposal)

    def _labels(self, proposal: Proposal | None) -> Labels | None:
        """Its mask in our ids: of the class of the same name, else our background."""
        if proposal is None:
            return None
        table = np.full(256, self.classes.background, np.uint8)
        table[IGNORE] = IGNORE
        for id_, name in enumerate(proposal.classes):
            if name in self.classes.names:
                table[id_] = self.classes.names.index(name)
            elif name not in BACKGROUNDS:
                self.foreign.add(name)
        return table[proposal.labels]


@contextmanager
def proposals(where: str, timeout_s: float, classes: Taxonomy, out: Path) -> Iterator[Proposals]:
    """
    A labeller for the work on `out`; its answers stay beside that until the work succeeds.

    Raises OSError if it cannot be started.
    """
    folder = out.with_name(f"{temporary_stem(out)}.answers")
    folder.mkdir(parents=True, exist_ok=True)
    with opened_labeller(where, timeout_s) as ask:
        yield Proposals(where, ask, classes, folder)
    shutil.rmtree(folder, ignore_errors=True)


def over_network(proposed: Labels, found: Labels, background: int) -> Labels:
    """What is proposed, and the network's classes where nothing is proposed or known."""
    open_ = (proposed == background) | (proposed == IGNORE)
    return np.where(open_ & (found != background), found, proposed)
