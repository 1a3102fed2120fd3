"""
Software bills of materials: what each image carries, with licences, as CycloneDX 1.6 in JSON.

    python docker/sbom.py OUT [IMAGE...]     writes OUT/segmif-IMAGE.cdx.json

Python packages are those of the image's lock; pip asks the package index for their metadata and
installs nothing. What lies inside a base image is not listed: its maker publishes that.
"""

import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
LOCKS = DOCKER / "requirements"
PLATFORMS = [f"manylinux_2_{glibc}_x86_64" for glibc in (34, 28, 27, 17)] + ["manylinux2014_x86_64"]
CLASSIFIER = "License :: "
SPDX = {  # what packages say in words of their own
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
}
ORIGIN = "weights/README.md: the frames of the training have terms of their own"
SYSTEM = {"python3": "Python-2.0", "tini": "MIT", "libseccomp2": "LGPL-2.1-only"}  # by apt
licences = LicenseFactory()


@dataclass(frozen=True)
class Image:
    """Where an image's content stands."""

    dockerfile: str
    lock: str
    python: str  # of the base image
    plugin: bool = False  # holds our TensorRT plugin


IMAGES = {
    "cpu": Image("service.cpu.Dockerfile", "cpu.txt", "3.13"),
    "gpu": Image("service.gpu.Dockerfile", "gpu.txt", "3.12", plugin=True),
    "jetson": Image("service.jetson.Dockerfile", "gpu.txt", "3.12", plugin=True),  # JetPack 7
    "train": Image("train.Dockerfile", "train.txt", "3.12"),
}


def main(out: Path, names: list[str]) -> None:
    """Write the bill of each image that is named, or of all."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        pip = locked_pip(Path(scratch))
        for name in names or IMAGES:
            image = IMAGES[name]
            report = pip_report(pip, Path(scratch), image)
            path = out / f"segmif-{name}.cdx.json"
            path.write_text(bill(name, report), encoding="utf-8")
            print(f"{path}: {len(report)} Python packages")


def locked_pip(scratch: Path) -> list[str]:
    """Install the locked pip: older ones leave licence expressions out of their report."""
    venv.create(scratch / "pip", with_pip=True)
    python = str(scratch / "pip" / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    lock = str(LOCKS / "build.txt")
    subprocess.run([*pip, "install", "--require-hashes", "--requirement", lock], check=True)
    return pip


def pip_report(pip: list[str], scratch: Path, image: Image) -> list[dict[str, Any]]:
    """Ask pip what it would install of the lock: one record a package, with its metadata."""
    wanted, report = scratch / "wanted.txt", scratch / "report.json"
    wanted.write_text("".join(locked(LOCKS / image.lock, image.python)))
    flags = ["--dry-run", "--ignore-installed", "--no-deps", "--require-hashes"]
    flags += ["--only-binary", ":all:", "--ignore-requires-python", "--python-version"]
    flags += [image.python, *(f"--platform={platform}" for platform in PLATFORMS)]
    flags += ["--target", str(scratch / "none"), "--report", str(report)]
    subprocess.run([*pip, "install", *flags, "--requirement", str(wanted)], check=True)
    installs: list[dict[str, Any]] = json.loads(report.read_bytes())["install"]
    return installs


def locked(lock: Path, python: str) -> Iterator[str]:
    """Give the entries of a lock with their hashes, without markers, that hold on Linux."""
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    here |= {"sys_platform": "linux", "platform_machine": "x86_64"}
    for entry in re.findall(r"^[a-z0-9].*?[^\\]\n", lock.read_text(), re.MULTILINE | re.DOTALL):
        line, *hashes = entry.replace("\\\n", "").split("--hash")
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate(here):
            pin = f"{requirement.name}{requirement.specifier} "
            yield " --hash".join([pin, *map(str.strip, hashes)]) + "\n"


def bill(name: str, report: Iterable[dict[str, Any]]) -> str:
    """Put an image's bill together from pip's report on its lock."""
    image, bom = IMAGES[name], Bom()
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    bom.metadata.component = root = Component(
        name=f"segmif:{name}",
        version=project["version"],
        type=ComponentType.CONTAINER,
        bom_ref="image",
        licenses=[licences.make_from_string(project["license"])],
    )
    bom.components.update(map(package, report))
    bom.components.update(weights())
    bom.components.update(base_and_system(image))
    bom.register_dependency(root, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def package(record: dict[str, Any]) -> Component:
    """Describe a Python package of pip's report."""
    metadata = record["metadata"]
    name = canonicalize_name(metadata["name"])
    component = Component(
        name=name,
        version=metadata["version"],
        bom_ref=f"{name}=={metadata['version']}",
        purl=PackageURL("pypi", None, name, metadata["version"]),
        description=metadata.get("summary"),
        licenses=[licences.make_from_string(licence(metadata))],
        hashes=[sha256(record["download_info"]["archive_info"]["hashes"]["sha256"])],
    )
    component.components.update(bundled(name))
    return component


