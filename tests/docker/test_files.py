"""What can be said of Dockerfiles and the compose file without building anything."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import compose_spec
import pytest

from service.settings import Settings, check_environment

DOCKER = Path(__file__).parents[2] / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_dockerfiles_are_as_they_should_be(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint is one of the tools of `make install`"
    done = subprocess.run(
        [hadolint, dockerfile.name, "--config", DOCKER.parent / ".hadolint.yaml"],
        cwd=DOCKER,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_every_step_is_a_script_that_is_there(dockerfile: Path) -> None:
    steps = re.findall(r"^RUN .*?([\w./]+\.sh)", dockerfile.read_text(), re.MULTILINE)
    assert len(steps) == dockerfile.read_text().count("\nRUN ")
    for step in steps:
        assert (DOCKER / "steps" / Path(step).name).stat().st_mode & 0o111, step


def test_settings_of_images_are_the_services() -> None:
    files = [*DOCKERFILES, DOCKER / "compose.yaml"]
    named = {name for file in files for name in re.findall(r"\bSEGMIF_\w+", file.read_text())}
    check_environment(dict.fromkeys(named, ""))
    assert "SEGMIF_HOST" in named


def test_compose_keeps_to_its_specification() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    compose = compose_spec.PyOptions(apply_merge=True).from_yaml(text)
    compose.validate()
    assert set(compose.service_names()) == {"cpu", "gpu", "prometheus", "grafana"}
    for file in re.findall(r"- \./([\w./]+):", text):
        assert (DOCKER / file).is_file(), file
    grace = re.search(r"stop_grace_period: (\d+)s", text)
    assert grace and int(grace[1]) > Settings().drain_s
