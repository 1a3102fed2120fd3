"""
Bounded parsers of YAML, JSON, TOML, XML and CSV to plain values.

`files.read_text` limits the bytes, `MAX_DEPTH` the nesting. YAML aliases and XML entities, which
make a small file large, are refused. Errors name the file, the line and what to do.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import tomli
import yaml

from segmif.files import TABLE_BYTES, TEXT_BYTES, read_text, shown

MAX_DEPTH = 32  # lists within lists; a rig has 4
MAX_YAML_BYTES = 256 << 10  # a quarter of the limit of other formats: it is the slowest to parse
SHOWN = 80  # characters of a value in an error

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, if PyYAML was built with it


class ParseError(ValueError):
    """A file does not have the expected form."""


def parse_json(path: Path, limit: int = TEXT_BYTES) -> Any:
    """The value of a JSON file; raises ParseError, and as `read_text`."""
    text = read_text(path, limit)
    with _naming(path):
        return json_value(text)


def parse_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises ParseError, and as `read_text`."""
    text = read_text(path)
    try:
        return tomli.loads(text)
    except RecursionError:
        raise ParseError(f"{shown(path)} is not TOML: it is nested too deeply") from None
    except ValueError as error:
        raise ParseError(f"{shown(path)} is not TOML: {brief(error)}") from None


def json_value(text: str | bytes, *, finite: bool = True) -> Any:
    """
    The value of JSON; names stand once and, if `finite`, numbers are so.

    Else it raises ParseError.
    """
    number = _finite if finite else None
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=number, parse_float=number)
    except RecursionError:
        raise ParseError("it is no JSON (nested too deeply)") from None
    except ValueError as error:
        raise ParseError(f"it is no JSON ({brief(error)})") from None


def yaml_value(text: str) -> Any:
    """The value of YAML; no aliases, keys stand once, else it raises ParseError."""
    try:
        _check_events(text)
        return yaml.load(text, _Bounded)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ParseError(f"not YAML: {brief(error)}") from None


def xml_root(text: str) -> ElementTree.Element:
    """The root of XML; no document type, and so no entities, else it raises ParseError."""
    builder, depth = ElementTree.TreeBuilder(), 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise ParseError(_too_deep(parser.CurrentLineNumber))
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: object) -> None:
        raise ParseError("a document type is not taken: remove the line <!DOCTYPE ...>")

    parser = expat.ParserCreate("utf-8")  # whatever the declaration states: `text` is decoded
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text.encode(), True)
        return builder.close()
    except (expat.ExpatError, ParseError) as error:
        raise ParseError(f"not XML: {brief(error)}") from None


def read_table(
    path: Path, columns: Sequence[str], limit: int = TABLE_BYTES
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """
    The header of a CSV file, which has all of `columns`, and its rows, each with its line.

    Raises ParseError for missing or repeated columns and for rows that are no CSV, and as
    `read_text`; bytes that are no UTF-8 are kept, since such a table may name files.
    """
    rows = csv.DictReader(
        io.StringIO(read_text(path, limit, names_files=True), newline=""), restval=""
    )
    try:
        header = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = header
        if missing := sorted(set(columns) - set(header)):
            raise ParseError(f"{shown(path)}: the columns {missing} are missing")
        if len(set(header)) < len(header):
            raise ParseError(f"{shown(path)}: a column stands twice in {brief(header)}")
        found = [(rows.line_num, row) for row in rows]
    except csv.Error as error:
        raise ParseError(f"{shown(path)}, line {rows.line_num}: no CSV ({error})") from None
    for line, row in found:
        if None in row:
            raise ParseError(f"{shown(path)}, line {line}: expected {len(header)} values")
    return header, found


def brief(value: object) -> str:
    """A value or an error in one line of at most 3 `SHOWN` characters, for messages."""
    text = value if isinstance(value, str) else _text(value)
    text = shown(" ".join(text.split()))
    return text if len(text) <= 3 * SHOWN else f"{text[: 2 * SHOWN]} ... {text[-SHOWN // 2 :]}"


def _text(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to write integers of more than 4300 digits
        return "a number of thousands of digits"


class _Bounded(_Loader):  # type: ignore[misc]  # the loader is chosen when it runs
    """PyYAML's safe loader with unique keys, and OpenCV's matrices as mappings."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is None or key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "keys must be plain words", key.start_mark
                )
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {brief(key.value)!r} stands twice", key.start_mark
                )
            seen.add(name)
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def _number(kind: str) -> Callable[[Any, Any], Any]:
    """The safe loader's constructor of int or float, without numbers to the base of 60."""

    def construct(loader: Any, node: Any) -> Any:
        if ":" in node.value:
            raise yaml.constructor.ConstructorError(
                None, None, f"{brief(node.value)} is no number", node.start_mark
            )
        return getattr(yaml.constructor.SafeConstructor, f"construct_yaml_{kind}")(loader, node)

    return construct


for _kind in ("int", "float"):
    _Bounded.add_constructor(f"tag:yaml.org,2002:{_kind}", _number(_kind))
_Bounded.add_constructor(
    "tag:yaml.org,2002:opencv-matrix", lambda loader, node: loader.construct_mapping(node, True)
)


def _check_events(text: str) -> None:
    """Raise ParseError for aliases and for depth, before any object is made."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            raise ParseError(
                f"line {event.start_mark.line + 1}: aliases (*{brief(event.anchor)}) are not "
                "taken: write the value again"
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ParseError(_too_deep(event.start_mark.line + 1))


def _too_deep(line: int) -> str:
    return f"line {line}: nested more than {MAX_DEPTH} deep"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ParseError(f"{brief(name)!r} stands twice")
        made[name] = value
    return made


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ParseError(f"{brief(word)} is no finite number")
    return number


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except ParseError as error:
        raise ParseError(f"{shown(path)}: {error}") from None
