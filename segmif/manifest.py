"""What an artefact says of itself: one JSON beside each weights file, readable without torch."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from typing_extensions import Self

from segmif.classes import TAXONOMIES, Taxonomy

NEEDED: dict[str, type | tuple[type, ...]] = {
    "variant": str,
    "taxonomy": (str, dict),
    "precision": str,
    "sha256": str,
}
OPTIONAL = ("tools", "training", "engine")  # objects, which older manifests lack


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
    sha256: str
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
        path = cls.beside(artefact)
        if not artefact.is_file():
            raise ManifestError(f"{artefact} does not exist: expected an artefact, check its path")
        if not path.is_file():
            raise ManifestError(
                f"{artefact.name} has no manifest: expected {path.name} beside it, "
                "as the exporter writes it"
            )
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            wrong = _wrong(told)
        except ValueError as error:
            wrong = f"it is no JSON ({error})"
        if wrong:
            raise ManifestError(
                f"{path.name} is not a manifest of this version: {wrong}; restore it, or have the "
                f"command that made {artefact.name} write both anew"
            )
        manifest = cls(**told)
        manifest._check(artefact)
        return manifest

    def _check(self, artefact: Path) -> None:
        try:
            self.classes  # noqa: B018  # asked for what it raises
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestError(
                f"{artefact.name} was trained on the classes {self.taxonomy!r}; this build knows "
                f"{sorted(TAXONOMIES)}, others must be told by name, names and palette"
            ) from error
        found = sha256(artefact)
        if found != self.sha256:
            raise ManifestError(
                f"{artefact.name} has sha256 {found[:12]}..., "
                f"its manifest says {self.sha256[:12]}...: "
                "one of both was replaced; export again or restore the pair"
            )

    def write(self, artefact: Path) -> None:
        """Puts the manifest beside its artefact."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True)
        self.beside(artefact).write_text(text + "\n", encoding="utf-8")

    @property
    def classes(self) -> Taxonomy:
        """The classes that the mask's ids stand for."""
        if isinstance(self.taxonomy, str):
            return TAXONOMIES[self.taxonomy]
        red_green_blue = (tuple(colour) for colour in self.taxonomy["palette"])
        return Taxonomy(self.taxonomy["name"], tuple(self.taxonomy["names"]), tuple(red_green_blue))


def _wrong(told: Any) -> str:
    """What keeps a JSON value from being a manifest; nothing where it is one."""
    if not isinstance(told, dict):
        return f"it holds a {type(told).__name__}, expected an object"
    if strange := sorted(told.keys() - {each.name for each in fields(Manifest)}):
        return f"it has {', '.join(strange)}, which is not expected"
    missing = [name for name, kind in NEEDED.items() if not isinstance(told.get(name), kind)]
    missing += [name for name in OPTIONAL if not isinstance(told.get(name, {}), dict)]
    return f"it lacks {', '.join(missing)}, or has another kind of value there" if missing else ""
