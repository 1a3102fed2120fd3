"""`python -m training COMMAND`: describe, train, evaluate, ablation, worth, drives, render."""

import sys

from segmif import cli
from training import ablation, describe, drives, evaluate, render, train, worth

if __name__ == "__main__":
    commands = {
        "describe": describe,
        "train": train,
        "evaluate": evaluate,
        "ablation": ablation,
        "worth": worth,
        "drives": drives,
        "render": render,
    }
    sys.exit(cli.run("training", __doc__, commands))
