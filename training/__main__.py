"""`python -m training COMMAND`: describe, train, evaluate, ablation, worth, render."""

import sys

from segmif import cli
from training import ablation, describe, evaluate, render, train, worth

if __name__ == "__main__":
    commands = {
        "describe": describe,
        "train": train,
        "evaluate": evaluate,
        "ablation": ablation,
        "worth": worth,
        "render": render,
    }
    sys.exit(cli.run("training", __doc__, commands))
