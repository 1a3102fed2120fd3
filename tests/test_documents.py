"""README and guides keep to what is there: commands run, links lead somewhere, settings match."""

import math
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli
import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from service.settings import Settings
from tests.service.conftest import free_port, wait_until_ready

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
RUN = [ROOT / "README.md", *GUIDES]
OF_LOOP = ROOT / "docs" / "guides" / "loop.md"  # its blocks are run in test_loop.py
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("[bw]*/*.md")})
BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not run: (?P<reason>.*?) -->\n *)?"
    r"```(?P<kind>\w+)\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
# What blocks are not run, by document and in its order: the same reasons stand in its comments.
NOT_RUN = {
    "README.md": ["make serve does not end"],
    "first-pair.md": [
        "make serve does not end",
        "installs packages",
        "measures for a minute",
        "renders for seconds a scene; tests/training has it",
    ],
    "gpu-and-jetson.md": [
        "needs a GPU and a container engine",
        "needs a GPU, nvcc and TensorRT",
        "needs a GPU, installs packages",
        "installs packages; the last step needs an RTX card",
        "the last step needs a GPU",
        "needs torch and minutes; tests/export has it",
    ],
    "kubernetes.md": ["needs a cluster", "needs promtool; tests/deploy has it"],
    "labels.md": [
        "needs two cameras",
        "takes minutes; tests/training/adapt has it",
        "takes minutes; tests/training/finetune has it",
        "takes a quarter of an hour; tests/training/finetune has it",
    ],
    "live.md": [
        "does not end",
        "needs two recordings",
        "needs two cameras",
        "needs a container engine and two cameras",
    ],
    "operate.md": [
        "opens the machine to its network, does not end",
        "needs root and systemd",
        "needs a container engine",
        "needs a running service; tests/service/server/test_shadow.py has it",
        "installs packages, does not end",
        "needs torch and a minute; tests/export has it",
    ],
    "ros-and-bags.md": [
        "needs ROS 2 and cameras",
        "installs packages",
        "needs a recording",
        "needs a Kalibr file",
    ],
    "your-cameras.md": [
        "needs two cameras",
        "needs views of a board",
        "needs a rig file; does not end",
        "needs minutes of a street",
        "needs a rig file",
        "needs a rig file",
    ],
    "your-classes.md": [
        "takes hours",
        "takes minutes",
        "needs torch and half a minute; tests/export has it",
    ],
    "ray.md": [
        "installs",
        "needs the extra ray",
        "needs the extra ray",
        "needs nginx and Ray",
    ],
}
# Paths that documents name though they are elsewhere: in the wheel, in an earlier commit.
GONE = {"segmif/service/", "benchmarks/results/schedules"}
# Prints the help of each command, after a form feed; one process, since torch is imported once.
HELPS = """
import sys
from segmif.__main__ import main
for command in sys.argv[1:]:
    print("\\f", end="")
    try:
        main([*command.split()[1:], "--help"])
    except SystemExit as end:
        assert not end.code, command
"""
PRELUDE = 'set -euo pipefail; curl() { command curl -sS --fail-with-body "$@"; }\n'


@dataclass(frozen=True)
class Block:
    """A block of code, and why it is not run."""

    kind: str
    code: str
    reason: str | None


