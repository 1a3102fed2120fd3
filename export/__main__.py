"""`segmif export COMMAND`: onnx, quantize, engine, verify, benchmark."""

import sys
from collections.abc import Sequence

from segmif.interrupts import end_at_once

# By name, so that a command imports only what it needs: images for GPUs hold no torch.
COMMANDS = {
    "onnx": f"{__package__}.to_onnx",
    "quantize": f"{__package__}.quantize",
    "engine": f"{__package__}.to_engine",
    "verify": f"{__package__}.verify",
    "benchmark": f"{__package__}.benchmark",
}


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one command; gives its exit code. `prog` is how the program was named."""
    from segmif import cli

    return cli.run("export", __doc__, COMMANDS, "export", arguments=arguments, prog=prog)


if __name__ == "__main__":
    end_at_once()
    sys.exit(main())
