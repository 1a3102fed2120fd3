"""The files that a result becomes in a folder: fused/NAME.png, mask/NAME.png, overlay/NAME.png."""

from collections.abc import Mapping
from pathlib import Path

from segmif.classes import Taxonomy, overlay
from segmif.files import write_bytes
from segmif.frames import Prediction
from segmif.imaging import codecs

FOLDERS = ("fused", "mask")


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
