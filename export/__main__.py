"""`python -m export COMMAND`: onnx, engine, benchmark."""

import sys

from export import benchmark, to_engine, to_onnx
from segmif import cli

if __name__ == "__main__":
    sys.exit(
        cli.run("export", __doc__, {"onnx": to_onnx, "engine": to_engine, "benchmark": benchmark})
    )
