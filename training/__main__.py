"""`python -m training COMMAND`: from frames to weights, and what weights are worth."""

import sys

from segmif import cli
from training import (
    ablation,
    describe,
    drives,
    evaluate,
    join,
    mean,
    render,
    train,
    tutor,
    worth,
)

if __name__ == "__main__":
    commands = {
        "describe": describe,
        "train": train,
        "mean": mean,
        "tutor": tutor,
        "join": join,
        "evaluate": evaluate,
        "ablation": ablation,
        "worth": worth,
        "drives": drives,
        "render": render,
    }
    sys.exit(cli.run("training", __doc__, commands))
