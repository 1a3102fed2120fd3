"""`python -m training COMMAND`: describe, train, evaluate, render."""

import sys

from segmif import cli
from training import describe, evaluate, render, train

if __name__ == "__main__":
    commands = {"describe": describe, "train": train, "evaluate": evaluate, "render": render}
    sys.exit(cli.run("training", __doc__, commands))
