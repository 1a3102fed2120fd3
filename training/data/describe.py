"""
Check a data set on disk: counts, sizes, classes, alignment, and what to fix.

`segmif training describe --kind fmb --folder FMB --split test` reads every file, stops at none,
and ends with exit code 1 if something must be mended before the set can be used. Two findings
leave the code at 0: what a set lacks of the published one, as a part may be wanted, and pairs that
seem far apart, as an estimate may err.
"""

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from segmif.folders import SHOWN

from .datasets.file_facts import doubt_counts, most_invalid
from .datasets.kinds import KINDS, locate
from .survey import FAR, UNKNOWN, Survey, survey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif training describe`."""
    parser.add_argument("--kind", choices=tuple(KINDS), required=True, help="how it is laid out")
    parser.add_argument("--folder", type=Path, required=True, help="where the data set lies")
    parser.add_argument("--split", help="train, val or test, if it has several")
    parser.add_argument("--labels", type=Path, help="folder of label files instead of its own")
    parser.add_argument("--json", action="store_true", help="print numbers for programs")


def main(args: argparse.Namespace) -> int:
    """Prints what there is; 1 if something must be fixed."""
    frames = locate(args.kind, args.folder, args.split, args.labels)
    found = survey(frames)
    print(json.dumps(as_json(found), indent=2) if args.json else as_text(found))
    return 1 if found.to_fix else 0


def as_text(found: Survey) -> str:
    """A page for people."""
    counts = ", ".join(f"{count} {part}" for part, count in found.counts.items())
    lights = ", ".join(f"{count} {light}" for light, count in sorted(found.lights.items()))
    lines = [
        f"{found.name}: {found.complete} complete pairs of {len(found.pairs)} ({counts})",
        *(f"{part:9} {_tally(sizes)}{_depths(found, part)}" for part, sizes in found.sizes.items()),
        f"light     {lights}",
        f"alignment {alignment(found)}",
        "",
        *_class_table(found),
        *(f"Note: {note}." for note in found.notes),
    ]
    sentences = (*found.to_fix, *found.to_look_at)
    verdict = [f"- {sentence}" for sentence in sentences] or ["nothing"]
    return "\n".join([*lines, "", "What to fix:", *verdict])


def as_json(found: Survey) -> dict[str, Any]:
    """The same for programs, all names included."""
    shifts = found.shifts
    return {
        "name": found.name,
        "taxonomy": found.taxonomy.name if found.taxonomy else None,
        "pairs": len(found.pairs),
        "complete": found.complete,
        "counts": found.counts,
        "sizes": found.sizes,
        "light": found.lights,
        "missing": found.missing,
        "broken": {m.name: list(m.broken.values()) for m in found.pairs if m.broken},
        "unequal": {m.name: m.sizes for m in found.uneven},
        "unknown_codes": [
            {"code": code, "pixels": pixels, "files": files}
            for code, (pixels, files) in found.unknown.items()
        ],
        "classes": {
            name: {"share": share, "frames": frames}
            for name, (share, frames) in found.classes.items()
        },
        "absent": found.absent,
        "void": found.labels.void if found.labels else None,
        "depths": found.depths,
        "doubts": doubt_counts(found.files),
        "most_invalid": most_invalid(found.files),
        "alignment": {
            "pairs": len(shifts),
            "median_px": float(np.median(shifts)) if len(shifts) else None,
            "far": [m.name for m in found.far],
        },
        "notes": found.notes,
        "to_fix": found.to_fix,
        "to_look_at": found.to_look_at,
    }


def alignment(found: Survey) -> str:
    """One line on how far the sensors are apart, by light if that is known."""
    if not len(found.shifts):
        return "no pair of one size to compare"
    pairs = [(m.light or UNKNOWN, m.shift) for m in found.pairs if m.shift is not None]
    known = Counter(light for light, _ in pairs)
    far = Counter(light for light, shift in pairs if shift > FAR)
    beyond = ", ".join(f"{far[light]} of {known[light]} ({light})" for light in sorted(known))
    return (
        f"median shift {np.median(found.shifts):.1f} px; more than {FAR:.0f} px in {beyond}; "
        "an estimate from edges, poor if the visible frame is dark"
    )


def _tally(sizes: Counter[str]) -> str:
    if len(sizes) <= SHOWN:
        return ", ".join(f"{size} ({count})" for size, count in sizes.most_common())
    by_area = sorted(sizes, key=lambda size: math.prod(map(int, size.split("x"))))
    return f"{len(sizes)} sizes from {by_area[0]} to {by_area[-1]}"


def _depths(found: Survey, part: str) -> str:
    depths = found.depths.get(part, Counter())
    counts = ", ".join(f"{bits} bit ({count})" for bits, count in sorted(depths.items()))
    return f"; {counts}" if counts else ""


def _class_table(found: Survey) -> list[str]:
    if found.taxonomy is None:
        return ["not labelled"]
    width = max(map(len, found.classes))
    rows = [f"{'class':{width}}  pixels %  frames"]
    for name, (share, frames) in found.classes.items():
        numbers = f"{100 * share:8.3f}  {frames:6d}" if frames else f"{'absent':>8}  {0:6d}"
        rows.append(f"{name:{width}}  {numbers}")
    if found.labels and found.labels.void:
        rows.append(f"not labelled (255): {found.labels.void:.1%} of the labels' pixels")
    if found.absent:
        rows.append(
            f"Note: {', '.join(found.absent)} {'is' if len(found.absent) == 1 else 'are'} absent "
            f"here; the mean over all {len(found.classes)} ids counts an absent class as 0, so "
            "compare only with means taken in the same way."
        )
    return rows
