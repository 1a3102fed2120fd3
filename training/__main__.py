"""`python -m training COMMAND`: train, evaluate, render."""

import sys

from segmif import cli
from training import evaluate, render, train

if __name__ == "__main__":
    sys.exit(cli.run("training", __doc__, {"train": train, "evaluate": evaluate, "render": render}))
