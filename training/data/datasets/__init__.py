"""Labelled and unlabelled pairs on disk, each benchmark in its layout, opened by one function."""

from .frame import FrameSet as FrameSet
from .frame import LabelledPair as LabelledPair
from .frame import Light as Light
from .kinds import KINDS as KINDS
from .kinds import open_set as open_set
from .views import changed as changed
from .views import notes_of as notes_of
from .views import only as only
