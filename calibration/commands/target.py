"""Draws a board to print (PDF, SVG) or to cut (DXF), true to scale in millimetres."""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segmif.files import write_bytes

from ..boards import aprilgrid, charuco
from ..boards.board import GAP, Board, add_board_arguments, board_from

MM_PER_POINT = 25.4 / 72  # PDF's unit (ISO 32000-1, 8.3.2.3)
RADIUS = 0.35  # of the spacing; neighbours of a grid are 1.41 spacings apart
BEZIER = 0.5522847498  # a quarter circle by a cubic: 4/3 (sqrt(2) - 1)
RULER_MM = 50.0  # to check the print with


@dataclass(frozen=True)
class Square:
    """A dark square; x to the right, y down, from the sheet's top left corner."""

    x: float  # [mm]
    y: float  # [mm]
    side: float  # [mm]


@dataclass(frozen=True)
class Circle:
    """A dark circle, or a hole."""

    x: float  # [mm]
    y: float  # [mm]
    radius: float  # [mm]


@dataclass(frozen=True)
class Sheet:
    """The page to print."""

    width: float  # [mm]
    height: float  # [mm]
    shapes: list[Square | Circle]
    label: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_board_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="a .pdf, .svg or .dxf file")


def main(args: argparse.Namespace) -> int:
    sheet = layout(board_from(args))
    write = {".pdf": pdf, ".svg": svg, ".dxf": dxf}.get(args.out.suffix.lower())
    if write is None:
        raise ValueError(f"{args.out}: expected a name that ends in .pdf, .svg or .dxf")
    write_bytes(args.out, write(sheet).encode("ascii"))
    print(
        f"{args.out}: {sheet.width:g} x {sheet.height:g} mm; print at 100 % and measure the "
        f"{RULER_MM:g} mm bar"
    )
    return 0


def layout(board: Board) -> Sheet:
    """A board on a sheet of its own size, with a light margin of at least one spacing."""
    side = 1e3 * board.spacing_m
    across, down = board.columns + 1.0, board.rows + 1.0
    if board.kind == "circles":
        across = 2 * board.columns + 1
    if board.kind == "aprilgrid":
        across, down = (count * (1 + GAP) + GAP for count in (board.columns, board.rows))
    margin = max(side, 10.0)
    # The bar has a strip of its own below the board.
    width, height = across * side + 2 * margin, down * side + 2 * margin + 10
    return Sheet(max(width, RULER_MM + 20), height, list(_shapes(board, margin)), str(board))


def pdf(sheet: Sheet) -> str:
    """The sheet as one PDF page of its own size."""
    commands = [f"{1 / MM_PER_POINT:.9f} 0 0 {1 / MM_PER_POINT:.9f} 0 0 cm 0 g"]
    for shape in sheet.shapes:
        if isinstance(shape, Square):
            bottom = sheet.height - shape.y - shape.side
            commands.append(f"{shape.x:.6f} {bottom:.6f} {shape.side:.6f} {shape.side:.6f} re f")
        else:
            commands.append(_pdf_circle(shape.x, sheet.height - shape.y, shape.radius))
    commands.append(f"10 5 {RULER_MM:g} 0.5 re f")
    commands.append(f"BT /F 3 Tf 10 6.5 Td ({sheet.label}; the bar is {RULER_MM:g} mm) Tj ET")
    stream = "\n".join(commands)
    box = f"0 0 {sheet.width / MM_PER_POINT:.6f} {sheet.height / MM_PER_POINT:.6f}"
    return _pdf_file(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents 4 0 R "
            "/Resources << /Font << /F 5 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
    )


