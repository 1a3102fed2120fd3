"""
A process of its own that reads hostile files and says what came and what it cost.

One name a line comes in; one JSON a line goes out: `outcome`, `kind`, `words`, `peak_mib`.
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calibration.commands.convert import read as read_foreign
from calibration.io.rig_fields import ReadOptions
from segmif.imaging import codecs
from segmif.manifest import Manifest
from service.pipeline.align import RigAligner
from tests.hostile.generators.pictures import PICTURES, Picture
from tests.hostile.generators.small_files import SMALL_FILES, WEIGHTS, SmallFile
from training.data.datasets.class_codes import read_class_map

SUFFIXES = {"rig": ".yaml", "kalibr": ".yaml", "opencv": ".yml", "classes": ".toml"}


def read_manifest(path: Path) -> str:
    """Read a manifest beside the file that it is to describe."""
    artefact = path.with_suffix("")
    artefact.write_bytes(WEIGHTS)
    return Manifest.read(artefact).variant


READERS: dict[str, Callable[[Path], object]] = {
    "rig": lambda path: RigAligner(path, 10.0).visible_shape,
    "kalibr": lambda path: read_foreign("kalibr", [path], ReadOptions()),
    "opencv": lambda path: read_foreign("opencv", [path], ReadOptions()),
    "classes": read_class_map,
    "manifest": read_manifest,
}


def memory_mib(field: str) -> float:
    """A figure of this process in /proc: VmRSS now, VmHWM at most since the last reset."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def read_picture(picture: Picture, data: bytes, folder: Path) -> Any:
    """Give an image to its reader."""
    if picture.door == "labels":
        path = folder / "labels.png"
        path.write_bytes(data)
        return codecs.read_labels(path)
    decode = codecs.decode_visible if picture.door == "visible" else codecs.decode_infrared
    return decode(data)


def try_picture(picture: Picture, folder: Path) -> dict[str, Any]:
    """Read an image: what came of it, and whether the pixels are those that are meant."""
    made = picture.make()
    with measured(len(made.data)) as told:
        try:
            pixels = read_picture(picture, made.data, folder)
            meant = pixels if made.pixels is None else made.pixels
            right = pixels.shape == meant.shape and (pixels != meant).sum() <= made.unsure
            told |= {"outcome": "accepted" if right else "wrong", "words": str(pixels.shape)}
        except codecs.ImageError as error:
            told |= {"outcome": "refused", "kind": error.kind, "words": str(error)}
    return told


def try_small_file(small: SmallFile, folder: Path) -> dict[str, Any]:
    """Read a small file: what came of it."""
    path = folder / f"it.onnx{SUFFIXES.get(small.reader, '.json')}"
    path.write_bytes(small.make())
    with measured(path.stat().st_size) as told:
        try:
            told |= {"outcome": "accepted", "words": str(READERS[small.reader](path))}
        except ValueError as error:
            told |= {"outcome": "refused", "words": str(error)}
    return told


@contextmanager
def measured(size: int) -> Iterator[dict[str, Any]]:
    """Note the memory that is taken beyond what was there; whatever else is raised is a finding."""
    told: dict[str, Any] = {"bytes": size}
    before = memory_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew
    try:
        yield told
    except Exception as error:
        told |= {"outcome": "broken", "words": f"{type(error).__name__}: {error}"[:500]}
    told["peak_mib"] = memory_mib("VmHWM") - before


def main() -> None:
    """Try what is named, line by line."""
    pictures = {picture.name: picture for picture in PICTURES}
    small_files = {small.name: small for small in SMALL_FILES}
    with tempfile.TemporaryDirectory() as name:
        for line in sys.stdin:
            case, folder = line.strip(), Path(name)
            if case in pictures:
                told = try_picture(pictures[case], folder)
            else:
                told = try_small_file(small_files[case], folder)
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
