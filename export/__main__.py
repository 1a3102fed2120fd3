"""`python -m export COMMAND`: onnx, quantize, engine, verify, benchmark."""

import sys

from segmif.interrupts import end_at_once

# By name, so that a command imports only what it needs: images for GPUs hold no torch.
COMMANDS = {
    "onnx": "export.to_onnx",
    "quantize": "export.quantize",
    "engine": "export.to_engine",
    "verify": "export.verify",
    "benchmark": "export.benchmark",
}

if __name__ == "__main__":
    end_at_once()
    from segmif import cli

    sys.exit(cli.run("export", __doc__, COMMANDS, extra="export"))
