"""The files that a result becomes in a folder: fused/NAME.png, mask/NAME.png, overlay/NAME.png."""

from collections.abc import Collection, Iterable, Mapping
from os import SEEK_END
from pathlib import Path

from segmif.classes import Taxonomy, overlay
from segmif.files import write_bytes
from segmif.frames import Prediction
from segmif.imaging import codecs

FOLDERS = ("fused", "mask")
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def encode_pictures(
    prediction: Prediction, taxonomy: Taxonomy, *, with_overlay: bool = False
) -> dict[str, bytes]:
    """PNG files of a prediction by the folder that each belongs to; the mask's pixels are ids."""
    pictures = {
        "fused": codecs.encode_png(prediction.fused),
        "mask": codecs.encode_indexed_png(prediction.labels, taxonomy.palette),
    }
    if with_overlay:
        shown = overlay(prediction.fused, prediction.labels, taxonomy)
        pictures["overlay"] = codecs.encode_png(shown)
    return pictures


def make_folders(out: Path, *, with_overlay: bool = False) -> None:
    """Make the folders of `write_pictures`; raises OSError."""
    for folder in (*FOLDERS, *(["overlay"] if with_overlay else [])):
        (out / folder).mkdir(parents=True, exist_ok=True)


def write_pictures(out: Path, name: str, pictures: Mapping[str, bytes]) -> None:
    """Write files of `encode_pictures`, each whole or not at all; raises OSError."""
    for folder, data in pictures.items():
        write_bytes(out / folder / f"{name}.png", data, wait_for_disk=False)


def are_whole(out: Path, name: str, folders: Iterable[str] = FOLDERS) -> bool:
    """Whether all pictures of a pair are there, none cut off as by a loss of power."""
    return all(_is_whole(out / folder / f"{name}.png") for folder in folders)


def pictures_of_others(out: Path, names: Collection[str]) -> list[str]:
    """The pictures in a folder of results that are of none of these pairs, as FOLDER/NAME.png."""
    found = (path for folder in (*FOLDERS, "overlay") for path in (out / folder).glob("*.png"))
    return sorted(f"{path.parent.name}/{path.name}" for path in found if path.stem not in names)


def _is_whole(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size < len(PNG_START) + len(PNG_END):
        return False
    with path.open("rb") as file:
        start = file.read(len(PNG_START))
        file.seek(-len(PNG_END), SEEK_END)
        return start == PNG_START and file.read() == PNG_END
