"""The bills of materials, without the package index: metadata are those of what is installed."""

import json
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import tomli
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from docker import digests, sbom

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def report(image: str) -> list[dict[str, Any]]:
    """What pip would say of the image's lock, by what is installed here."""
    records = []
    for line in sbom.locked(DOCKER / "requirements" / sbom.IMAGES[image].lock, "3.13"):
        if found := re.match(r"([\w.-]+)==(\S+) .*--hash=sha256:(\w{64})", line):
            name, version, sha256 = found.groups()
            record: dict[str, Any] = {"name": name, "version": version}
            try:
                here = metadata.metadata(name)
                record["license_expression"] = first(here.get_all("License-Expression"))
                record["license"] = first(here.get_all("License"))
                record["classifier"] = here.get_all("Classifier") or []
            except metadata.PackageNotFoundError:
                pass  # a package of another image
            hashes = {"hashes": {"sha256": sha256}}
            records.append({"metadata": record, "download_info": {"archive_info": hashes}})
    return records


def first(values: list[str] | None) -> str | None:
    return values[0] if values else None


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_a_bill_keeps_to_the_schema_and_names_all_that_is_locked(image: str) -> None:
    told = report(image)
    text = sbom.bill(image, told)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = {part["bom-ref"]: part for part in json.loads(text)["components"]}
    lock = (DOCKER / "requirements" / sbom.IMAGES[image].lock).read_text()
    assert len(told) > 25
    for name, version in re.findall(r"^([\w.-]+)==(\S+) \\", lock, re.MULTILINE):
        assert f"{canonicalize_name(name)}=={version}" in components
    assert all(part["licenses"] for ref, part in components.items() if not ref.startswith("base/"))
    (opencv,) = (part for ref, part in components.items() if ref.startswith("opencv-python"))
    assert {"libcrypto", "libavcodec"} <= {part["name"] for part in opencv["components"]}
    assert opencv["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    (base,) = (part["name"] for ref, part in components.items() if ref.startswith("base/"))
    dockerfile = (DOCKER / sbom.IMAGES[image].dockerfile).read_text()
    assert f"{base}:" in dockerfile
    by_apt = {"apt/python3", "apt/tini", "apt/libseccomp2"} & components.keys()
    assert len(by_apt) == (3 if "steps/python.sh" in dockerfile else 0)


@pytest.mark.parametrize("package", tomli.loads((DOCKER / "bundled.toml").read_text()))
def test_the_table_of_bundled_libraries_holds_what_the_wheels_hold(package: str) -> None:
    table = tomli.loads((DOCKER / "bundled.toml").read_text())[package]
    held = {
        match[1]: match[0]
        for file in metadata.files(package) or []
        if (match := re.match(r"(\w+?)(?:-r\d)?-.*\.so.*", file.name))
        and ".libs" in str(file.parent)
    }
    assert held and set(held) <= set(table)
    locked = (
        f"{package}=={metadata.version(package)} "
        in (DOCKER / "requirements" / "cpu.txt").read_text()
    )
    if locked:
        wrong = {name: file for name, file in held.items() if table[name][0] not in file}
        assert not wrong


def test_every_image_has_its_bill() -> None:
    described = {image.dockerfile for image in sbom.IMAGES.values()}
    assert described == {path.name for path in DOCKER.glob("*.Dockerfile")}


ENGINE = """#!/bin/sh
case "$1" in
  pull) exit 0;;
  image) test "$NONE" || echo "registry/$5@sha256:$(echo "$5" | sha256sum | cut -c1-64)";;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    shutil.copytree(DOCKER, tmp_path / "docker", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "engine").write_text(ENGINE)
    (tmp_path / "engine").chmod(0o755)
    return tmp_path


def test_digests_pin_every_base_image_and_nothing_else(clone: Path) -> None:
    tags = [digests.DIGEST.sub("", image) for image in digests.references(clone)]
    assert "debian:13.7-slim" in tags and "grafana/grafana:12.1.1" in tags
    assert not any(tag.startswith("segmif") for tag in tags)
    unpinned = {file: digests.DIGEST.sub("", file.read_text()) for file in digests.files(clone)}
    for _ in range(2):  # a second time nothing is doubled
        assert digests.main(clone, [str(clone / "engine")]) == 0
        assert digests.main(clone, []) == 0
    for file, text in unpinned.items():
        assert digests.DIGEST.sub("", file.read_text()) == text
    for reference in re.findall(r"^FROM (?!\$)(\S+)", everything(clone), re.MULTILINE):
        assert "@sha256:" in reference


def everything(clone: Path) -> str:
    return "\n".join(file.read_text() for file in digests.files(clone))


def test_an_engine_without_a_digest_changes_nothing(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NONE", "1")
    before = everything(clone)
    with pytest.raises(SystemExit, match="gave no digest"):
        digests.main(clone, [str(clone / "engine")])
    assert everything(clone) == before


def test_make_knows_both(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-n", "image-digests", "sbom"], cwd=ROOT, capture_output=True, text=True
    )
    assert "docker/digests.py docker" in done.stdout
    assert "docker/sbom.py build/sbom" in done.stdout
