"""The unit of systemd, by systemd's own judges."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from service.commands.cli import parser
from service.settings import Settings

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "segmif-run.service"
NEWER = {"RestartSteps": 254, "RestartMaxDelaySec": 254}  # the version of systemd that knows them
MOST_EXPOSED = 20  # tenths, of systemd's own measure from 0 to 100
SINK_S = 10  # that a sink may take to finish its file


@pytest.fixture
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("systemd-analyze is not installed: make servers")
    return program


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that is here."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/segmif/bin/segmif", "/bin/true"))
    return unit


def stated() -> dict[str, str]:
    """The settings of the unit that stand once."""
    unit = ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    return dict(unit["Service"])


def test_systemd_knows_each_setting(analyze: str, installed: Path) -> None:
    version = int(re.findall(r"systemd (\d+)", output(analyze, "--version"))[0])
    said = output(analyze, "verify", str(installed))
    unknown = set(re.findall(r"Unknown (?:key|key name) '(\w+)'", said))
    assert unknown == {name for name, since in NEWER.items() if version < since}, said
    assert not [line for line in said.splitlines() if "Unknown key" not in line], said


def test_the_unit_leaves_little_to_who_breaks_in(analyze: str, installed: Path) -> None:
    flags = ["--offline=true", f"--threshold={MOST_EXPOSED}"]
    output(analyze, "security", *flags, str(installed))


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_unit_starts_and_ends_the_service_as_it_is() -> None:
    unit = stated()
    program, *flags = unit["ExecStart"].split()
    assert Path(program).name == "segmif"
    assert parser().parse_args(flags).command == "run"
    settings = Settings()
    assert int(unit["TimeoutStopSec"]) >= settings.drain_s + SINK_S
    assert int(unit["TimeoutStartSec"]) > settings.self_test_s
    assert unit["RestartPreventExitStatus"] == "2"


def test_guides_name_the_unit_and_its_credential() -> None:
    name = stated()["LoadCredential"].partition(":")[0]
    path = f"/run/credentials/{UNIT.name}/{name}"
    assert path in UNIT.read_text()
    assert path in (ROOT / "docs" / "guides" / "operate.md").read_text()