def sha256(content: str) -> HashType:
    """Put a SHA-256 in CycloneDX's terms."""
    return HashType(alg=HashAlgorithm.SHA_256, content=content)


def licence(metadata: dict[str, Any]) -> str:
    """Say a package's licence: its expression, else its classifiers, else its own short words."""
    if expression := metadata.get("license_expression"):
        return str(expression)
    classes = [line for line in metadata.get("classifier", []) if line.startswith(CLASSIFIER)]
    words = [line.rsplit(" :: ", 1)[-1] for line in classes if not line.endswith("OSI Approved")]
    said = str(metadata.get("license") or "").strip()
    if not said or "\n" in said or len(said) > 80:  # some packages put the whole text there
        said = " or ".join(words) or "not stated in the package's metadata"
    return SPDX.get(said, said)


def bundled(name: str) -> Iterator[Component]:
    """Describe the native libraries that lie inside a wheel."""
    table = tomli.loads((DOCKER / "bundled.toml").read_text())
    for library, (version, expression, use) in table.get(name, {}).items():
        yield Component(
            name=library,
            version=version or None,
            bom_ref=f"{name}/{library}",
            licenses=[licences.make_from_string(expression)],
            properties=[Property(name="segmif:used-by", value=use)],
        )


def weights() -> Iterator[Component]:
    """Describe the networks of the wheel, by their manifests."""
    for path in sorted((ROOT / "weights").glob("*.onnx.json")):
        manifest = json.loads(path.read_bytes())
        yield Component(
            name=path.stem,
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=f"weights/{path.stem}",
            licenses=[licences.make_from_string("Apache-2.0")],
            hashes=[sha256(manifest["sha256"])],
            properties=[Property(name="segmif:origin", value=ORIGIN)],
        )


def base_and_system(image: Image) -> Iterator[Component]:
    """Name the base image, what apt adds to it and what is compiled here."""
    text = (DOCKER / image.dockerfile).read_text()
    base = final_base(text)
    yield Component(
        name=base.partition(":")[0],
        version=base.partition(":")[2],
        type=ComponentType.CONTAINER,
        bom_ref=f"base/{base}",
        properties=[Property(name="segmif:content", value="not listed here: see its maker's bill")],
    )
    if "steps/python.sh" in text.rpartition("\nFROM ")[2]:
        for name in system_packages():
            yield Component(
                name=name,
                bom_ref=f"apt/{name}",
                licenses=[licences.make_from_string(SYSTEM[name])],
                properties=[Property(name="segmif:version", value="the base image's release")],
            )
    if image.plugin:
        yield Component(
            name="libsegmif_plugin.so",
            bom_ref="plugin",
            licenses=[licences.make_from_string("Apache-2.0")],
        )


def system_packages() -> list[str]:
    """Name what apt adds to every image of the service."""
    step = (DOCKER / "steps" / "python.sh").read_text()
    found = re.search(r"apt-get install ((?:-\S+ )*)(.+) \"\$@\"", step)
    assert found
    return found[2].split()


def final_base(dockerfile: str) -> str:
    """Find the image that the last stage starts from, with the defaults of its arguments."""
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", dockerfile, re.MULTILINE))
    last = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)[-1]
    return re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], last)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
