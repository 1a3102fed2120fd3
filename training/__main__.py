"""`python -m training COMMAND`: from frames to weights, and what weights are worth."""

import sys

from segmif.interrupts import end_at_once

# By name: each is imported only when it is asked for, as the base install holds no torch.
COMMANDS = {
    "describe": "training.describe",
    "train": "training.train",
    "mean": "training.mean",
    "tutor": "training.tutor",
    "join": "training.join",
    "evaluate": "training.evaluate",
    "ablation": "training.ablation",
    "worth": "training.worth",
    "drives": "training.drives",
    "holdout": "training.holdout",
    "calibrate": "training.calibrate",
    "render": "training.render",
}

if __name__ == "__main__":
    end_at_once()
    from segmif import cli

    sys.exit(cli.run("training", __doc__, COMMANDS, extra="train"))
