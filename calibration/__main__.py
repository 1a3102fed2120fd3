"""`python -m calibration COMMAND`: solve."""

import sys

from calibration import solve
from segmif import cli

if __name__ == "__main__":
    sys.exit(cli.run("calibration", __doc__, {"solve": solve}))
