"""SECURITY.md keeps to what is there: every test that it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    assert name in {node.name for node in tree.body if isinstance(node, functions)}


def test_every_row_of_entry_points_names_a_test() -> None:
    rows = re.search(r"\| entry point .*?\n\n", TEXT, re.DOTALL)
    assert rows
    lines = rows[0].strip().splitlines()[2:]
    assert len(lines) > 15
    for line in lines:
        assert re.search(r"`tests/[\w/]+\.py::\w+` |`tests/[\w/]+\.py::\w+`,", line), line


def test_every_file_that_is_named_exists() -> None:
    for file in re.findall(r"`([\w-]+(?:/[\w.-]+)+\.\w+)`", TEXT):
        assert (ROOT / file).is_file(), file
