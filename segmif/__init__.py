"""The library, and within it the programs: `segmif.service`, `segmif.training` and so on."""

from pathlib import Path

_HERE = Path(__file__).parent
# A wheel holds the programs in this folder. In the clone they lie beside it, and are found there
# under the same names: a folder `service` of somebody else's is never taken.
if not (_HERE / "service").is_dir() and (_HERE.parent / "pyproject.toml").is_file():
    __path__.append(str(_HERE.parent))
