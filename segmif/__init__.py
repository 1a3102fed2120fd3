"""The library, and within it the programs: `segmif.service`, `segmif.training` and so on."""

import os
from pathlib import Path

from segmif.imaging.image_header import MAX_PIXELS

_HERE = Path(__file__).parent
# A wheel holds the programs in this folder. In the clone they lie beside it, and are found there
# under the same names: a folder `service` of somebody else's is never taken.
if not (_HERE / "service").is_dir() and (_HERE.parent / "pyproject.toml").is_file():
    __path__.append(str(_HERE.parent))

# OpenCV reads both once, at its first import: a second limit behind our header check.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our exceptions report errors
