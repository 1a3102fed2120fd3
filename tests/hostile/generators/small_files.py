"""Small files of strangers that grow, lie or end a parser, and what is right for each."""

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from tests.hostile.generators.drawn import rig_document

Reader = Literal["rig", "kalibr", "opencv", "classes", "manifest"]
WEIGHTS = b"weights"


@dataclass(frozen=True)
class SmallFile:
    """A named file; `said` is part of the sentence that refuses it, None if it is right."""

    name: str
    reader: Reader
    make: Callable[[], bytes]
    said: str | None
    memory_mib: int = 32


def rig(**changes: Any) -> Callable[[], bytes]:
    """A good rig file but for some fields; `visible_K` is K of the visible camera."""

    def make() -> bytes:
        document = copy.deepcopy(rig_document())
        for name, value in changes.items():
            part, _, field = name.partition("_")
            if field in rig_document().get(part, {}):
                document[part][field] = value
            else:
                document[name] = value
        return str(yaml.safe_dump(document)).encode()

    return make


def text(words: str) -> Callable[[], bytes]:
    """A file of these words."""
    return lambda: words.encode()


def aliases(levels: int, head: str) -> Callable[[], bytes]:
    """Ten to the power of `levels` numbers in a kilobyte of YAML."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for level in range(1, levels):
        inner = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{inner}]")
    lines.append(f"distortion: *a{levels - 1}")
    return text(head + "\n".join(lines))


def manifest(**changes: Any) -> Callable[[], bytes]:
    """A good manifest but for some fields."""
    right = {
        "variant": "nano",
        "taxonomy": "mfnet",
        "precision": "fp32",
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    }
    return lambda: json.dumps(right | changes).encode()


def opencv(matrix: str) -> Callable[[], bytes]:
    """A file of OpenCV's whose first matrix is this."""
    return text(f"%YAML:1.0\n---\nM1: !!opencv-matrix\n{matrix}\n")


CLASSES = 'name = "yard"\n[[classes]]\nname = "all"\ncolour = [1, 2, 3]\n'
FORMAT = "format: segmif-rig 1\n"

SMALL_FILES = [
    SmallFile("rig", "rig", rig(), None),
    SmallFile("rig_byte_order_mark", "rig", lambda: b"\xef\xbb\xbf" + rig()(), None),
    SmallFile("rig_of_10_billion_numbers", "rig", aliases(10, FORMAT), "alias"),
    SmallFile("rig_nested_5000_deep", "rig", text(FORMAT + "visible: " + "[" * 5000), "nesting"),
    SmallFile("rig_of_20_megabytes", "rig", text(FORMAT + "source: " + "x" * 20_000_000), "bytes"),
    SmallFile("rig_cameras_of_200000_pixels", "rig",
              rig(visible_width=200_000, visible_height=200_000), "200000"),
    SmallFile("rig_distortion_1e300", "rig", 
              rig(visible_distortion=[1e300, 0, 0, 0, 0]), "distortion"),
    SmallFile("rig_focal_length_1e-300", "rig",
              rig(infrared_K=[[1e-300, 0, 32], [0, 1e-300, 24], [0, 0, 1]]), "focal length"),
    SmallFile("rig_focal_length_not_a_number", "rig",
              rig(infrared_K=[[float("nan"), 0, 32], [0, 60, 24], [0, 0, 1]]), "finite"),
    SmallFile("rig_that_looks_the_other_way", "rig",
              rig(T_infrared_visible=[[-1, 0, 0, -0.1], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]],
                  infrared_position_m=[-0.1, 0, 0]), "brings no picture"),
    SmallFile("rig_a_python_object", "rig", text("!!python/object/apply:os.abort []"), "YAML"),
    SmallFile("rig_keys_twice", "rig", text(FORMAT + FORMAT), "twice"),
    SmallFile("kalibr_aliases", "kalibr", aliases(10, ""), "alias"),
    SmallFile("kalibr_of_zeros", "kalibr", text("\0" * 1000), "zero byte"),
    SmallFile("opencv_type_of_300_letters", "opencv",
              opencv(f"   rows: 3\n   cols: 3\n   dt: {'d' * 300}\n   data: [1]"), "opencv"),
    SmallFile("opencv_rows_of_2_billion", "opencv",
              opencv("   rows: 2000000000\n   cols: 2000000000\n   dt: d\n   data: [1]"), "opencv"),
    SmallFile("opencv_nested_5000_deep", "opencv", text("%YAML:1.0\n---\na: " + "[" * 5000),
              "nesting"),
    SmallFile("opencv_xml_entities", "opencv", text(
              '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
              + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
              + "]><opencv_storage><M1>&j;</M1></opencv_storage>"), "document type"),
    SmallFile("classes_byte_order_mark", "classes", lambda: b"\xef\xbb\xbf" + CLASSES.encode(),
              None),
    SmallFile("classes_utf16", "classes", lambda: CLASSES.encode("utf-16"), "UTF-16"),
    SmallFile("classes_nested_5000_deep", "classes", text("a = " + "[" * 5000), "nested"),
    SmallFile("manifest", "manifest", manifest(), None),
    SmallFile("manifest_nested_50000_deep", "manifest", text("[" * 50_000), "nested"),
    SmallFile("manifest_number_of_5000_digits", "manifest",
              text('{"variant": ' + "9" * 5000 + "}"), "manifest"),
    SmallFile("manifest_of_classes_without_end", "manifest", manifest(taxonomy={"name": "x",
              "names": ["a"] * 300, "palette": [[0, 0, 0]] * 300}), "classes"),
    SmallFile("manifest_of_another_file", "manifest", manifest(sha256="0" * 64), "sha256"),
]  # fmt: skip
