"""`python -m export COMMAND`: onnx, benchmark."""

import sys

from export import benchmark, to_onnx
from segmif import cli

if __name__ == "__main__":
    sys.exit(cli.run("export", __doc__, {"onnx": to_onnx, "benchmark": benchmark}))
