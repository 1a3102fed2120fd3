"""`python -m export COMMAND`: onnx, quantize, engine, verify, benchmark."""

import sys

from export import to_engine
from segmif import cli

COMMANDS = {"engine": to_engine}
try:
    from export import benchmark, quantize, to_onnx, verify
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise  # images for GPUs hold no torch: there, an engine is all that is made
else:
    COMMANDS = {
        "onnx": to_onnx,
        "quantize": quantize,
        "engine": to_engine,
        "verify": verify,
        "benchmark": benchmark,
    }

if __name__ == "__main__":
    sys.exit(cli.run("export", __doc__, COMMANDS))
