"""
The manifest of an artefact: one JSON beside each weights file, readable without torch.

Both files are replaced one after the other. Until then the new manifest lies beside them under its
own name, so a reader always finds a matching pair (docs/decisions/0014-files.md).
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from typing_extensions import Self

from segmif.classes import TAXONOMIES, Taxonomy
from segmif.files import (
    check_target,
    exclusive,
    read_bytes,
    read_text,
    shown,
    staged,
    sync_folder,
    temporary_stem,
    write_text,
)
from segmif.frames import DEFAULT_TINT, TINT, TINTS
from segmif.parsing import brief, json_value

REQUIRED: dict[str, type | tuple[type, ...]] = {
    "variant": str,
    "taxonomy": (str, dict),
    "precision": str,
    "sha256": str,
}
OPTIONAL = ("tools", "training", "engine", "inputs")  # objects, which older manifests lack
STALE_S = 3600.0  # age at which a temporary file is taken for abandoned
READ_ATTEMPTS = 3  # another process may replace both files meanwhile


class ManifestError(ValueError):
    """The manifest is missing, unreadable, or of another file."""


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def taxonomy_entry(taxonomy: Taxonomy) -> str | dict[str, Any]:
    """Classes as a manifest holds them: a benchmark by its name, others in full."""
    if TAXONOMIES.get(taxonomy.name) == taxonomy:
        return taxonomy.name
    return {
        "name": taxonomy.name,
        "names": list(taxonomy.names),
        "palette": [list(colour) for colour in taxonomy.palette],
    }


def taxonomy_of(entry: str | Mapping[str, Any]) -> Taxonomy:
    """
    The classes of an entry that `taxonomy_entry` wrote.

    Raises KeyError, TypeError or ValueError for any other.
    """
    if isinstance(entry, str):
        return TAXONOMIES[entry]
    red_green_blue = (tuple(colour) for colour in entry["palette"])
    return Taxonomy(entry["name"], tuple(entry["names"]), tuple(red_green_blue))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """
    Facts of one artefact (`edge.safetensors`, `edge.onnx`, ...).

    The manifest of FILE is FILE.json. `source_sha256` names the artefact it was made from
    (an ONNX from its safetensors), `training` how the weights came to be.
    """

    variant: str  # which of the networks: paper, edge, nano
    taxonomy: str | dict[str, Any]  # what the ids in the mask mean, as `taxonomy_entry` writes it
    precision: str  # of weights and activations: fp32, fp16; most convolutions in eight: int8+fp16
    sha256: str = ""  # of the artefact; `save` fills it in
    source_sha256: str | None = None
    tools: dict[str, str] = field(default_factory=dict)  # tool -> version that wrote the file
    training: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)  # of a TensorRT engine: machine, profile
    inputs: dict[str, Any] = field(default_factory=dict)  # tensors of an ONNX or engine, by name

    @staticmethod
    def beside(artefact: Path) -> Path:
        """The path of an artefact's manifest."""
        return artefact.with_name(artefact.name + ".json")

    @classmethod
    def read(cls, artefact: Path) -> Self:
        """The manifest of an artefact, checked against the artefact's content."""
        return cls.open(artefact)[0]

    @classmethod
    def open(cls, artefact: Path) -> tuple[Self, bytes]:
        """
        The manifest of an artefact, and the content that it was checked against.

        Raises ManifestError if either is missing or they do not match.
        """
        if not artefact.exists():
            raise ManifestError(
                f"{shown(artefact)} does not exist: expected an artefact, check its path"
            )
        for _ in range(READ_ATTEMPTS):
            read = cls._read_beside(artefact)
            content = read_bytes(artefact)
            found = hashlib.sha256(content).hexdigest()
            for manifest in (read, cls._pending(artefact)):
                if manifest is not None and manifest.sha256 == found:
                    return manifest, content
        if read is None:
            raise ManifestError(
                f"{shown(artefact.name)} has no manifest: expected {shown(artefact.name)}.json "
                "beside it, as the exporter writes it"
            )
        raise ManifestError(
            f"{shown(artefact.name)} has sha256 {found[:12]}..., "
            f"its manifest says {read.sha256[:12]}...: "
            "one of the two was replaced; export again or restore the pair"
        )

    @classmethod
    def _read_beside(cls, artefact: Path) -> Self | None:
        """The manifest in the file beside an artefact; None if there is no file."""
        path = cls.beside(artefact)
        if not path.is_file():
            return None
        try:
            values = json_value(read_text(path))
            fault = _schema_fault(values)
        except ValueError as error:
            fault = str(error)
        if fault:
            raise ManifestError(
                f"{shown(path.name)} is not a manifest of this version: {fault}; restore it, or "
                f"make {shown(artefact.name)} again"
            )
        manifest = cls(**values)
        try:
            manifest.classes  # noqa: B018  # for what it raises
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestError(
                f"{shown(artefact.name)} was trained on the classes {brief(manifest.taxonomy)}; "
                f"this build knows {sorted(TAXONOMIES)}, others need name, names and "
                f"palette ({brief(error)})"
            ) from error
        return manifest

    @classmethod
    def _pending(cls, artefact: Path) -> Self | None:
        """The new manifest of a writer that has not yet replaced both files; None without one."""
        with suppress(OSError, ValueError, TypeError):
            manifest = cls(**json_value(read_text(pending(artefact))))
            manifest.classes  # noqa: B018  # for what it raises
            return manifest
        return None

    def save(self, artefact: Path, content: bytes) -> Self:
        """
        Write an artefact and its manifest, with the `sha256` of `content`.

        If it is interrupted at any time, `open` finds the old pair or the new one. Raises OSError.
        """
        manifest = replace(self, sha256=hashlib.sha256(content).hexdigest())
        beside, next_ = self.beside(artefact), pending(artefact)
        check_target(beside)
        text = manifest.as_json().encode()
        with (
            staged(artefact, content) as part,
            staged(beside, text) as part_beside,
            exclusive(artefact.parent),
        ):
            finish(artefact)
            try:
                for source, target in ((part_beside, next_), (part, artefact), (next_, beside)):
                    source.replace(target)
                    sync_folder(artefact.parent)
            except BaseException:
                with suppress(OSError):
                    finish(artefact)
                raise
        return manifest

    def write(self, artefact: Path) -> None:
        """Write the manifest beside its artefact."""
        write_text(self.beside(artefact), self.as_json())

    def as_json(self) -> str:
        """The text of its file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @property
    def default_tint(self) -> float:
        """The tint that is best if nobody chooses one, 0 to 1."""
        stated = self.inputs.get(TINT)
        value = stated.get("default") if isinstance(stated, dict) else None
        if isinstance(value, int | float) and TINTS[0] <= value <= TINTS[1]:
            return float(value)
        return DEFAULT_TINT

    @property
    def classes(self) -> Taxonomy:
        """The classes of the ids in a mask."""
        return taxonomy_of(self.taxonomy)


def pending(artefact: Path) -> Path:
    """The path of an artefact's new manifest while both files are replaced."""
    return artefact.with_name(f"{temporary_stem(artefact)}.next")


def finish(artefact: Path) -> None:
    """Finish the replacement of an interrupted writer, and remove its temporary files."""
    for path in (artefact, Manifest.beside(artefact)):
        for part in path.parent.glob(f"{temporary_stem(path)}-*.part"):
            with suppress(OSError):
                if part.stat().st_mtime < time.time() - STALE_S:
                    part.unlink()
    manifest, next_ = Manifest._pending(artefact), pending(artefact)
    if manifest and artefact.is_file() and sha256(artefact) == manifest.sha256:
        next_.replace(Manifest.beside(artefact))
    else:
        next_.unlink(missing_ok=True)


def _schema_fault(value: Any) -> str:
    """Why a JSON value is no manifest; "" if it is one."""
    if not isinstance(value, dict):
        return f"it holds a {type(value).__name__}, expected an object"
    if unknown := sorted(value.keys() - {each.name for each in fields(Manifest)}):
        return f"it has {', '.join(unknown)}, which is not expected"
    missing = [name for name, kind in REQUIRED.items() if not isinstance(value.get(name), kind)]
    missing += [name for name in OPTIONAL if not isinstance(value.get(name, {}), dict)]
    return f"it lacks {', '.join(missing)}, or has another kind of value there" if missing else ""