def blocks(document: Path) -> list[Block]:
    """Blocks of code of a document, without their indentation."""
    return [
        Block(m["kind"], re.sub(f"^{m['indent']}", "", m["code"], flags=re.MULTILINE), m["reason"])
        for m in BLOCK.finditer(document.read_text(encoding="utf-8"))
    ]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Port of a service as `segmif serve` starts it."""
    number = free_port()
    command = [sys.executable, "-m", "segmif", "serve", "--port", str(number), "--threads", "1"]
    with (
        subprocess.Popen(command, cwd=ROOT) as service,
        httpx.Client(base_url=f"http://127.0.0.1:{number}") as client,
    ):
        try:
            wait_until_ready(client)
            yield number
        finally:
            service.terminate()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that looks like the clone, in which a document's blocks may write."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name not in {"build", "runs", "docs"}:
            (tmp_path / entry.name).symlink_to(entry)
    command = tmp_path / ".bin" / "segmif"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m segmif "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    "document", [each for each in RUN if each != OF_LOOP], ids=lambda path: path.name
)
def test_blocks_run(document: Path, clone: Path, port: int) -> None:
    path = f"{clone}/.bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEGMIF_")}
    environment |= {"PATH": path}
    interpreters = {"sh": ["bash", "-c"], "python": [sys.executable, "-c"]}
    for block in blocks(document):
        if block.reason or block.kind not in interpreters:
            continue
        code = re.sub(r"(localhost|127\.0\.0\.1):8000", rf"\1:{port}", block.code)
        command = [*interpreters[block.kind], PRELUDE + code if block.kind == "sh" else code]
        done = subprocess.run(
            command, cwd=clone, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{block.code}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
def test_what_is_not_run_is_listed_with_its_reason(document: Path) -> None:
    reasons = [block.reason for block in blocks(document) if block.reason]
    assert reasons == NOT_RUN.get(document.name, [])


def test_flags_of_blocks_that_are_not_run_exist() -> None:
    wanted: dict[str, set[str]] = {}
    for document in RUN:
        for block in blocks(document):
            for command, flags in commands(block) if block.reason else ():
                wanted.setdefault(command, set()).update(flags)
    assert len(wanted) > 8
    done = subprocess.run(
        [sys.executable, "-c", HELPS, *wanted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    helps = done.stdout.split("\f")[1:]
    for command, text in zip(wanted, helps, strict=True):
        offered = set(re.findall(r"--[a-z][a-z0-9-]*", text))
        assert wanted[command] <= offered, command


def commands(block: Block) -> Iterator[tuple[str, set[str]]]:
    """Module and subcommands of each command of ours in a block, and its flags."""
    code = block.code.replace("\\\n", " ")
    ours = r"^(?:\w+=\S+ )*(segmif(?: [a-z]+)*)(.*)"
    for command, rest in re.findall(ours, code, re.MULTILINE):
        yield command, set(re.findall(r" (--[a-z][a-z0-9-]*)", rest))


def test_tables_in_toml_and_yaml_are_well_formed() -> None:
    kinds = []
    for document in RUN:
        for block in blocks(document):
            if block.kind == "toml":
                assert tomli.loads(block.code)
            if block.kind == "yaml":
                assert yaml.safe_load(block.code)
            kinds.append(block.kind)
    assert {"toml", "yaml", "sh", "python"} <= set(kinds)


def slug(heading: str) -> str:
    """Anchor of a heading, as hosts of repositories make it."""
    kept = (c for c in heading.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    """Anchors of a document's headings."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.S | re.M)
    return {slug(line.lstrip("# ")) for line in re.findall(r"^#+ .*$", text, re.M)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        linked = (document.parent / name).resolve() if name else document
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_paths_exist() -> None:
    """Of every path that begins in a folder of the repository and stands in backticks."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = {Path("/", line) for line in listed.stdout.splitlines()}
    known = files | {folder for file in files for folder in file.parents}
    rooms = {file.parts[1] for file in files if len(file.parts) > 2}
    for document in {*DOCUMENTS} - {ROOT / "CHANGELOG.md"}:  # which may name what is gone
        text = document.read_text(encoding="utf-8")
        for words in re.findall(r"`([^`\n]+)`", text):
            for path in re.findall(r"(?<!\S)[\w.-]+/[\w./*{},-]*(?!\S)", words):
                if path.split("/")[0] in rooms and path not in GONE:
                    found = [any(k.match(f"/{one}") for k in known) for one in alternatives(path)]
                    assert all(found), f"{document.name}: {path}"


def alternatives(path: str) -> list[str]:
    """The paths that one with {a,b} stands for."""
    if braces := re.search(r"\{([^{}]*)\}", path):
        return [path.replace(braces[0], one, 1) for one in braces[1].split(",")]
    return [path]


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:`|^)make ([a-z][a-z-]+)", text, re.M)) <= targets, document


def test_operate_lists_every_setting() -> None:
    operate, cameras = (ROOT / f"docs/guides/{name}.md" for name in ("operate", "your-cameras"))
    table = operate.read_text(encoding="utf-8").split("## Every setting")[1]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", table, re.MULTILINE)
    stated = cameras.read_text(encoding="utf-8").split("\n## ")[1]
    fields = {n: field for n, field in Settings.model_fields.items() if f"`{n}`" not in stated}
    assert {name: rest for name, *rest in rows} == {
        name: [shown_default(field.default), shown_range(field)] for name, field in fields.items()
    }


def shown_default(value: Any) -> str:
    """A default as the table of settings has it."""
    match value:
        case None | () | "":
            return "none"
        case bool():
            return str(value).lower()
        case Path():
            return f"`{value.parent.name}/{value.name}`"
        case float():
            return "none" if math.isinf(value) else f"{value:.3g}"
        case int():
            return f"{value:,}" if value >= 10_000 else str(value)
        case _:
            return f"`{value}`"


def shown_range(field: FieldInfo) -> str:
    """A setting's smallest and largest value as the table has them."""
    least = most = ""
    for bound in field.metadata:
        match bound:
            case Ge(ge):
                least = f"{ge:,}"
            case Gt(gt):
                least = f"above {gt:,}"
            case Le(le):
                most = f"{le:,}"
            case Lt(lt):
                most = f"below {lt:,}"
    if most == "inf":
        return least
    return f"{least} to {most}" if most else ""


def test_variables_that_documents_name_are_settings() -> None:
    known = {f"SEGMIF_{name}".upper() for name in Settings.model_fields} | {"SEGMIF_DATA"}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"\bSEGMIF_[A-Z][A-Z0-9_]*[A-Z0-9]\b", text)) - {"SEGMIF_NAME"}
        assert named <= known, document


def test_nothing_is_installed_by_a_name_that_anyone_may_claim() -> None:
    listed = subprocess.run(
        ["git", "grep", "-nIE", r"pip install .?segmif", "--", ":!CHANGELOG.md", ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert listed.stdout == ""