def svg(sheet: Sheet) -> str:
    """The sheet as SVG, one user unit a millimetre."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{sheet.width:g}mm" '
        f'height="{sheet.height:g}mm" viewBox="0 0 {sheet.width:g} {sheet.height:g}">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for shape in sheet.shapes:
        if isinstance(shape, Square):
            place = f'x="{shape.x:.6g}" y="{shape.y:.6g}"'
            parts.append(f'<rect {place} width="{shape.side:.6g}" height="{shape.side:.6g}"/>')
        else:
            parts.append(f'<circle cx="{shape.x:.6g}" cy="{shape.y:.6g}" r="{shape.radius:.6g}"/>')
    bar = sheet.height - 5.5
    parts.append(f'<rect x="10" y="{bar:g}" width="{RULER_MM:g}" height="0.5"/>')
    parts.append(
        f'<text x="10" y="{bar - 1:g}" font-size="3" font-family="sans-serif">'
        f"{sheet.label}; the bar is {RULER_MM:g} mm</text></svg>"
    )
    return "\n".join(parts)


def dxf(sheet: Sheet) -> str:
    """The shapes' outlines for a cutter: DXF R12, millimetres, layer CUT, and the sheet's edge."""
    edge = [(0.0, 0.0), (sheet.width, 0.0), (sheet.width, sheet.height), (0.0, sheet.height)]
    lines = ["0", "SECTION", "2", "ENTITIES", *_polyline("EDGE", edge)]
    for shape in sheet.shapes:
        y = sheet.height - shape.y  # DXF counts upwards
        if isinstance(shape, Circle):
            lines += ["0", "CIRCLE", "8", "CUT", "10", f"{shape.x:.6f}", "20", f"{y:.6f}"]
            lines += ["40", f"{shape.radius:.6f}"]
        else:
            x, side = shape.x, shape.side
            corners = [(x, y), (x + side, y), (x + side, y - side), (x, y - side)]
            lines += _polyline("CUT", corners)
    return "\n".join([*lines, "0", "ENDSEC", "0", "EOF", ""])


def _shapes(board: Board, margin: float) -> Iterator[Square | Circle]:
    side = 1e3 * board.spacing_m
    if board.kind == "circles":
        for x, y, _ in 1e3 * board.points():
            yield Circle(float(x) + margin + side, float(y) + margin + side, RADIUS * side)
        return
    if board.kind == "aprilgrid":
        yield from _squares(aprilgrid.dark_squares(board), margin)
        return
    for row in range(board.rows + 1):
        for column in range(board.columns + 1):
            if (row + column) % 2 == 0:
                yield Square(margin + column * side, margin + row * side, side)
    if board.kind == "charuco":
        yield from _squares(charuco.dark_bits(board), margin)


def _squares(parts: Iterable[tuple[float, float, float]], margin: float) -> Iterator[Square]:
    for x, y, side in parts:
        yield Square(margin + 1e3 * x, margin + 1e3 * y, 1e3 * side)


def _pdf_circle(x: float, y: float, r: float) -> str:
    k = BEZIER * r
    arcs = [
        (x + r, y + k, x + k, y + r, x, y + r),
        (x - k, y + r, x - r, y + k, x - r, y),
        (x - r, y - k, x - k, y - r, x, y - r),
        (x + k, y - r, x + r, y - k, x + r, y),
    ]
    curves = " ".join(" ".join(f"{value:.6f}" for value in arc) + " c" for arc in arcs)
    return f"{x + r:.6f} {y:.6f} m {curves} f"


def _pdf_file(objects: list[str]) -> str:
    """A PDF of objects, numbered from 1, the catalogue first, with its cross-reference table."""
    text, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(text))
        text += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(objects) + 1
    return (
        f"{text}xref\n0 {count}\n0000000000 65535 f \n{table}"
        f"trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{len(text)}\n%%EOF\n"
    )


def _polyline(layer: str, corners: list[tuple[float, float]]) -> list[str]:
    lines = ["0", "POLYLINE", "8", layer, "66", "1", "70", "1"]
    for x, y in corners:
        lines += ["0", "VERTEX", "8", layer, "10", f"{x:.6f}", "20", f"{y:.6f}"]
    return [*lines, "0", "SEQEND", "8", layer]
