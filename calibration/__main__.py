"""
`python -m calibration COMMAND`: target, live, unpack, pair, solve, pick, align, check, convert,
prove.
"""

import sys

from segmif.interrupts import end_at_once

COMMANDS = {
    name: f"calibration.{name}"
    for name in (
        "target",
        "live",
        "unpack",
        "pair",
        "solve",
        "pick",
        "align",
        "check",
        "convert",
        "prove",
    )
}

if __name__ == "__main__":
    end_at_once()
    from segmif import cli

    sys.exit(cli.run("calibration", __doc__, COMMANDS))
