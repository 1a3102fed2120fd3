"""`python -m calibration COMMAND`: target, solve, pick, convert, prove."""

import sys

from calibration import convert, pick, prove, solve, target
from segmif import cli

if __name__ == "__main__":
    commands = {
        "target": target,
        "solve": solve,
        "pick": pick,
        "convert": convert,
        "prove": prove,
    }
    sys.exit(cli.run("calibration", __doc__, commands))
