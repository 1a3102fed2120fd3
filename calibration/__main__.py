"""`python -m calibration COMMAND`: target, live, pair, solve, pick, convert, prove."""

import sys

from calibration import convert, live, pair, pick, prove, solve, target
from segmif import cli

if __name__ == "__main__":
    commands = {
        "target": target,
        "live": live,
        "pair": pair,
        "solve": solve,
        "pick": pick,
        "convert": convert,
        "prove": prove,
    }
    sys.exit(cli.run("calibration", __doc__, commands))
