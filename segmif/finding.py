"""The result of a check of `segmif doctor`."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "failed"]  # note: something optional is not here


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    state: State
    detail: str
    remedy: str = ""  # of what failed, or how to get what is not here
