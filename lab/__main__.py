"""`python -m lab COMMAND`: experiments that shaped the network, to repeat or to extend."""

import sys

from segmif import cli
from segmif.interrupts import end_at_once

# By name: each is imported only when it is asked for.
COMMANDS = {
    name: f"lab.{name}" for name in ("ablation", "worth", "tint", "mean", "labeller", "proposals")
}

if __name__ == "__main__":
    end_at_once()
    sys.exit(cli.run("lab", __doc__, COMMANDS, extra="train"))
