"""The base install and its extras: what is missing is named, and what is asked for exists."""

import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("torch", "onnx", "onnxscript", "safetensors", "lightning_fabric", "tensorboard", "jinja2")
# A stand-in for the base install: what its extras bring cannot be imported.
BASE_INSTALL = f"""
import runpy, sys
for name in {EXTRAS}:
    sys.modules[name] = None
program = sys.argv[1]
sys.argv = sys.argv[1:]
runpy.run_module(program, run_name="__main__")
"""


def in_base_install(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BASE_INSTALL, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("training", "--help"),
        ("export", "--help"),
        ("training", "describe", "--help"),
        ("training", "train", "--help"),
        ("training", "evaluate", "--help"),
        ("training", "render", "--help"),
    ],
    ids=" ".join,
)
def test_what_needs_no_extra_runs_in_the_base_install(words: tuple[str, ...]) -> None:
    done = in_base_install(*words)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m" in done.stdout


def test_scenes_are_rendered_and_described_in_the_base_install(tmp_path: Path) -> None:
    done = in_base_install(
        "training", "render", "--out", tmp_path, "--count", "2", "--size", "64x96"
    )
    assert done.returncode == 0, done.stderr
    done = in_base_install("training", "describe", "--kind", "folder", "--folder", tmp_path)
    assert "2 complete pairs of 2" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "missing", "extra"),
    [
        (
            ("training", "train", "--config", "training/configs/nano.toml"),
            "torch",
            "train",
        ),
        (("lab", "mean", "--help"), "torch", "train"),
        (
            ("training", "evaluate", "--weights", "weights/nano.safetensors", "--data", "tests"),
            "torch",
            "train",
        ),
        (("export", "onnx", "--help"), "onnx", "export"),
        (("export", "quantize", "--help"), "onnx", "export"),
        (("export", "verify", "--help"), "torch", "export"),
        (("export", "benchmark", "--help"), "torch", "export"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_command_without_its_extra_says_which_one_to_install(
    words: tuple[str, ...], missing: str, extra: str
) -> None:
    done = in_base_install(*words)
    assert done.returncode == 1
    program, command = words[:2]
    assert done.stderr.splitlines() == [
        f"python -m {program}: python -m {program} {command} needs {missing}, which is not "
        f"installed: pip install --editable '{ROOT}[{extra}]'"
    ]


def requirements() -> list[Requirement]:
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(each) for part in (project["dependencies"], *extras) for each in part]


def locked() -> dict[str, str]:
    """The versions of the lock files, which were on the index; the highest of each package."""
    found: dict[str, str] = {}
    for path in (ROOT / "docker/requirements").glob("*.txt"):
        for line in path.read_text().splitlines():
            name, _, rest = line.partition("==")
            if rest and not line.startswith((" ", "#")):
                version = rest.split()[0]
                found[canonicalize_name(name)] = max(
                    (found.get(canonicalize_name(name), "0"), version),
                    key=lambda v: tuple(int(part) for part in v.split(".") if part.isdigit()),
                )
    return found


def test_what_is_required_was_on_the_index() -> None:
    versions = locked()
    asked = [each for each in requirements() if canonicalize_name(each.name) in versions]
    assert len(asked) > 15
    for each in asked:
        assert each.specifier.contains(versions[canonicalize_name(each.name)]), each


def test_the_build_for_gpus_may_be_older_than_the_one_for_cpus() -> None:
    """onnxruntime-gpu comes out after onnxruntime, or not at all: 1.31.1 beside 1.32.0."""
    floors = {each.name: str(each.specifier) for each in requirements()}
    assert floors["onnxruntime-gpu"] == floors["onnxruntime"]
