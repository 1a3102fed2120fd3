"""
`python -m calibration COMMAND`: target, live, unpack, pair, solve, pick, align, check, convert,
prove.
"""

import sys

from calibration import align, check, convert, live, pair, pick, prove, solve, target, unpack
from segmif import cli

if __name__ == "__main__":
    commands = {
        "target": target,
        "live": live,
        "unpack": unpack,
        "pair": pair,
        "solve": solve,
        "pick": pick,
        "align": align,
        "check": check,
        "convert": convert,
        "prove": prove,
    }
    sys.exit(cli.run("calibration", __doc__, commands))
