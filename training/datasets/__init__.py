"""Labelled and unlabelled pairs on disk, each benchmark's layout behind one door."""

from training.datasets.frame import FrameSet as FrameSet
from training.datasets.frame import Labelled as Labelled
from training.datasets.frame import Light as Light
from training.datasets.kinds import KINDS as KINDS
from training.datasets.kinds import open_set as open_set
from training.datasets.views import changed as changed
from training.datasets.views import notes_of as notes_of
from training.datasets.views import only as only
