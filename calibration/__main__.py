"""`python -m calibration COMMAND`: solve, convert, prove."""

import sys

from calibration import convert, prove, solve
from segmif import cli

if __name__ == "__main__":
    commands = {"solve": solve, "convert": convert, "prove": prove}
    sys.exit(cli.run("calibration", __doc__, commands))
