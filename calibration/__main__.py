"""
`python -m calibration COMMAND`: target, live, unpack, pair, solve, pick, align, check, convert,
simulate.
"""

import sys

from segmif.interrupts import end_at_once

COMMANDS = {
    name: f"calibration.commands.{name}"
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
        "simulate",
    )
}

if __name__ == "__main__":
    end_at_once()
    from segmif import cli

    sys.exit(cli.run("calibration", __doc__, COMMANDS))
