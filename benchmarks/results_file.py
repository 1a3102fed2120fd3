"""What a benchmark found, with the machine, versions, command and date that it was measured by."""

import json
from pathlib import Path

from segmif.files import write_text
from segmif.machine import command, fingerprint


def save(found: dict[str, object], out: Path | None) -> None:
    """Prints what was found and, if `out` is given, writes it there as JSON."""
    text = json.dumps(found | {"command": command(), "machine": fingerprint()}, indent=2)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text + "\n")
