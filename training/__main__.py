"""`python -m training COMMAND`: from frames to weights, and what weights are worth."""

import sys

from segmif.interrupts import end_at_once

# By name: each is imported only when it is asked for, as the base install holds no torch.
COMMANDS = {
    "describe": "training.data.describe",
    "train": "training.train",
    "evaluate": "training.evaluation.evaluate",
    "holdout": "training.evaluation.holdout",
    "calibrate": "training.evaluation.confidence_calibration",
    "render": "training.data.synthetic.render",
}

LABORATORY = ("ablation", "worth", "drives", "tutor", "join", "mean")

if __name__ == "__main__":
    end_at_once()
    if sys.argv[1:] and sys.argv[1] in LABORATORY:
        sys.exit(f"python -m training {sys.argv[1]} is now python -m lab {sys.argv[1]}")
    from segmif import cli

    sys.exit(cli.run("training", __doc__, COMMANDS, extra="train"))
