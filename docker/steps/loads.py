"""
The last step of a GPU image's build: what the image needs of TensorRT is there and fits the plugin.

    loads.py PLUGIN

It imports the package, loads the parser of the same version, and our plugin. No GPU is needed.
"""

import ctypes
import importlib
import sys


def main(plugin: str) -> int:
    """Loads all three; returns the exit code."""
    try:
        tensorrt = importlib.import_module("tensorrt")
        parser = f"libnvonnxparser.so.{tensorrt.__version__.split('.')[0]}"
        ctypes.CDLL(parser)
        exported = ctypes.CDLL(plugin)
        for function in ("getCreators", "setLoggerFinder"):
            getattr(exported, function)
    except (ImportError, OSError, AttributeError) as error:
        print(f"this base image cannot build and run engines: {error}", file=sys.stderr)
        return 1
    print(f"TensorRT {tensorrt.__version__}, {parser} and {plugin} load")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
