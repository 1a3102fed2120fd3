"""The page: whole, alone, and with the numbers that the JSON has."""

import argparse
import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from segmif.manifest import Manifest
from training.evaluation.evaluate import add_arguments, main
from training.evaluation.report.markup import TEMPLATES, Cell, Table, histogram

VOID = {"meta", "img"}
MEGABYTE = 1 << 20


class Page(HTMLParser):
    """What a page holds: tags, text, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.sources: list[str] = []
        self.titles: list[str] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name in ("src", "href"):
                self.sources.append(value or "")
            if name == "title":
                self.titles.append(value or "")
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if "tr" in self.open:
            self.rows[-1].append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def write(weights: Path, data: Path, *more: str) -> tuple[Page, Any]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    report, numbers = data / "report.html", data / "numbers.json"
    names = ["--weights", weights, "--data", data, "--report", report, "--json", numbers]
    assert main(parser.parse_args([*map(str, names), *more])) == 0
    assert report.stat().st_size < 8 * MEGABYTE
    return Page(report.read_text(encoding="utf-8")), json.loads(numbers.read_text())


def test_the_page_is_whole_and_asks_for_nothing(stand_in_weights: Path, frames_root: Path) -> None:
    page, _ = write(stand_in_weights, frames_root)
    assert page.open == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    text = (frames_root / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text)


@pytest.mark.parametrize(
    ("called", "said"),
    [
        (["python3", "/x/bin/segmif", "evaluate", "--set", "a b"], "segmif evaluate --set 'a b'"),
        (["python3", "/x/bin/segmif", "training", "evaluate"], "segmif training evaluate"),
        (["/x/python3", "-m", "training", "evaluate"], "python -m training evaluate"),
        (["python3", "-m", "segmif", "evaluate"], "python -m segmif evaluate"),
    ],
)
def test_the_page_says_where_its_numbers_come_from(
    called: list[str],
    said: str,
    stand_in_weights: Path,
    frames_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "orig_argv", called)
    name = called[1] if called[1] != "-m" else "/x/__main__.py"
    monkeypatch.setattr(sys, "argv", [name, *called[2:]])
    page, _ = write(stand_in_weights, frames_root, "--set", "folder:msrs_test")
    (row,) = [row for row in page.rows if row[:1] == ["command"]]
    assert (row[1].startswith(said) and "--weights 'a b'" in row[1]) or "--weights" not in called
    assert Manifest.read(stand_in_weights).sha256 in page.text
    assert "onnxruntime" in page.text
    assert "stand_in.onnx" in page.text


def test_the_tables_are_those_of_the_json(stand_in_weights: Path, frames_root: Path) -> None:
    page, numbers = write(stand_in_weights, frames_root)
    rows = numbers["fusion"]["rows"]
    assert list(rows) == ["network", "visible", "infrared", "average", "maximum", "classical"]
    for method, metrics in rows.items():
        assert [method, *(f"{value:.3f}" for value in metrics.values())] in page.rows
    assert ["person", "0.750", "1.000", "0.500", "25.00%"] in page.rows
    assert ["guardrail", "absent", "absent", "absent", "0.00%"] in page.rows
    # half of the night's hot columns are a car that the stand-in calls a person
    assert "1,024 pixels" in page.titles


def test_pictures_show_the_worst_frames(stand_in_weights: Path, frames_root: Path) -> None:
    page, _ = write(stand_in_weights, frames_root)
    headings = [word for word in page.words if "mfnet/val 4N (night): " in word]
    assert len(headings) == 1
    assert "mean IoU of its classes" in headings[0]
    assert "person IoU 0.500" in headings[0]
    assert page.text.count("prediction") >= 2
    assert 0 < page.tags["img"] <= 8 * 5


def test_a_dead_sensor_has_its_own_table_and_figure(
    stand_in_weights: Path, frames_root: Path
) -> None:
    without, _ = write(stand_in_weights, frames_root)
    assert "Not measured: this run had no --sensor-drop" in without.text
    page, _ = write(stand_in_weights, frames_root, "--sensor-drop")
    # mean, car, person, persons found
    assert ["visible black, night", "0.167", "0.000", "0.500", "1 of 1"] in page.rows
    assert ["infrared black, night", "0.074", "0.000", "0.000", "0 of 1"] in page.rows
    assert "mfnet/val 4N (night): 1 of 1 persons found, 0 without infrared" in page.text


def test_a_set_without_labels_has_a_page_too(stand_in_weights: Path, frames_root: Path) -> None:
    page, _ = write(stand_in_weights, frames_root, "--set", "folder:msrs_test", "--sensor-drop")
    assert "Confusion" not in page.text
    assert "VIF against maximum" in page.text


def html(macro: str, data: Any) -> str:
    return str(getattr(TEMPLATES.get_template("macros.html").module, macro)(data))


def test_names_cannot_become_markup() -> None:
    page = Page(html("table", Table(["<b>"], [("a & b", [Cell("<i>", title='"')])])))
    assert page.rows == [["<b>"], ["a & b", "<i>"]]
    assert page.titles == ['"']


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5], [0.0, 1.0, 2.0]])
def test_a_histogram_counts_every_frame(values: list[float]) -> None:
    page = Page(html("histogram", histogram("VIF", values, {"network": sum(values) / len(values)})))
    counted = [int(word.split()[0]) for word in page.words if " frames from " in word]
    assert sum(counted) == len(values)
    assert page.tags["line"] == 1
