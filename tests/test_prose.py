"""Prose of documents is plain: short sentences in README and guides, few words that say nothing."""

from pathlib import Path
from statistics import median

import pytest

from tests import prose

README = prose.ROOT / "README.md"
PLAIN = [
    README,
    prose.ROOT / "CHANGELOG.md",
    *sorted((prose.ROOT / "docs/guides").glob("*.md")),
    *sorted((prose.ROOT / "docs/decisions").glob("*.md")),
]
MOST_WORDS = 25  # of a sentence; inline code counts as one
MARKS = {"told, tell(s)": 1.0, "where": 12.0}  # per 10,000 words of all Markdown


def test_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    lines, lengths = text.splitlines(), prose.sentences(text)
    assert len(lines) <= 110
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]
    assert median(lengths) <= 14
    assert prose.ninth_decile(lengths) < 25


@pytest.mark.parametrize("document", PLAIN, ids=lambda path: path.name)
def test_no_sentence_is_long(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert max(prose.sentences(text)) <= MOST_WORDS


def test_markdown_keeps_to_the_marks() -> None:
    texts = (prose.plain(path.read_text(encoding="utf-8")) for path in prose.markdown_files())
    measured = prose.measure(texts)
    for name, mark in MARKS.items():
        assert measured.per_10000(name) < mark, name


def test_sentences_are_counted_without_code_tables_and_links() -> None:
    text = "# A long title\n\nOne `a b c` [two](x y z). Three.\n\n| a | b |\n\n- Four"
    assert prose.sentences(text) == [3, 1, 1]
