"""`python -m export COMMAND`: onnx, quantize, engine, verify, benchmark."""

import sys

from export import benchmark, quantize, to_engine, to_onnx, verify
from segmif import cli

COMMANDS = {
    "onnx": to_onnx,
    "quantize": quantize,
    "engine": to_engine,
    "verify": verify,
    "benchmark": benchmark,
}

if __name__ == "__main__":
    sys.exit(cli.run("export", __doc__, COMMANDS))
