"""In CI a test that is skipped without being expected to fails the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_that_runs() -> None: ...

def test_that_may_be_skipped() -> None:
    pytest.skip("no real frames under x; SEGMIF_DATA says where they are")
"""
STRANGE = """
def test_that_may_not() -> None:
    pytest.skip("nginx is not installed: make servers")
"""


@pytest.mark.parametrize(
    ("ci", "tests", "code"),
    [("true", TESTS, 0), ("true", TESTS + STRANGE, 1), ("", TESTS + STRANGE, 0)],
    ids=["expected", "unexpected", "not in CI"],
)
def test_ci_fails_on_a_skip_that_nobody_foresaw(
    tmp_path: Path, ci: str, tests: str, code: int
) -> None:
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"CI": ci, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("UNEXPECTED SKIP" in done.stdout) == bool(code)
    assert ("nginx" in done.stdout) == bool(code)
