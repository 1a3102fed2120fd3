"""`segmif training COMMAND`: from frames to weights, and what weights are worth."""

import sys
from collections.abc import Sequence

from segmif.interrupts import end_at_once

# By name: each is imported only when it is asked for, as the base install holds no torch.
COMMANDS = {
    "describe": f"{__package__}.data.describe",
    "train": f"{__package__}.train_command",
    "evaluate": f"{__package__}.evaluation.evaluate",
    "holdout": f"{__package__}.evaluation.holdout",
    "calibrate": f"{__package__}.evaluation.confidence_calibration",
    "render": f"{__package__}.data.synthetic.render",
}

# `segmif train NAME`: all else is a run of `train`.
OF_TRAIN = {
    "adapt": f"{__package__}.adapt.command",
    "export-labels": f"{__package__}.labels.export_command",
    "import": f"{__package__}.labels.import_command",
}

LABORATORY = ("ablation", "worth", "mean")


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one command; gives its exit code. `prog` is how the program was named."""
    from segmif import cli

    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in LABORATORY:
        sys.exit(f"python -m training {arguments[0]} is now python -m lab {arguments[0]}")
    if len(arguments) > 1 and arguments[0] == "train" and arguments[1] in OF_TRAIN:
        named = f"{prog or 'python -m training'} train"
        return cli.run("training", __doc__, OF_TRAIN, "train", arguments=arguments[1:], prog=named)
    return cli.run("training", __doc__, COMMANDS, "train", arguments=arguments, prog=prog)


if __name__ == "__main__":
    end_at_once()
    sys.exit(main())
