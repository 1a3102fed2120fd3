"""
Pin every base image by digest: `make image-digests` asks the engine and rewrites the files.

    python docker/digests.py ENGINE...     as `docker`, or `podman` with its flags

The tag stays readable before the digest: debian:13.7-slim@sha256:... Without an argument the
references that carry no digest are listed, and the exit code is 1 if there is one.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
# An image of others in a Dockerfile, in compose.yaml or in the Makefile; ours have no version.
REFERENCE = re.compile(
    r"(?:^ARG \w*BASE=|^FROM |^ *image: |--build-arg \w*BASE=)"
    r"(?P<image>(?!segmif)[a-z][\w./-]+:[\w.-]+(?:@sha256:[0-9a-f]{64})?)",
    re.MULTILINE,
)


def files(root: Path) -> list[Path]:
    """Name the files that refer to images."""
    docker = root / "docker"
    return [*sorted(docker.glob("*.Dockerfile")), docker / "compose.yaml", root / "Makefile"]


def references(root: Path) -> Iterator[str]:
    """Give every reference to an image of others, once."""
    found = (REFERENCE.finditer(file.read_text()) for file in files(root))
    yield from sorted({match["image"] for matches in found for match in matches})


def digest(engine: list[str], tag: str) -> str:
    """Pull an image and ask the engine for the digest that its registry gave."""
    subprocess.run([*engine, "pull", "--quiet", tag], check=True, stdout=subprocess.DEVNULL)
    words = [*engine, "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag]
    answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found = DIGEST.search(answer)
    if not found:
        raise SystemExit(f"{tag}: the engine gave no digest, but {answer.strip() or 'nothing'!r}")
    return found[0]


def pin(root: Path, engine: list[str]) -> None:
    """Rewrite the files so that every tag is followed by its digest of today."""
    tags = {image: DIGEST.sub("", image) for image in references(root)}
    pinned = {image: tag + digest(engine, tag) for image, tag in tags.items()}
    for file in files(root):
        text = file.read_text()
        new = REFERENCE.sub(lambda m: m[0].replace(m["image"], pinned[m["image"]]), text)
        if new != text:
            file.write_text(new)
            print(f"{file.relative_to(root)} is pinned")


def main(root: Path, engine: list[str]) -> int:
    """Pin with an engine; without one list what has no digest."""
    if engine:
        pin(root, engine)
        return 0
    missing = [image for image in references(root) if not DIGEST.search(image)]
    print("\n".join(missing))
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(ROOT, sys.argv[1:]))
