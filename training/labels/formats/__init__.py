"""The formats of annotation tools by the names of `--to` and `--from`."""

from . import coco, cvat, label_studio, labelme, masks
from .base import Reader, Writer

WRITERS: dict[str, Writer] = {
    "cvat": cvat.write,
    "labelstudio": label_studio.write,
    "coco": coco.write,
    "labelme": labelme.write,
}
READERS: dict[str, Reader] = {
    "cvat": cvat.read,
    "labelstudio": label_studio.read,
    "coco": coco.read,
    "labelme": labelme.read,
    "voc": masks.read_voc,
    "palette": masks.read_palette,
}
