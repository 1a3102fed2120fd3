"""
What an artefact says of itself: one JSON beside each weights file, readable without torch.

The two files are replaced one after the other. So that a reader always finds a pair that fits, the
new manifest lies beside both under a name of its own until it has taken its place
(docs/decisions/0014-files.md).
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from typing_extensions import Self

from segmif.classes import TAXONOMIES, Taxonomy
from segmif.files import (
    check_target,
    read_bytes,
    read_text,
    shown,
    staged,
    stem_of,
    sync_folder,
    write_text,
)
from segmif.parsing import brief, json_value

NEEDED: dict[str, type | tuple[type, ...]] = {
    "variant": str,
    "taxonomy": (str, dict),
    "precision": str,
    "sha256": str,
}
OPTIONAL = ("tools", "training", "engine")  # objects, which older manifests lack
FORGOTTEN_S = 3600.0  # age of a temporary file whose writer was killed
READS = 3  # a writer that replaces both files meanwhile is met once at most


class ManifestError(ValueError):
    """The manifest is missing or unreadable, or does not describe the file beside it."""


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def entry_of(taxonomy: Taxonomy) -> str | dict[str, Any]:
    """Classes as a manifest holds them: a benchmark's by its name, one's own in full."""
    if TAXONOMIES.get(taxonomy.name) == taxonomy:
        return taxonomy.name
    return {
        "name": taxonomy.name,
        "names": list(taxonomy.names),
        "palette": [list(colour) for colour in taxonomy.palette],
    }


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """
    Facts of one artefact (`edge.safetensors`, `edge.onnx`, ...).

    The manifest of FILE is FILE.json. `source_sha256` names the artefact it was made from
    (an ONNX from its safetensors), `training` how the weights came to be.
    """

    variant: str  # which of the networks: paper, edge, nano
    taxonomy: str | dict[str, Any]  # what the ids in the mask mean, as `entry_of` writes it
    precision: str  # of weights and activations: fp32, fp16; most convolutions in eight: int8+fp16
    sha256: str = ""  # of the artefact; `save` fills it in
    source_sha256: str | None = None
    tools: dict[str, str] = field(default_factory=dict)  # tool -> version that wrote the file
    training: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)  # of a TensorRT engine: machine, profile

    @staticmethod
    def beside(artefact: Path) -> Path:
        """Where the manifest of an artefact lies."""
        return artefact.with_name(artefact.name + ".json")

    @classmethod
    def read(cls, artefact: Path) -> Self:
        """The manifest of an artefact, checked against the artefact's content."""
        return cls.open(artefact)[0]

    @classmethod
    def open(cls, artefact: Path) -> tuple[Self, bytes]:
        """
        The manifest of an artefact, and the very content that it was checked against.

        Raises ManifestError where there are none or they do not fit.
        """
        if not artefact.exists():
            raise ManifestError(
                f"{shown(artefact)} does not exist: expected an artefact, check its path"
            )
        for _ in range(READS):
            told = cls._told(artefact)
            content = read_bytes(artefact)
            found = hashlib.sha256(content).hexdigest()
            for manifest in (told, cls._pending(artefact)):
                if manifest is not None and manifest.sha256 == found:
                    return manifest, content
        if told is None:
            raise ManifestError(
                f"{shown(artefact.name)} has no manifest: expected {shown(artefact.name)}.json "
                "beside it, as the exporter writes it"
            )
        raise ManifestError(
            f"{shown(artefact.name)} has sha256 {found[:12]}..., "
            f"its manifest says {told.sha256[:12]}...: "
            "one of both was replaced; export again or restore the pair"
        )

    @classmethod
    def _told(cls, artefact: Path) -> Self | None:
        """What the file beside an artefact says; None where there is none."""
        path = cls.beside(artefact)
        if not path.is_file():
            return None
        try:
            told = json_value(read_text(path))
            wrong = _wrong(told)
        except ValueError as error:
            wrong = str(error)
        if wrong:
            raise ManifestError(
                f"{shown(path.name)} is not a manifest of this version: {wrong}; restore it, or "
                f"have the command that made {shown(artefact.name)} write both anew"
            )
        manifest = cls(**told)
        try:
            manifest.classes  # noqa: B018  # asked for what it raises
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestError(
                f"{shown(artefact.name)} was trained on the classes {brief(manifest.taxonomy)}; "
                f"this build knows {sorted(TAXONOMIES)}, others must be told by name, names and "
                f"palette ({brief(error)})"
            ) from error
        return manifest

    @classmethod
    def _pending(cls, artefact: Path) -> Self | None:
        """The manifest of a writer that was stopped, or is at it, between the two files."""
        with suppress(OSError, ValueError, TypeError):
            manifest = cls(**json_value(read_text(pending(artefact))))
            manifest.classes  # noqa: B018  # asked for what it raises
            return manifest
        return None

    def save(self, artefact: Path, content: bytes) -> Self:
        """
        Writes an artefact and its manifest, whose `sha256` becomes that of `content`.

        Whenever this ends, or is ended, `open` finds the old pair or the new one. Raises OSError.
        """
        manifest = replace(self, sha256=hashlib.sha256(content).hexdigest())
        beside, next_ = self.beside(artefact), pending(artefact)
        check_target(beside)
        told = manifest.as_json().encode()
        with (
            staged(artefact, content) as part,
            staged(beside, told) as part_beside,
            _alone(artefact.parent),
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
        """Puts the manifest beside its artefact."""
        write_text(self.beside(artefact), self.as_json())

    def as_json(self) -> str:
        """As it stands in its file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @property
    def classes(self) -> Taxonomy:
        """The classes that the mask's ids stand for."""
        if isinstance(self.taxonomy, str):
            return TAXONOMIES[self.taxonomy]
        red_green_blue = (tuple(colour) for colour in self.taxonomy["palette"])
        return Taxonomy(self.taxonomy["name"], tuple(self.taxonomy["names"]), tuple(red_green_blue))


def pending(artefact: Path) -> Path:
    """Where the next manifest of an artefact lies while both are replaced."""
    return artefact.with_name(f"{stem_of(artefact)}.next")


def finish(artefact: Path) -> None:
    """Do what a writer that was stopped has left to do, and remove what else it has left."""
    for path in (artefact, Manifest.beside(artefact)):
        for part in path.parent.glob(f"{stem_of(path)}-*.part"):
            with suppress(OSError):
                if part.stat().st_mtime < time.time() - FORGOTTEN_S:
                    part.unlink()
    manifest, next_ = Manifest._pending(artefact), pending(artefact)
    if manifest and artefact.is_file() and sha256(artefact) == manifest.sha256:
        next_.replace(Manifest.beside(artefact))
    else:
        next_.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer of pairs in a folder at a time; the system ends it with the process."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _wrong(told: Any) -> str:
    """What keeps a JSON value from being a manifest; nothing where it is one."""
    if not isinstance(told, dict):
        return f"it holds a {type(told).__name__}, expected an object"
    if strange := sorted(told.keys() - {each.name for each in fields(Manifest)}):
        return f"it has {', '.join(strange)}, which is not expected"
    missing = [name for name, kind in NEEDED.items() if not isinstance(told.get(name), kind)]
    missing += [name for name in OPTIONAL if not isinstance(told.get(name, {}), dict)]
    return f"it lacks {', '.join(missing)}, or has another kind of value there" if missing else ""
