"""What is installed is what is here, as one package that works in any folder."""

import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copyfile

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ("training", "export", "service", "calibration")
SAMPLE = ROOT / "service/web/samples/day"
# As the script that pip makes: the current folder is not on the path.
SCRIPT = "import sys; from segmif.__main__ import main; sys.exit(main())"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", f"{folder}"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_is_one_package_with_all_programs_and_weights(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (entry_points,) = (name for name in held if name.endswith("entry_points.txt"))
        assert b"segmif = segmif.__main__:main" in archive.read(entry_points)
    assert {name.partition("/")[0] for name in held} == {"segmif", entry_points.split("/")[0]}
    expected = {
        f"segmif/weights/{name}.onnx{end}" for name in ("edge", "nano") for end in ("", ".json")
    }
    for program in ("segmif", *PROGRAMS):
        above = "" if program == "segmif" else "segmif/"
        files = (path for path in (ROOT / program).rglob("*") if path.is_file())
        expected |= {
            above + path.relative_to(ROOT).as_posix()
            for path in files
            if "__pycache__" not in path.parts
        }
    assert expected <= held, sorted(expected - held)
    assert "segmif/py.typed" in held and not [name for name in held if "safetensors" in name]


@pytest.fixture(params=["clone", "wheel"])
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Path:
    """A folder to import from."""
    if request.param == "clone":
        return ROOT
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    return tmp_path / "site"


def test_a_folder_with_programs_of_the_same_names_is_never_taken(
    installed: Path, tmp_path: Path
) -> None:
    for name in (*PROGRAMS, "segmif"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "__init__.py").write_text("raise SystemExit('somebody else')")
    script = tmp_path / "bin" / "segmif"
    script.parent.mkdir()
    script.write_text(SCRIPT)

    def segmif(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, script, *words],
            cwd=tmp_path / "here",
            env={"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = segmif("calibrate", "--help")
    assert "usage: segmif calibrate [-h]" in done.stdout, done.stderr
    for name in ("visible", "infrared"):
        (tmp_path / name).mkdir()
        copyfile(SAMPLE / f"{name}.png", tmp_path / name / "1.png")
    done = segmif("infer", "--visible", "../visible", "--infrared", "../infrared", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "in the process of the service" not in done.stderr  # that decodes is found too
    assert list((tmp_path / "here/out/fused").glob("*.png"))
