"""
Count what `CONTRIBUTING.md` asks of prose: lengths of sentences, and words that are used too often.

Run `python tests/prose.py` for a table of all Markdown, and of all docstrings. Code blocks, inline
code, tables, links' addresses, HTML comments and pictures are not prose.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[1]
WORD = re.compile(r"[^\W_]+(?:['’.,\-/][^\W_]+)*")  # noqa: RUF001
COUNTED = {"told, tell(s)": r"\b(?:told|tells?)\b", "where": r"\bwhere\b"}


@dataclass(frozen=True)
class Prose:
    """Words of a text, and its words that are counted."""

    words: int
    counted: dict[str, int]

    def per_10000(self, name: str) -> float:
        """Occurrences of one counted word per 10,000 words."""
        return 10_000 * self.counted[name] / max(self.words, 1)


def measure(texts: Iterable[str]) -> Prose:
    """Words and counted words of texts, taken together."""
    whole = "\n".join(texts)
    counted = {name: len(re.findall(p, whole, re.IGNORECASE)) for name, p in COUNTED.items()}
    return Prose(len(WORD.findall(whole)), counted)


def markdown_files() -> list[Path]:
    """All Markdown files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def plain(markdown: str) -> str:
    """Markdown without code, addresses of links, HTML comments and pictures; tables stay."""
    text = re.sub(r"^( *)(`{3,}).*?^\1\2$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"!\[[^]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"^ {4,}(?![-*]).*$", "", text, flags=re.MULTILINE)


def sentences(markdown: str) -> list[int]:
    """Lengths in words of the sentences outside headings, tables and lists of old -> new names."""
    text = re.sub(r"`[^`]*`", "code", plain(markdown))
    text = re.sub(r"^\s*(#|\|).*$|^.* -> .*$", "\n", text, flags=re.MULTILINE)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    parts = (part for block in blocks for part in re.split(r"(?<=[.!?])[\")*_]*\s+", block))
    return [length for part in parts if (length := len(WORD.findall(part)))]


def ninth_decile(lengths: list[int]) -> float:
    """Length that nine of ten sentences do not exceed."""
    return quantiles(lengths, n=10)[-1]


def docstrings() -> Iterator[str]:
    """Every docstring of the Python files outside the tests."""
    for path in sorted(ROOT.glob("*/**/*.py")):
        relative = path.relative_to(ROOT).parts
        if relative[0] in {"tests", "runs", "build"} or relative[0].startswith("."):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def report() -> Iterator[str]:
    """Lines of a table: one for each Markdown file, then all Markdown and all docstrings."""
    yield f"{'words':>6} {'told':>5} {'where':>5} {'median':>6} {'9th':>5}"
    texts = {path: path.read_text(encoding="utf-8") for path in markdown_files()}
    for path, text in texts.items():
        lengths = sentences(text) or [0]
        prose = measure([plain(text)])
        counts = " ".join(f"{count:5}" for count in prose.counted.values())
        shape = f"{median(lengths):6.0f} {ninth_decile([*lengths, 0]):5.0f}"
        yield f"{prose.words:6} {counts} {shape} {path.relative_to(ROOT)}"
    both = {"Markdown": map(plain, texts.values()), "docstrings": docstrings()}
    for name, prose in ((name, measure(texts)) for name, texts in both.items()):
        rates = ", ".join(f"{key} {prose.per_10000(key):.1f}" for key in COUNTED)
        yield f"{name}: {prose.words} words; per 10,000: {rates}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in report())
